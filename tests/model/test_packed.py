"""Packed BERT compared with transformers, and its GPU kernels in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ModelError
from pipeline.model import attention, forward
from pipeline.model import packed as module
from pipeline.model.attention import (
    BY_LENGTH,
    Operations,
    add_norm,
    attend_by_length,
    check_operations,
    linear_gelu,
)
from pipeline.model.options import ForwardOptions
from pipeline.model.packed import PackedModel
from pipeline.model.padded import PaddedModel
from pipeline.model.ragged import Ragged
from pipeline.model.tensors import Rows
from tests.model.saved import checkpoint_of, packed


def bert(**other: Any) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(3)
    sizes = {"vocab_size": 99, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 80, "max_position_embeddings": 40, "num_labels": 4}
    # Weights are large enough that each token affects the result, and no two modules are equal.
    other = {"initializer_range": 0.3, "layer_norm_eps": 0.1} | other
    model = BertForSequenceClassification(BertConfig(**sizes | other)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(float("LayerNorm.weight" in name), 0.3)
    return model


def ragged(lengths: list[int]) -> Ragged:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(np.random.default_rng(0).integers(0, 99, offsets[-1]).astype(np.int32), offsets)


def logits_of(model: PackedModel, ids: Ragged, budget: int) -> np.ndarray[Any, Any]:
    batches = model.cut(ids.lengths, budget)
    order = np.concatenate(batches)
    rows, found, start = model.rows(ids, order), [], 0
    with torch.inference_mode():
        for batch in batches:
            found.append(rows.logits(start, start + len(batch)).numpy())
            start += len(batch)
    out = np.empty((len(order), 4), np.float32)
    out[order] = np.concatenate(found)
    return out


def one_by_one(model: Any, ids: Ragged) -> np.ndarray[Any, Any]:
    rows = [ids.values[a:b].astype(np.int64) for a, b in zip(ids.offsets, ids.offsets[1:], strict=False)]
    with torch.inference_mode():
        return np.concatenate([model(input_ids=torch.from_numpy(row)[None]).logits.numpy() for row in rows])


@cache
def both() -> tuple[Any, PackedModel]:
    """The same model of transformers and of this project, for all examples."""
    model = bert()
    return model, packed(model, "float32")


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30), budget=st.integers(1, 300))
def test_rows_of_any_lengths_give_the_logits_of_transformers(lengths: list[int], budget: int) -> None:
    (model, ours), ids = both(), ragged(lengths)
    np.testing.assert_allclose(logits_of(ours, ids, budget), one_by_one(model, ids), atol=2e-4)


def test_rows_without_ids_are_scored_as_in_padded_batches() -> None:
    model, ids = bert(), ragged([0, 5, 0, 3, 0])
    found = logits_of(packed(model, "float32"), ids, 4)
    padded = PaddedModel(model, "float32", "cpu", 40, compiled=False)
    (order,) = padded.cut(ids.lengths, 1000)
    rows = padded.rows(ids, order)
    with torch.inference_mode():
        # One by one: in a batch with longer rows, a row without IDs would be a mean over all padding.
        theirs = np.concatenate([rows.logits(i, i + 1).numpy() for i in range(5)])
    np.testing.assert_allclose(found[order], theirs, atol=2e-4)


def test_bfloat16_is_as_close_as_in_transformers() -> None:
    model, ids = bert(), ragged([int(n) for n in np.random.default_rng(1).integers(1, 41, 200)])
    exact = one_by_one(model, ids)
    found = logits_of(packed(model, "bfloat16"), ids, 512)
    theirs = one_by_one(model.to(torch.bfloat16).float(), ids)
    assert 0 < np.abs(found - exact).mean() < 3 * np.abs(theirs - exact).mean()


@pytest.mark.parametrize("first_only", [False, True])
def test_attention_is_within_each_row(first_only: bool) -> None:
    lengths = np.arange(70, 0, -1)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    query, key, value = torch.randn(3, int(bounds[-1]) + 9, 3, 16, generator=torch.Generator().manual_seed(0))
    # Values after the rows must not matter.
    key[bounds[-1] :] = value[bounds[-1] :] = torch.nan
    asked = query[: len(lengths) + 5] if first_only else query
    rows = Rows(None, None, None, lengths)
    expected = []
    for n, (start, stop) in enumerate(pairwise(bounds)):
        q = asked[n : n + 1] if first_only else query[start:stop]
        weights = (torch.einsum("qhd,khd->hqk", q, key[start:stop]) / 4).softmax(2)
        expected.append(torch.einsum("hqk,khd->qhd", weights, value[start:stop]))
    exact = torch.cat([*expected, torch.zeros(len(asked) - sum(map(len, expected)), 3, 16)])
    parts = (asked, key, value)
    found = attend_by_length(*parts, rows, first_only=first_only)
    torch.testing.assert_close(found, exact)
    # In 16 bits, keys are padded and hidden.
    found = attend_by_length(*(p.bfloat16() for p in parts), rows, first_only=first_only)
    torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("first_only", [False, True])
def test_attention_stays_on_the_device_of_its_rows(first_only: bool) -> None:
    # This is the reference for GPU operations, also in 16 bits; a mask on the CPU would fail there.
    lengths = np.array([40, 17, 2])
    key = torch.empty(int(lengths.sum()), 3, 16, dtype=torch.bfloat16, device="meta")
    query = key[: len(lengths)] if first_only else key
    found = attend_by_length(query, key, key, Rows(None, None, None, lengths), first_only=first_only)
    assert (found.device.type, found.shape) == ("meta", query.shape)


def test_batch_is_computed_entirely_on_the_device_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    # The meta device stands in for a GPU: mixing in a CPU tensor raises an error.
    def attend(query: Any, *_: Any, **__: Any) -> Any:
        return torch.empty_like(query)

    operations = Operations(attend, add_norm, linear_gelu)
    monkeypatch.setattr(module, "choose_operations", lambda *_, **__: operations)
    monkeypatch.setattr(module, "to_device", lambda part, device: torch.from_numpy(np.array(part)).to(device))
    checkpoint, ids = checkpoint_of(bert()), ragged([3, 9, 0, 40, 7])
    assert checkpoint is not None
    model = PackedModel(checkpoint, "bfloat16", "meta")
    (order,) = model.cut(ids.lengths, 1000)
    rows = model.rows(ids, order)
    with torch.inference_mode():
        found = [rows.logits(0, 5), rows.logits(1, 3)]
    assert [(f.device.type, tuple(f.shape)) for f in found] == [("meta", (5, 4)), ("meta", (2, 4))]
    model.model._words = model.model._words.new_zeros((99, 48), device="cpu")
    with pytest.raises((RuntimeError, NotImplementedError)):
        rows.logits(0, 5)


def test_interpreted_kernels_agree_with_pytorch() -> None:
    """Triton's interpreter runs the kernels on the CPU."""
    file = Path(__file__).with_name("kernels_in_interpreter.py")
    done = subprocess.run(
        [sys.executable, str(file)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["8", "attentions", "4", "sums", "4", "linear"]


def test_operations_are_compared_with_the_reference() -> None:
    check_operations(BY_LENGTH, "cpu", "bfloat16", 3, 16)

    def other_scale(query: Any, *arguments: Any, **options: Any) -> Any:
        return attend_by_length(query * 1.2, *arguments, **options)

    def last_only(*arguments: Any, first_only: bool) -> Any:
        return attend_by_length(*arguments, first_only=first_only) * (1.1 if first_only else 1)

    def no_bias(added: Any, hidden: Any, weight: Any, bias: Any, eps: float) -> Any:
        return add_norm(added, hidden, weight, 0 * bias, eps)

    def relu(hidden: Any, weight: Any, bias: Any) -> Any:
        return torch.relu(hidden @ weight.T + bias)

    for wrong in (
        replace(BY_LENGTH, attend=other_scale),
        replace(BY_LENGTH, attend=last_only),
        replace(BY_LENGTH, add_norm=no_bias),
        replace(BY_LENGTH, linear_gelu=relu),
    ):
        with pytest.raises(AssertionError, match="not close"):
            check_operations(wrong, "cpu", "bfloat16", 3, 16)


def test_operations_that_fail_on_a_gpu_are_replaced_or_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bert().save_pretrained(tmp_path)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel image is available\nfor this device")

    monkeypatch.setattr(attention, "check_operations", broken)
    monkeypatch.setattr(forward, "PaddedModel", lambda *_, **__: "padded")
    options = ForwardOptions("m", "f", 30, "bfloat16")
    with caplog.at_level("INFO"):
        assert forward._load(tmp_path, options, "cuda") == "padded"
    assert "rows are padded: variable-length attention: not usable on this GPU" in caplog.text
    error = r"\((RuntimeError|ModuleNotFoundError): [^\n]*\)"
    said = rf"^rayview's kernels: not usable on this GPU {error}; run\.json requires them"
    with pytest.raises(ModelError, match=said):
        forward._load(tmp_path, replace(options, kernels=True), "cuda")
    # float32 has no variable-length attention.
    assert forward._load(tmp_path, replace(options, precision="float32"), "cuda") == "padded"
