"""Classifiers that jobs.train did not write give what the pipeline of transformers gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast, pipeline

from pipeline.arrays import FloatArray
from pipeline.config import Config
from pipeline.errors import ModelError
from pipeline.ingest.tokenize.encode import load_encoder
from pipeline.model.classifier import find_classifier
from pipeline.model.encoder_weights import read_encoder
from pipeline.model.forward import read_forward
from pipeline.model.modern import read_modern
from pipeline.model.options import ForwardOptions
from pipeline.model.ragged import Ragged
from pipeline.model.tokenizer import tokenizer_json
from pipeline.settings import load_config
from pipeline.synth import iter_reviews
from tests.texts import odd_texts

VOCABULARY = 600
LABELS = {0: "negative", 1: "neutral", 2: "positive"}
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
Family = tuple[str, str, dict[str, Any]]

FAMILIES: dict[str, Family] = {
    "bert": ("bert", "wordpiece", SIZES),
    "distilbert": ("distilbert", "wordpiece", {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}),
    "electra": ("electra", "wordpiece", {**SIZES, "embedding_size": 24}),
    "mpnet": ("mpnet", "wordpiece", {**SIZES, "max_position_embeddings": 514}),
    "roberta": ("roberta", "bytes", {**SIZES, "max_position_embeddings": 130}),
    "xlm-roberta": ("xlm-roberta", "unigram", {**SIZES, "max_position_embeddings": 130}),
    "camembert": ("camembert", "unigram", {**SIZES, "max_position_embeddings": 130}),
    "albert": ("albert", "unigram", {**SIZES, "embedding_size": 24, "num_hidden_layers": 2}),
    "deberta-v2": ("deberta-v2", "unigram", SIZES),
    "deberta-v3": (
        "deberta-v2",
        "unigram",
        {
            **SIZES,
            **{"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"]},
            **{"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False},
        },
    ),
    "modernbert": ("modernbert", "bytes", {**SIZES, "local_attention": 8, "global_attn_every_n_layers": 3}),
    "gpt2": ("gpt2", "bytes", {"n_embd": 32, "n_layer": 3, "n_head": 4}),
}


PACKED = ("bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta", "camembert", "modernbert")
"""Families that run without padding."""


def train_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer with `[PAD]` 1 and `[CLS] text [SEP]`."""
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    texts = [review.text for review in iter_reviews(0, 0, 400) if review.text]
    trainer: Any
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=VOCABULARY, special_tokens=special, show_progress=False
        )
    elif kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=VOCABULARY, special_tokens=special, unk_token="[UNK]", show_progress=False
        )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")},
    )


@pytest.fixture(scope="module")
def tokenizer_of() -> Callable[[str], PreTrainedTokenizerFast]:
    made: dict[str, PreTrainedTokenizerFast] = {}

    def get(kind: str) -> PreTrainedTokenizerFast:
        return made.setdefault(kind, made.get(kind) or train_tokenizer(kind))

    return get


def write_classifier(
    folder: Path, family: Family, tokenizer: PreTrainedTokenizerFast, **options: Any
) -> Path:
    """A classifier with random weights that are large enough for probabilities to differ."""
    model_type, _, sizes = family
    options = {"id2label": LABELS, **sizes, **options}
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), pad_token_id=1, **options)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3 if "embedding" in name else 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def scored(folder: Path, texts: list[str], precision: str = "float32", **settings: Any) -> FloatArray:
    """(N, C) float32: what a job computes for N texts."""
    config = load_config(None, [f"{name}={value}" for name, value in settings.items()])
    found = find_classifier(str(folder), config)
    ids = load_encoder(tokenizer_json(found.files), found.card.max_length)(pa.array(texts))["input_ids"]
    card = found.card
    options = ForwardOptions(
        found.name, found.fingerprint, card.max_length, precision, activation=card.activation
    )
    return read_forward(options)(Ragged.of(ids), 512).probabilities


def expected(folder: Path, texts: list[str], max_length: int) -> FloatArray:
    """(N, C) float32: what the pipeline of transformers computes, in the order of the labels."""
    classify = pipeline("text-classification", str(folder), device="cpu", top_k=None)
    names = [label for _, label in sorted(classify.model.config.id2label.items())]
    rows = [classify([text], truncation=True, max_length=max_length)[0] for text in texts]
    return np.array(
        [[{r["label"]: r["score"] for r in row}[name] for name in names] for row in rows], np.float32
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_equal_those_of_the_pipeline(
    family: str, tokenizer_of: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    folder = write_classifier(tmp_path, FAMILIES[family], tokenizer_of(FAMILIES[family][1]))
    assert bool(read_encoder(folder) or read_modern(folder)) == (family in PACKED)
    texts = odd_texts(50)
    found, want = scored(folder, texts, **{"tokenize.max_length": 90}), expected(folder, texts, 90)
    np.testing.assert_allclose(found, want, atol=1e-5 if family in PACKED else 1e-4)
    assert np.ptp(want, axis=0).min() > 0.05


@pytest.mark.parametrize("family", ["roberta", "mpnet", "modernbert"])
def test_bfloat16_is_close(
    family: str, tokenizer_of: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    folder = write_classifier(tmp_path, FAMILIES[family], tokenizer_of(FAMILIES[family][1]))
    texts = odd_texts(30)
    exact, found = (scored(folder, texts, precision) for precision in ("float32", "bfloat16"))
    assert 0 < np.abs(found - exact).mean() < 0.03


OPTIONS = {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True}


@pytest.mark.parametrize(
    ("options", "is_packed"),
    [
        (OPTIONS, True),
        ({"global_attn_every_n_layers": 1}, True),
        ({"classifier_pooling": "mean"}, False),
        ({"hidden_activation": "relu"}, False),
    ],
)
def test_variants_of_modernbert(
    options: dict[str, Any],
    is_packed: bool,
    tokenizer_of: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
) -> None:
    folder = write_classifier(tmp_path, FAMILIES["modernbert"], tokenizer_of("bytes"), **options)
    assert (read_modern(folder) is not None) == is_packed
    texts = odd_texts(10)
    np.testing.assert_allclose(scored(folder, texts), expected(folder, texts, 512), atol=1e-5)


def test_an_older_config_of_modernbert(
    tokenizer_of: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    folder = write_classifier(tmp_path, FAMILIES["modernbert"], tokenizer_of("bytes"))
    config = json.loads((folder / "config.json").read_text())
    new = {name: config.pop(name) for name in ("rope_parameters", "layer_types")}
    assert new["layer_types"] == ["full_attention", "sliding_attention", "sliding_attention"]
    old = {"global_rope_theta": 500.0, "local_rope_theta": 70.0, "global_attn_every_n_layers": 2}
    (folder / "config.json").write_text(json.dumps(config | old))
    texts = odd_texts(10)
    assert read_modern(folder) is not None
    np.testing.assert_allclose(scored(folder, texts), expected(folder, texts, 512), atol=1e-5)
    scaled = {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}
    (folder / "config.json").write_text(json.dumps(config | old | scaled))
    assert read_modern(folder) is None


def pad_less(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Take the padding ID away, as in the configs of many decoders."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))


def test_decoder_without_padding(
    tokenizer_of: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    tokenizer = tokenizer_of("bytes")
    folder = write_classifier(tmp_path, FAMILIES["gpt2"], tokenizer)
    pad_less(tokenizer, folder)
    texts = odd_texts(20)
    found = scored(folder, texts, **{"tokenize.max_length": 40})
    np.testing.assert_allclose(found, expected(folder, texts, 40), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"id2label": {0: "toxic"}}, "single_label"),
        ({"problem_type": "multi_label_classification"}, "multi_label"),
        ({"problem_type": "single_label_classification"}, "single_label"),
        ({"problem_type": "regression", "id2label": {0: "stars"}}, "regression"),
    ],
)
def test_problems_have_the_activation_of_the_pipeline(
    options: dict[str, Any],
    problem: str,
    tokenizer_of: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
) -> None:
    folder = write_classifier(tmp_path, FAMILIES["bert"], tokenizer_of("wordpiece"), **options)
    texts = odd_texts(10)
    assert find_classifier(str(folder), Config()).card.problem == problem
    np.testing.assert_allclose(scored(folder, texts), expected(folder, texts, 512), atol=1e-4)


def test_maximum_length_is_that_of_the_model_and_at_most_512(
    tokenizer_of: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    lengths = {"bert": {}, "roberta": FAMILIES["roberta"][2], "long": {"max_position_embeddings": 4096}}
    found = {}
    for name, options in lengths.items():
        family = FAMILIES["bert" if name == "long" else name]
        folder = write_classifier(tmp_path / name, family, tokenizer_of(family[1]), **options)
        found[name] = find_classifier(str(folder), Config()).card.max_length
    assert found == {"bert": 512, "roberta": 128, "long": 512}
    config = load_config(None, ["tokenize.max_length=1000"])
    assert find_classifier(str(tmp_path / "long"), config).card.max_length == 1000
    with pytest.raises(ModelError, match=r"tokenize\.max_length=1000, but it takes at most 128 tokens"):
        find_classifier(str(tmp_path / "roberta"), config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["BertForMaskedLM"]},
            r"no classification head \(BertForMaskedLM\); --model needs",
        ),
        ({"architectures": None}, r"no classification head; --model needs a sequence classifier"),
        (
            {
                "model_type": "own",
                "auto_map": {"AutoModelForSequenceClassification": "own.OwnForSequenceClassification"},
            },
            "needs its own code, which is never run",
        ),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "2 of its outputs are named 'a'"),
        (
            {"problem_type": "ranking"},
            "problem_type='ranking' in its config.json; use one of single_label_cl",
        ),
        ({"problem_type": "regression"}, "a regression with 3 outputs; only one is supported"),
    ],
)
def test_models_that_cannot_be_used_are_refused(
    changes: dict[str, Any],
    message: str,
    tokenizer_of: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
) -> None:
    folder = write_classifier(tmp_path, FAMILIES["bert"], tokenizer_of("wordpiece"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelError, match=f"^model {folder}: {message}"):
        find_classifier(str(folder), Config())


def test_weights_that_can_run_code_are_not_loaded(
    tokenizer_of: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    folder = write_classifier(tmp_path / "m", FAMILIES["bert"], tokenizer_of("wordpiece"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no safetensors weights; other formats can run code"):
        find_classifier(str(folder), Config())
    with pytest.raises(ModelError, match=r"no config\.json in"):
        find_classifier(str(tmp_path), Config())
    with pytest.raises(ModelError, match=r"model nobody/nothing: no such directory, not in the local cache"):
        find_classifier("nobody/nothing", Config())


def test_a_model_of_the_hub_keeps_its_revision(
    tokenizer_of: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the layout of the cache of the Hub."""
    repository = tmp_path / "models--someone--classifier"
    for commit in ("a" * 40, "b" * 40):
        write_classifier(repository / "snapshots" / commit, FAMILIES["bert"], tokenizer_of("wordpiece"))
    config = json.loads((repository / "snapshots" / ("b" * 40) / "config.json").read_text())
    (repository / "snapshots" / ("b" * 40) / "config.json").write_text(json.dumps(config | {"later": 1}))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    newest = find_classifier("someone/classifier", Config())
    first = find_classifier("someone/classifier", Config(), revision="a" * 40)
    assert (newest.revision, newest.directory) == ("b" * 40, None)
    assert first.revision == "a" * 40
    assert first.fingerprint != newest.fingerprint
    options = ForwardOptions(first.name, first.fingerprint, 16, "float32", revision=first.revision)
    assert read_forward(options)(Ragged.of(pa.array([[2, 7, 3]])), 64).probabilities.shape == (1, 3)
