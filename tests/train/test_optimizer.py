"""Learning rates per layer, for the head, and over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import TrainConfig
from pipeline.model.load import load_with_new_head
from pipeline.train.optimizer import learning_rate, make_optimizer, parameter_groups, set_learning_rate

LABELS = ["1", "2", "3", "4", "5"]
CONFIG = TrainConfig(layer_lr_decay=0.5, head_lr_factor=7.0, weight_decay=0.1, learning_rate=0.01)
# Factors of the learning rate; those of the three layers start with the lowest.
EMBEDDINGS, LAYERS, TOP, HEAD = 0.125, (0.25, 0.5, 1.0), 1.0, 7.0
WIDTH, DEPTH, HEADS, INNER, VOCABULARY = 8, 3, 2, 16, 20


def config_of(family: str) -> Any:
    from transformers import BertConfig, DistilBertConfig, ModernBertConfig, RobertaConfig

    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 12,
    }
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    if family == "DistilBert":
        return DistilBertConfig(
            dim=WIDTH, n_layers=DEPTH, n_heads=HEADS, hidden_dim=INNER, vocab_size=VOCABULARY
        )
    if family == "ModernBert":
        return ModernBertConfig(**sizes, **tokens)
    return {"Bert": BertConfig, "Roberta": RobertaConfig}[family](**sizes)


def write_checkpoint(folder: Path, family: str, kind: str, num_labels: int = 2) -> None:
    """Write random weights as a checkpoint of pretraining (Model, ForMaskedLM) or fine-tuning."""
    import transformers

    config = config_of(family)
    config.num_labels = num_labels
    getattr(transformers, f"{family}{kind}")(config).save_pretrained(folder)


def scales_of(folder: Path, config: TrainConfig = CONFIG) -> dict[str, float]:
    """The learning rate scale of each parameter; checks that each is in exactly one group."""
    model, new = load_with_new_head(folder, LABELS, seed=0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = [
        (names[p], group["lr_scale"])
        for group in parameter_groups(model, new, config)
        for p in group["params"]
    ]
    assert len(found) == len(names)
    return dict(found)


def layers(prefix: str) -> dict[str, float]:
    return {f"{prefix}.{number}.": scale for number, scale in enumerate(LAYERS)}


BERT = {"bert.embeddings.": EMBEDDINGS, **layers("bert.encoder.layer")}
ROBERTA = {"roberta.embeddings.": EMBEDDINGS, **layers("roberta.encoder.layer")}
DISTILBERT = {"distilbert.embeddings.": EMBEDDINGS, **layers("distilbert.transformer.layer")}
MODERNBERT = {"model.embeddings.": EMBEDDINGS, **layers("model.layers"), "model.final_norm.": TOP}


@pytest.mark.parametrize(
    ("family", "kind", "expected"),
    [
        ("Bert", "Model", {**BERT, "bert.pooler.": TOP, "classifier.": HEAD}),
        # Pretraining without next sentence prediction has no pooler, so it is new, as is the classifier.
        ("Bert", "ForMaskedLM", {**BERT, "bert.pooler.": HEAD, "classifier.": HEAD}),
        ("Bert", "ForSequenceClassification", {**BERT, "bert.pooler.": TOP, "classifier.": HEAD}),
        ("DistilBert", "ForMaskedLM", {**DISTILBERT, "pre_classifier.": HEAD, "classifier.": HEAD}),
        (
            "DistilBert",
            "ForSequenceClassification",
            {**DISTILBERT, "pre_classifier.": TOP, "classifier.": HEAD},
        ),
        ("Roberta", "ForMaskedLM", {**ROBERTA, "classifier.": HEAD}),
        (
            "Roberta",
            "ForSequenceClassification",
            {**ROBERTA, "classifier.dense.": TOP, "classifier.out_proj.": HEAD},
        ),
        ("ModernBert", "Model", {**MODERNBERT, "head.": HEAD, "classifier.": HEAD}),
        # The classifier uses the pretrained prediction head.
        ("ModernBert", "ForMaskedLM", {**MODERNBERT, "head.": TOP, "classifier.": HEAD}),
    ],
)
def test_layers_and_new_parameters_have_their_learning_rates(
    family: str, kind: str, expected: dict[str, float], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, family, kind)
    scales = scales_of(tmp_path)
    matched = {name: [p for p in expected if name.startswith(p)] for name in scales}
    assert {name: [expected[p] for p in prefixes] for name, prefixes in matched.items()} == {
        name: [scale] for name, scale in scales.items()
    }
    assert {p for prefixes in matched.values() for p in prefixes} == set(expected)


def test_classifier_with_matching_labels_has_no_new_head(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Bert", "ForSequenceClassification", num_labels=len(LABELS))
    model, new = load_with_new_head(tmp_path, LABELS, seed=0)
    assert new == frozenset()
    assert model.config.id2label == dict(enumerate(LABELS))
    assert set(scales_of(tmp_path).values()) == {EMBEDDINGS, *LAYERS}


def test_seed_determines_only_new_parameters(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "DistilBert", "ForMaskedLM")
    (first, new), (same, _), (other, _) = (
        load_with_new_head(tmp_path, LABELS, seed=seed) for seed in (1, 1, 2)
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        is_random = name in new and name.endswith("weight")
        assert torch.equal(value, other.state_dict()[name]) == (not is_random), name


def test_by_default_all_parameters_have_one_learning_rate(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Bert", "ForMaskedLM")
    assert set(scales_of(tmp_path, TrainConfig()).values()) == {1.0}


def test_biases_and_norms_have_no_weight_decay(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Bert", "Model")
    model, new = load_with_new_head(tmp_path, LABELS, seed=0)
    decays = {p: g["weight_decay"] for g in parameter_groups(model, new, CONFIG) for p in g["params"]}
    for name, parameter in model.named_parameters():
        is_vector = name.endswith("bias") or "LayerNorm" in name
        assert decays[parameter] == (0.0 if is_vector else 0.1), name


def test_learning_rate_is_scaled_per_group(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Bert", "Model")
    model, new = load_with_new_head(tmp_path, LABELS, seed=0)
    optimizer = make_optimizer(model, new, CONFIG)
    set_learning_rate(optimizer, 0.02)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[model.classifier.weight] == pytest.approx(0.14)
    assert rates[model.bert.encoder.layer[0].output.dense.bias] == pytest.approx(0.005)
    assert rates[model.bert.embeddings.word_embeddings.weight] == pytest.approx(0.0025)


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 1 / 10),  # The first step already learns.
        (4, 5 / 10),
        (9, 1.0),  # Last step of the warm-up.
        (10, 1.0),
        (55, 45 / 90),
        (99, 1 / 90),  # The last step still learns.
    ],
)
def test_learning_rate_warms_up_and_then_decays_until_the_last_step(step: int, factor: float) -> None:
    config = TrainConfig(learning_rate=3e-4, warmup_ratio=0.1)
    assert learning_rate(step, 100, config) == pytest.approx(3e-4 * factor)


@pytest.mark.parametrize(
    ("warmup_ratio", "first", "last"), [(0.0, 1.0, 0.25), (1.0, 0.25, 1.0), (0.2, 1.0, 0.25)]
)
def test_short_run_rounds_its_warm_up_down(warmup_ratio: float, first: float, last: float) -> None:
    config = TrainConfig(learning_rate=1.0, warmup_ratio=warmup_ratio)
    assert learning_rate(0, 4, config) == first
    assert learning_rate(3, 4, config) == last


def test_run_of_one_step_has_a_positive_learning_rate() -> None:
    assert learning_rate(0, 1, TrainConfig(learning_rate=1.0, warmup_ratio=0.1)) == 1.0
