"""The forward pass in batches, compared with a plain loop over single rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import BrokenDeviceError, ModelError
from pipeline.model import forward as module
from pipeline.model import padded
from pipeline.model.card import fingerprint_model
from pipeline.model.forward import Forward, read_forward
from pipeline.model.load import load_classifier
from pipeline.model.options import ForwardOptions
from pipeline.model.packed import PackedModel
from pipeline.model.padded import PaddedModel
from pipeline.model.ragged import Ragged, packed_batches
from pipeline.storage.location import locate
from tests.model.saved import forward_of

LABELS = ["bad", "fair", "good"]
MAX_LENGTH = 30


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> Any:
    """A float32 classifier whose weights are large enough that probabilities differ clearly."""
    model = load_classifier(tiny_model, LABELS).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(40)
    return model


@pytest.fixture(params=["packed", "padded"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Packed or padded batches; BERT is packed by default."""
    if request.param == "padded":
        monkeypatch.setattr(module, "read_encoder", lambda directory: None)
    return str(request.param)


def options(**other: Any) -> ForwardOptions:
    return ForwardOptions(**{"model": "m", "fingerprint": "f", "max_length": MAX_LENGTH} | other)


def rows_of(lengths: list[int], seed: int = 0) -> Ragged:
    numbers = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(numbers.integers(5, 500, offsets[-1]).astype(np.int32), offsets)


def one_by_one(model: Any, ids: Ragged) -> np.ndarray[Any, Any]:
    found = []
    with torch.inference_mode():
        for start, stop in zip(ids.offsets, ids.offsets[1:], strict=False):
            row = torch.tensor(ids.values[start:stop].astype(np.int64))[None]
            found.append(model(input_ids=row).logits.softmax(1).numpy())
    return np.concatenate(found)


@pytest.mark.parametrize("budget", [1, 64, 200, 100_000])
def test_batches_give_the_result_of_single_rows(classifier: Any, way: str, budget: int) -> None:
    ids = rows_of([3, 30, 8, 8, 1, 17, 30, 2, 24, 8, 8, 8])
    forward = forward_of(classifier, options(precision="float32"))
    assert type(forward.model) is {"packed": PackedModel, "padded": PaddedModel}[way]
    scored = forward(ids, budget)
    np.testing.assert_allclose(scored.probabilities, one_by_one(classifier, ids), atol=1e-5)
    assert scored.probabilities.dtype == np.float32
    assert scored.halvings == 0
    assert scored.seconds > 0
    if way == "packed":
        # Batches are padded to multiples of 32.
        batches = packed_batches(ids.lengths, budget)
        assert scored.padded_tokens == sum(-(-ids.lengths[b].sum() // 32) * 32 for b in batches)
        return
    # Widths are multiples of 8, up to MAX_LENGTH.
    minimum = sum(min(MAX_LENGTH, -(-n // 8) * 8) for n in ids.lengths)
    assert scored.padded_tokens >= minimum if budget > 1 else scored.padded_tokens == minimum


def test_rows_may_start_inside_the_array(classifier: Any, way: str) -> None:
    ids = rows_of([5, 9, 12, 4])
    part = Ragged(ids.values, ids.offsets[1:])
    forward = forward_of(classifier, options(precision="float32"))
    whole = one_by_one(classifier, ids)
    np.testing.assert_allclose(forward(part, 64).probabilities, whole[1:], atol=1e-5)


def test_no_rows_give_no_probabilities(classifier: Any, way: str) -> None:
    scored = forward_of(classifier, options(precision="float32"))(rows_of([]), 64)
    assert scored.probabilities.shape == (0, 3)
    assert scored.padded_tokens == 0


def test_bfloat16_is_close_and_its_probabilities_are_not_rounded(classifier: Any, way: str) -> None:
    ids = rows_of([int(n) for n in np.random.default_rng(1).integers(1, 31, 400)])
    forward = forward_of(classifier, options(precision="bfloat16"))
    if isinstance(forward.model, PaddedModel):
        assert {p.dtype.itemsize for p in forward.model.model.base_model.parameters()} == {2}
    found, exact = forward(ids, 256).probabilities, one_by_one(classifier, ids)
    assert np.abs(found - exact).max() < 0.05
    # Eight bits of a number near 1 are steps of 1/256.
    assert len(np.unique(found[:, 0])) > 300
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_results_are_deterministic(classifier: Any, way: str) -> None:
    ids = rows_of([int(n) for n in np.random.default_rng(2).integers(1, 31, 200)])
    first, second = (
        forward_of(classifier, options(precision="bfloat16"))(ids, 128).probabilities for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


class Faulty:
    """A packed or padded model that fails on some batches."""

    def __init__(self, forward: Forward, fails: Callable[[list[Any]], bool], error: Exception) -> None:
        """Wrap the model of a forward pass.

        Args:
            fails: whether the model fails on a batch, given the IDs of its rows.
        """
        self.model, self.fails, self.error = forward.model, fails, error
        self.cut, self.classes = self.model.cut, self.model.classes

    def rows(self, ids: Ragged, order: np.ndarray[Any, Any]) -> Any:
        rows = self.model.rows(ids, order)
        logits = rows.logits
        spans = zip(ids.offsets[order].tolist(), ids.offsets[order + 1].tolist(), strict=True)
        each = [ids.values[a:b] for a, b in spans]

        def faulty(start: int, stop: int) -> Any:
            if self.fails(each[start:stop]):
                raise self.error
            return logits(start, stop)

        rows.logits = faulty  # type: ignore[method-assign]
        return rows


def cramped(forward: Forward, rows: int, error: Exception) -> Any:
    """A model whose memory holds at most `rows` rows at a time."""
    return Faulty(forward, lambda batch: len(batch) > rows, error)


def picky(forward: Forward, bad: int, error: Exception) -> Any:
    """A model that fails on rows that contain the ID `bad`."""
    return Faulty(forward, lambda batch: any(bad in row for row in batch), error)


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_batch_is_halved_if_memory_runs_out(classifier: Any, way: str, rows: int) -> None:
    ids = rows_of([9] * 3 + [4] * 10 + [30] * 7)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you"),
    ):
        forward: Any = forward_of(classifier, options(precision="float32"))
        forward.model = cramped(forward, rows, error)
        scored = forward(ids, 100_000)
        np.testing.assert_allclose(scored.probabilities, one_by_one(classifier, ids), atol=1e-5)
        assert scored.halvings >= 20 // rows - 1
        assert ids.lengths.sum() <= scored.padded_tokens <= 20 * 32
        assert scored.failures == {}


@pytest.mark.parametrize("bad_rows", [[3], [0, 19], list(range(20))])
def test_only_rows_on_which_the_model_fails_are_failures(
    classifier: Any, way: str, bad_rows: list[int]
) -> None:
    ids = rows_of([9] * 3 + [4] * 10 + [30] * 7)
    good = [row for row in range(20) if row not in bad_rows]
    forward: Any = forward_of(classifier, options(precision="float32"))
    ids.values[ids.values == 499] = 498
    for row in bad_rows:
        ids.values[ids.offsets[row + 1] - 1] = 499
    expected = one_by_one(classifier, ids)
    forward.model = picky(forward, 499, IndexError("index out of range in self\nand more"))
    scored = forward(ids, 100_000)
    np.testing.assert_allclose(scored.probabilities[good], expected[good], atol=1e-5)
    assert scored.failures == dict.fromkeys(bad_rows, "IndexError: index out of range in self")
    assert scored.halvings == 0


def test_probabilities_that_are_not_finite_are_failures(classifier: Any, way: str) -> None:
    model = copy.deepcopy(classifier)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[7] = torch.nan
    ids = rows_of([4, 9, 4])
    ids.values[:] = np.where(ids.values == 7, 8, ids.values)
    ids.values[5] = 7
    scored = forward_of(model, options(precision="float32"))(ids, 100_000)
    assert scored.failures == {1: "its probabilities are not finite"}


def test_running_out_of_memory_for_one_row_means_a_broken_device(classifier: Any, way: str) -> None:
    forward: Any = forward_of(classifier, options(precision="float32"))
    forward.model = cramped(forward, 0, MemoryError("no more"))
    with pytest.raises(BrokenDeviceError, match="MemoryError: no more"):
        forward(rows_of([4, 4]), 64)


@pytest.mark.parametrize(
    "said", ["CUDA error: an illegal access", "Triton Error [CUDA]: misaligned address", "cuDNN error: X"]
)
def test_broken_gpu_is_recognized_at_any_call(classifier: Any, said: str) -> None:
    class Broken:
        def cut(self, *_: Any) -> Any:
            raise RuntimeError(said)

    forward: Any = forward_of(classifier, options(precision="float32"))
    forward.model = Broken()
    with pytest.raises(BrokenDeviceError, match="RuntimeError: "):
        forward(rows_of([4, 4]), 64)


def test_broken_compiler_is_reported_immediately(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, **_: Any) -> None:
        self.forward = None

    monkeypatch.setattr(torch.nn.Module, "compile", broken)
    said = r"^torch\.compile: does not work here \(TypeError: .*\); do not set score\.compile, or, if auto"
    with pytest.raises(ModelError, match=said):
        forward_of(classifier, options(precision="float32", compiled=True))


def test_broken_gpu_is_not_a_failure_of_a_row(classifier: Any) -> None:
    forward: Any = forward_of(classifier, options(precision="float32"))
    forward.model = picky(forward, 499, RuntimeError("CUDA error: device-side assert triggered\nCompile"))
    ids = rows_of([4, 4])
    ids.values[0] = 499
    with pytest.raises(BrokenDeviceError, match=r"CUDA error: device-side assert triggered$"):
        forward(ids, 64)


class Strict(torch.nn.Module):
    """A model that takes only plain masks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    @property
    def base_model(self) -> torch.nn.Module:
        return self.model.base_model

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        if attention_mask is not None and attention_mask.dim() != 2:
            raise ValueError("wrong shape for attention_mask")
        return self.model(input_ids=input_ids, attention_mask=attention_mask)


def test_model_that_rejects_an_additive_mask_gets_a_plain_one(
    classifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read_encoder", lambda directory: None)
    ids = rows_of([3, 9, 12, 4])
    forward: Any = forward_of(classifier, options(precision="float32"))
    strict: Any = Strict(forward.model.model)
    forward.model = padded.PaddedModel(strict, "float32", "cpu", 30, compiled=False)
    np.testing.assert_allclose(forward(ids, 64).probabilities, one_by_one(classifier, ids), atol=1e-5)


def test_flops_equal_those_of_weights_and_attention(classifier: Any, way: str) -> None:
    forward = forward_of(classifier, options(precision="float32"))
    # Two layers of 32: four matrices of 32 x 32 and two of 32 x 64 each, and the pooler's of 32 x 32.
    layer, pooler = 4 * 32 * 32 + 2 * 32 * 64, 32 * 32
    lengths = np.array([10, 3])
    if way == "padded":
        attention = 4 * 2 * 32 * (10 * 10 + 3 * 3)
        assert forward.model.flops(lengths) == 2 * (2 * layer + pooler) * 13 + attention
        return
    # The last layer computes keys and values for all 13 tokens, and the rest for the first token of each row.
    first = 2 * layer * 13 + 4 * 32 * (10 * 10 + 3 * 3)
    last = 2 * (2 * 32 * 32) * 13 + 2 * (layer - 2 * 32 * 32) * 2 + 4 * 32 * 13
    assert forward.model.flops(lengths) == first + last + 2 * pooler * 2


def test_changed_model_is_rejected(tiny_model: Path, tmp_path: Path) -> None:
    load_classifier(tiny_model, LABELS).save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json",):
        (tmp_path / "model" / name).write_bytes((tiny_model / name).read_bytes())
    (tmp_path / "model" / "rayview.json").write_text("{}")
    said = fingerprint_model(locate(tmp_path / "model"))
    found = options(model=str(tmp_path / "model"), fingerprint=said, precision="bfloat16")
    assert read_forward(found).model.classes == len(LABELS)
    with pytest.raises(ModelError, match="changed while the job was running"):
        read_forward(options(model=str(tmp_path / "model"), fingerprint="other", precision="float32"))
    # Also if a file is damaged or missing.
    for content in (b"", b"{}", None):
        file = tmp_path / "model" / "model.safetensors"
        file.write_bytes(content) if content is not None else (tmp_path / "model" / "config.json").write_text(
            "{"
        )
        with pytest.raises(ModelError, match="changed while the job was running"):
            read_forward(found)
    changed = fingerprint_model(locate(tmp_path / "model"))
    with pytest.raises(ModelError, match="cannot be loaded as a classifier"):
        read_forward(options(model=str(tmp_path / "model"), fingerprint=changed, precision="float32"))


@pytest.mark.slow
def test_compiled_model_gives_the_same_result(classifier: Any) -> None:
    ids = rows_of([int(n) for n in np.random.default_rng(3).integers(1, 31, 300)])
    plain = forward_of(classifier, options(precision="float32"))(ids, 256)
    compiled = forward_of(classifier, options(precision="float32", compiled=True))(ids, 256)
    np.testing.assert_allclose(compiled.probabilities, plain.probabilities, atol=1e-5)
