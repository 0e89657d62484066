"""Forward pass of a classifier on its device: rows of token IDs in, probabilities out.

All rows of a chunk are copied to the device at once and cut into batches there. The probabilities are copied
back asynchronously; reading them waits for the copy. So a GPU always has the next batch queued, including
that of the next chunk.
"""

from __future__ import annotations

import logging
import re
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import FloatArray, IntArray
from pipeline.errors import BrokenDeviceError, ModelError
from pipeline.model.card import Activation, fingerprint_model
from pipeline.model.encoder_weights import read_encoder
from pipeline.model.hub import is_directory, resolve_model
from pipeline.model.load import load_classifier
from pipeline.model.modern import read_modern
from pipeline.model.options import ForwardOptions
from pipeline.model.packed import PackedModel, PackedRows
from pipeline.model.padded import PaddedModel, PaddedRows
from pipeline.model.ragged import Ragged
from pipeline.storage.cache import local_copy
from pipeline.storage.location import locate

_ERROR_CHARS = 200
"""Maximum length of a recorded error message, in characters."""


class Scored:
    """Result and cost of a forward pass, which may still be running on a GPU."""

    def __init__(
        self,
        host: Tensor,
        order: IntArray,
        clock: _Clock,
        padded_tokens: int,
        halvings: int,
        errors: dict[int, str],
    ) -> None:
        """Wrap probabilities that are complete once the clock has stopped.

        Args:
            host: (N, C) float32, in host memory.
            order: (N,) row of the chunk of each row of `host`.
            errors: index in `host` → error of the model on that row.
        """
        self._host, self._order, self._clock, self._errors = host, order, clock, errors
        self.padded_tokens = padded_tokens
        """Tokens that went through the model, including padding."""
        self.halvings = halvings
        """Number of batches that were halved because they did not fit into device memory."""

    @cached_property
    def probabilities(self) -> FloatArray:
        """(N, C) float32, of the activation; undefined for rows in `failures`. Waits for the device.

        Raises:
            BrokenDeviceError: the GPU failed.
        """
        self._clock.wait()
        found = np.empty(self._host.shape, np.float32)
        found[self._order] = self._host.numpy()
        return found

    @cached_property
    def failures(self) -> dict[int, str]:
        """Row → error of the model on that row. Waits for the device."""
        finite = np.isfinite(self.probabilities).all(1)
        found = dict.fromkeys(np.flatnonzero(~finite).tolist(), "its probabilities are not finite")
        return found | {int(self._order[place]): why for place, why in self._errors.items()}

    @property
    def seconds(self) -> float:
        """Time on the device, without earlier passes. Waits for the device."""
        return self._clock.wait()


class _Clock:
    """Timer between two points in the work queue of a device."""

    def __init__(self, device: str) -> None:
        """Start when the device reaches this point."""
        self._events = None if device == "cpu" else (_cuda_event(), _cuda_event())
        self._start_s = self._stop_s = time.monotonic()
        if self._events:
            self._events[0].record()

    def stop(self) -> None:
        """Stop when the device reaches this point."""
        self._stop_s = time.monotonic()
        if self._events:
            self._events[1].record()

    def wait(self) -> float:
        """Wait until the clock has stopped, and return the seconds between start and stop.

        Raises:
            BrokenDeviceError: the GPU failed.
        """
        if not self._events:
            return self._stop_s - self._start_s
        start, stop = self._events
        try:
            stop.synchronize()
        except RuntimeError as error:
            raise BrokenDeviceError(_first_line(error)) from None
        return float(start.elapsed_time(stop)) / 1e3


def _cuda_event() -> torch.cuda.Event:
    # Blocking: a waiting thread does not occupy a core.
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]


def read_forward(options: ForwardOptions) -> Forward:
    """Load a model on the device of this process.

    Raises:
        ModelError: it cannot be loaded, or has changed since the job began, because an output must not mix
            models.
    """
    if is_directory(options.model):
        directory = local_copy(locate(options.model))
    else:
        directory = resolve_model(options.model, options.revision)
    try:
        forward = Forward(directory, options)
    except Exception:
        # If the model has changed, that explains the error.
        _check_fingerprint(directory, options)
        raise
    # After loading, so that a change while the model was read is detected, too.
    _check_fingerprint(directory, options)
    return forward


def _check_fingerprint(directory: Path, options: ForwardOptions) -> None:
    if fingerprint_model(locate(directory)) != options.fingerprint:
        raise ModelError(f"{options.model}: changed while the job was running; rerun the command")


class Forward:
    """Classifier in the requested precision, on a GPU if available.

    On a CPU, several threads may call it concurrently, each with its own rows. Every operation uses only the
    calling thread, so no sum depends on the number of threads.
    """

    def __init__(self, directory: Path, options: ForwardOptions) -> None:
        """Load a model.

        Raises:
            ModelError: it cannot be loaded, or the device does not support the options.
        """
        # For this thread; __call__ sets it for others.
        torch.set_num_threads(1)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.activation = options.activation
        self.model = _load(directory, options, self.device)

    def __call__(self, ids: Ragged, batch_tokens: int) -> Scored:
        """Queue N rows on the device.

        If the model fails on a batch, the batch is halved until only the failing rows are left.

        Args:
            batch_tokens: maximum tokens in a batch, including padding.
        Raises:
            BrokenDeviceError: the GPU failed.
        """
        try:
            return self._enqueue(ids, batch_tokens)
        except Exception as error:
            # CUDA may report an error in any later call.
            if _is_broken_device(error):
                raise BrokenDeviceError(_first_line(error)) from None
            raise

    def _enqueue(self, ids: Ragged, batch_tokens: int) -> Scored:
        # For this thread. A sum computed by several threads differs from that of one thread in its last bits.
        torch.set_num_threads(1)
        clock = _Clock(self.device)
        batches = self.model.cut(ids.lengths, batch_tokens)
        order = np.concatenate([np.zeros(0, np.int64), *batches])
        rows = self.model.rows(ids, order)
        batched = _Batched(rows, self.model.classes, self.device, self.activation)
        spans = _spans(batches)
        with torch.inference_mode():
            while spans:
                spans += batched.compute(*spans.pop())
            host = _to_host(torch.cat(batched.found))
        clock.stop()
        return Scored(host, order, clock, batched.tokens, batched.halvings, batched.errors)


class _Batched:
    """Probabilities of the rows of a chunk, computed in batches from the first row to the last."""

    def __init__(
        self, rows: PackedRows | PaddedRows, classes: int, device: str, activation: Activation
    ) -> None:
        self._rows, self._activation = rows, activation
        self._nan_row = torch.full((1, classes), torch.nan, device=device)
        self.found = [self._nan_row[:0]]
        """(B, C) each, on the device."""
        self.tokens = self.halvings = 0
        self.errors: dict[int, str] = {}
        """Row → error of the model on that row."""

    def compute(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Compute a batch; if the model fails, return the halves to compute instead, second half first."""
        try:
            self.found.append(_activate(self._rows.logits(start, stop), self._activation))
        except Exception as error:
            if _is_broken_device(error):
                raise
            if stop - start > 1:
                middle = (start + stop) // 2
                self.halvings += _is_out_of_memory(error)
                return [(middle, stop), (start, middle)]
            if _is_out_of_memory(error):
                # Not caused by the row: something else occupies the memory.
                raise BrokenDeviceError(_first_line(error)) from None
            self.errors[start] = _first_line(error)
            self.found.append(self._nan_row)
        else:
            self.tokens += self._rows.tokens(start, stop)
        return []


def _activate(logits: Tensor, activation: Activation) -> Tensor:
    """(B, C) float32, of (B, C) logits."""
    if activation == "softmax":
        return logits.softmax(1)
    return logits.sigmoid() if activation == "sigmoid" else logits


def _load(directory: Path, options: ForwardOptions, device: str) -> PackedModel | PaddedModel:
    if not options.compiled:
        checkpoint = read_encoder(directory) or read_modern(directory)
        try:
            if checkpoint is None:
                raise ModelError(f"model {directory}: not a standard classifier of a known family")
            return PackedModel(checkpoint, options.precision, device, kernels=options.kernels)
        except ModelError as error:
            if options.kernels:
                raise ModelError(
                    f"{error}; run.json requires them, because they were faster when the job began: use GPUs"
                    " of the same type, or start over with --overwrite"
                ) from None
            logging.getLogger(__name__).info("rows are padded: %s", error)
    model = load_classifier(directory).eval()
    return PaddedModel(model, options.precision, device, options.max_length, compiled=options.compiled)


def _spans(batches: list[IntArray]) -> list[tuple[int, int]]:
    """Start and end of each batch in the rows of all batches, last batch first, for use as a stack."""
    ends = np.cumsum([len(b) for b in batches]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))[::-1] if batches else []


def _is_out_of_memory(error: BaseException) -> bool:
    # PyTorch's CPU allocator and the CUDA driver raise plain RuntimeErrors.
    message = re.search("can't allocate memory|out of memory", str(error))
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or message is not None


def _is_broken_device(error: BaseException) -> bool:
    # After such an error every CUDA call fails, unless the error was out of memory.
    message = re.search(r"CUDA error|Error \[CUDA\]|cuDNN error", str(error))
    return message is not None and not _is_out_of_memory(error)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:_ERROR_CHARS].removesuffix(": ")


def _to_host(tensor: Tensor) -> Tensor:
    """Copy in host memory, which is complete once the device reaches this point."""
    if tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
