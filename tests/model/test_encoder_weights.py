"""Models that are read without transformers; test_packed.py compares their logits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import ModelError
from pipeline.model.card import fingerprint_model
from pipeline.model.encoder_weights import read_encoder
from pipeline.storage.location import locate
from tests.model.saved import checkpoint_of


def bert(**other: Any) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 12, "max_position_embeddings": 5, "num_labels": 4}
    return BertForSequenceClassification(BertConfig(**sizes | other)).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bert().save_pretrained(tmp_path)
    return tmp_path


def test_all_weights_and_sizes_of_a_bert_are_read() -> None:
    model = bert(pad_token_id=3, layer_norm_eps=1e-7)
    found = checkpoint_of(model)
    assert found is not None
    assert (found.layers, found.heads, found.eps, found.pad_id) == (2, 2, 1e-7, 3)
    assert (found.hidden, found.classes) == (8, 4)
    expected = dict(model.named_parameters())
    assert found.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found.tensors[name], tensor, rtol=0, atol=0)


def test_16_bit_weights_and_position_ids_are_accepted(folder: Path) -> None:
    from safetensors.torch import save_file

    model = bert().to(torch.bfloat16)
    save_file(
        dict(model.state_dict()) | {"bert.embeddings.position_ids": torch.arange(5)[None]},
        folder / "model.safetensors",
    )
    found = read_encoder(folder)
    assert found is not None
    assert found.tensors["classifier.bias"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_act", "relu"),
        ("hidden_act", "gelu_new"),
        ("is_decoder", True),
        ("position_embedding_type", "relative_key"),
        ("model_type", "roberta"),
        ("model_type", "xlnet"),
        ("architectures", ["BertForMaskedLM"]),
        ("quantization_config", {"bits": 4}),
        ("num_hidden_layers", 1),
        ("num_hidden_layers", 3),
        ("hidden_size", 16),
        ("num_attention_heads", None),
        ("num_attention_heads", 3),
        ("layer_norm_eps", None),
        ("layer_norm_eps", "1e-12"),
        ("layer_norm_eps", 0.0),
        ("num_attention_heads", 0),
        ("num_attention_heads", 2.0),
        ("num_hidden_layers", 0),
        ("type_vocab_size", 0),
        ("pad_token_id", 9),
        ("pad_token_id", -1),
        ("add_cross_attention", True),
        ("transformers_weights", "other.safetensors"),
        ("per_layer_config", {"0": {}}),
        ("model_type", None),
        ("id2label", {"0": "a"}),
    ],
)
def test_nonstandard_config_is_left_to_transformers(folder: Path, name: str, value: Any) -> None:
    assert read_encoder(folder) is not None
    config = json.loads((folder / "config.json").read_text())
    config.pop(name, None)
    (folder / "config.json").write_text(json.dumps(config if value is None else config | {name: value}))
    assert read_encoder(folder) is None


def test_other_architecture_is_left_to_transformers() -> None:
    from transformers import AlbertConfig, AlbertForSequenceClassification

    config = AlbertConfig(vocab_size=99, hidden_size=32, num_attention_heads=2, intermediate_size=32)
    assert checkpoint_of(AlbertForSequenceClassification(config).eval()) is None


def test_parameters_that_a_roberta_classifier_does_not_use_are_ignored() -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(**sizes, intermediate_size=12, max_position_embeddings=9)
    model = RobertaForSequenceClassification(config).eval()
    plain = checkpoint_of(model)
    model.roberta.pooler = torch.nn.ModuleDict({"dense": torch.nn.Linear(8, 8)})
    found = checkpoint_of(model)
    assert plain is not None
    assert found is not None
    assert found.tensors.keys() == plain.tensors.keys()
    # Without a padding ID, positions are not known.
    model.config.pad_token_id = None
    assert checkpoint_of(model) is None


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("classifier.bias", None),
        ("classifier.bias", torch.zeros(4, dtype=torch.int32)),
        ("classifier.bias", torch.zeros(5)),
        ("bert.embeddings.norm.weight", torch.zeros(8)),
    ],
)
def test_nonstandard_tensors_are_left_to_transformers(folder: Path, name: str, tensor: Any) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {**load_file(folder / "model.safetensors"), name: tensor}
    save_file({n: t for n, t in tensors.items() if t is not None}, folder / "model.safetensors")
    assert read_encoder(folder) is None


def test_missing_pad_token_id_becomes_0(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    found = read_encoder(folder)
    assert found is not None
    assert found.pad_id == 0


def test_unreadable_files_are_an_error(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(ModelError, match=r"^model .*: cannot be read: .*config\.json"):
        read_encoder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\x00" * 100])
def test_damaged_files_are_left_to_transformers(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    assert read_encoder(folder) is None


def test_bert_scores_without_importing_transformers(untrained: str) -> None:
    """Importing transformers would dominate the startup time of an actor."""
    code = f"""
import sys
import numpy as np
from pipeline.model.ragged import Ragged
from pipeline.model.forward import read_forward
from pipeline.model.options import ForwardOptions
forward = read_forward(ForwardOptions({untrained!r}, {fingerprint_model(locate(untrained))!r}, 30, "float32"))
assert forward(Ragged(np.array([2, 9, 3], np.int32), np.array([0, 3])), 64).probabilities.shape == (1, 5)
assert "transformers" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
