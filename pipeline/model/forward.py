"""A classifier on its device: rows of token ids in, probabilities out.

Rows reach the device once a chunk, one after the other; batches are cut there, and what they gave comes back
in one piece, which nobody waits for before it is needed. So a GPU always has the next batch at hand, also
that of the next chunk.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import FloatArray, IntArray
from pipeline.errors import ModelError
from pipeline.model.bert_weights import read_bert
from pipeline.model.card import fingerprint_model
from pipeline.model.load import load_classifier
from pipeline.model.packed import PackedModel
from pipeline.model.padded import PaddedModel
from pipeline.model.ragged import Ragged
from pipeline.storage.cache import local_copy
from pipeline.storage.location import locate

_SHOWN = 200
"""So many characters of an error are kept."""


@dataclass(frozen=True)
class ForwardOptions:
    """What a worker needs to load a model; plain data. The same options and rows give the same bits."""

    model: str
    """URI of the model directory."""
    fingerprint: str
    """What `model.fingerprint_model` said of it when the job began."""
    max_length: int
    precision: str
    """float32 or bfloat16."""
    compiled: bool = False
    kernels: bool = False
    """Whether to compute with kernels.py on a GPU."""


class BrokenDeviceError(Exception):
    """A GPU that answers this process with errors from now on, or has no memory for a single row."""


class Scored:
    """What a forward pass gave, and what it took; on a GPU it may not have ended yet."""

    def __init__(
        self,
        host: Any,
        order: IntArray,
        clock: _Clock,
        padded_tokens: int,
        halvings: int,
        errors: dict[int, str],
    ) -> None:
        """Take over what will be there when a clock has stopped.

        Args:
            host: (N, C) float32, in the host's memory.
            order: (N,) which row of the chunk each is.
            errors: by place in that order, why the model failed on a row.
        """
        self._host, self._order, self._clock, self._errors = host, order, clock, errors
        self.padded_tokens = padded_tokens
        """Tokens that went through the model, padding included."""
        self.halvings = halvings
        """How often a batch was cut in two because the device's memory did not hold it."""

    @cached_property
    def probabilities(self) -> FloatArray:
        """(N, C); rows sum to 1, but those of `failures` hold numbers without a meaning. Waits for them.

        Raises:
            BrokenDeviceError: the GPU failed.
        """
        self._clock.wait()
        found = np.empty(self._host.shape, np.float32)
        found[self._order] = self._host.numpy()
        return found

    @cached_property
    def failures(self) -> dict[int, str]:
        """The rows that the model failed on, and why. Waits for them."""
        finite = np.isfinite(self.probabilities).all(1)
        found = dict.fromkeys(np.flatnonzero(~finite).tolist(), "its probabilities are no numbers")
        return found | {int(self._order[place]): why for place, why in self._errors.items()}

    @property
    def seconds(self) -> float:
        """What the device took for them, without what it had to do before. Waits for them."""
        return self._clock.wait()


class _Clock:
    """Measures the time between two points of what a device has before it."""

    def __init__(self, device: str) -> None:
        """Start when the device comes to it."""
        import torch

        self._on_gpu = device != "cpu"
        self._start = self._mark(torch)
        self._stop: Any = None

    def stop(self) -> None:
        """Stop when the device comes to it."""
        import torch

        self._stop = self._mark(torch)

    def wait(self) -> float:
        """Wait until the clock has stopped; the seconds that it ran."""
        if not self._on_gpu:
            return float(self._stop - self._start)
        try:
            self._stop.synchronize()
        except RuntimeError as error:
            raise BrokenDeviceError(_first_line(error)) from None
        return float(self._start.elapsed_time(self._stop)) / 1e3

    def _mark(self, torch: Any) -> Any:
        if not self._on_gpu:
            return time.monotonic()
        # Blocking: who waits takes no core meanwhile.
        event = torch.cuda.Event(enable_timing=True, blocking=True)
        event.record()
        return event


def read_forward(options: ForwardOptions) -> Forward:
    """A model, read anew.

    Raises:
        ModelError: it is another one by now; two models never mix in one output.
    """
    directory = local_copy(locate(options.model))
    try:
        forward = Forward(directory, options)
    except Exception:
        # If it is another one by now, that is why.
        _check_fingerprint(directory, options)
        raise
    # Afterwards: what is put in its place while it is read is noticed.
    _check_fingerprint(directory, options)
    return forward


def _check_fingerprint(directory: Path, options: ForwardOptions) -> None:
    if fingerprint_model(locate(directory)) != options.fingerprint:
        raise ModelError(f"{options.model}: was written anew since the job began; give the command again")


class Forward:
    """A classifier in the precision asked for, on a GPU where there is one.

    On a CPU several threads may call it at once: each computes its own rows. No operation uses more than the
    calling thread, so no sum depends on the number of threads.
    """

    def __init__(self, directory: Path, options: ForwardOptions) -> None:
        """Read a model.

        Raises:
            ModelError: it cannot be loaded, or computed as the options say.
        """
        import torch

        # Of this thread; see __call__ for the others.
        torch.set_num_threads(1)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = _lay_out(directory, options, self.device)

    def __call__(self, ids: Ragged, batch_tokens: int) -> Scored:
        """Hand N rows to the device.

        A batch that the model fails on is halved, down to the rows that make it fail.

        Args:
            batch_tokens: most tokens in a batch, padding included.
        Raises:
            BrokenDeviceError: the GPU failed.
        """
        try:
            return self._hand_over(ids, batch_tokens)
        except Exception as error:
            # On a GPU an error shows at some later call, whichever that is.
            if _is_broken_device(error):
                raise BrokenDeviceError(_first_line(error)) from None
            raise

    def _hand_over(self, ids: Ragged, batch_tokens: int) -> Scored:
        import torch

        # Of this thread. A sum that several threads share differs in its last bits from one thread's.
        torch.set_num_threads(1)
        clock = _Clock(self.device)
        batches = self.model.cut(ids.lengths, batch_tokens)
        order = np.concatenate([np.zeros(0, np.int64), *batches])
        rows = self.model.rows(ids, order)
        tokens, halvings, errors = 0, 0, dict[int, str]()
        found = [torch.empty((0, self.model.classes), device=self.device)]
        spans = _spans(batches)
        with torch.inference_mode():
            while spans:
                start, stop = spans.pop()
                try:
                    found.append(rows.logits(start, stop).softmax(1))
                except Exception as error:
                    if _is_broken_device(error):
                        raise
                    if stop - start == 1:
                        if _is_out_of_memory(error):
                            # No fault of the row's: something else holds the memory.
                            raise BrokenDeviceError(_first_line(error)) from None
                        errors[start] = _first_line(error)
                        found.append(torch.full((1, self.model.classes), torch.nan, device=self.device))
                        continue
                    middle = (start + stop) // 2
                    spans += [(middle, stop), (start, middle)]
                    halvings += _is_out_of_memory(error)
                    continue
                tokens += rows.tokens(start, stop)
            host = _to_host(torch.cat(found))
        clock.stop()
        return Scored(host, order, clock, tokens, halvings, errors)


def _lay_out(directory: Path, options: ForwardOptions, device: str) -> PackedModel | PaddedModel:
    if not options.compiled:
        checkpoint = read_bert(directory)
        try:
            if checkpoint is None:
                raise ModelError(f"model {directory}: no BERT classifier of the usual kind")
            return PackedModel(checkpoint, options.precision, device, kernels=options.kernels)
        except ModelError as error:
            if options.kernels:
                raise ModelError(
                    f"{error}; run.json says to use them, as they paid where the job began: use such GPUs, or"
                    " begin again with --overwrite"
                ) from None
            logging.getLogger(__name__).info("rows are padded: %s", error)
    model = load_classifier(directory).eval()
    return PaddedModel(model, options.precision, device, options.max_length, compiled=options.compiled)


def _spans(batches: list[IntArray]) -> list[tuple[int, int]]:
    """Where each batch begins and ends among the rows of all; the last first, to be taken from the end."""
    ends = np.cumsum([len(b) for b in batches]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))[::-1] if batches else []


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # PyTorch's allocator on a CPU has no class of its own for this, nor has CUDA's driver.
    said = re.search("can't allocate memory|out of memory", str(error))
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or said is not None


def _is_broken_device(error: BaseException) -> bool:
    # Other calls of CUDA fail with the same error from then on, but for a lack of memory.
    said = re.search(r"CUDA error|Error \[CUDA\]|cuDNN error", str(error))
    return said is not None and not _is_out_of_memory(error)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:_SHOWN].removesuffix(": ")


def _to_host(tensor: Any) -> Any:
    """A tensor that is in the host's memory once the device has come so far."""
    import torch

    if tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
