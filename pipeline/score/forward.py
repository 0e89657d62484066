"""A classifier on its device: rows of token ids in, probabilities out.

Rows reach the device once a chunk, one after the other; batches are cut and padded there, and what they gave
comes back in one piece, which nobody waits for before it is needed. So a GPU always has the next batch at
hand, also that of the next chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.copies import local_copy
from pipeline.errors import ModelError
from pipeline.model import fingerprint_model, load_classifier, pad_token_id
from pipeline.ragged import IntArray, Ragged, padded_width, token_budget_batches
from pipeline.storage import locate

FloatArray = npt.NDArray[np.float32]
Result = TypeVar("Result")

_PROBE_IDS = ((1, 2, 3, 4), (4, 3, 2, 1))
"""Rows to see what kind of mask a model takes; any ids do."""


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
    threads: int = 1
    compiled: bool = False


class Scored:
    """What a forward pass gave, and what it took; on a GPU it may not have ended yet."""

    def __init__(self, host: Any, order: IntArray, clock: _Clock, padded_tokens: int, halvings: int) -> None:
        """Take over what will be there when a clock has stopped.

        Args:
            host: (N, C) float32, in the host's memory.
            order: (N,) which row of the chunk each is.
        """
        self._host, self._order, self._clock = host, order, clock
        self.padded_tokens = padded_tokens
        """Tokens that went through the model, padding included."""
        self.halvings = halvings
        """How often a batch was cut in two because the device's memory did not hold it."""

    @cached_property
    def probabilities(self) -> FloatArray:
        """(N, C); rows sum to 1. Waits for them."""
        self._clock.wait()
        found = np.empty(self._host.shape, np.float32)
        found[self._order] = self._host.numpy()
        return found

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
        self._stop.synchronize()
        return float(self._start.elapsed_time(self._stop)) / 1e3

    def _mark(self, torch: Any) -> Any:
        if not self._on_gpu:
            return time.monotonic()
        # Blocking: who waits takes no core meanwhile.
        event = torch.cuda.Event(enable_timing=True, blocking=True)
        event.record()
        return event


@lru_cache(maxsize=1)
def _computing_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "computing")


def compute(work: Callable[..., Result], *arguments: Any) -> Result:
    """Do some work on the one thread of this process that computes.

    OpenMP gives each thread that computes a team of its own. Where a process has two teams on the same cores
    it lets all of them sleep at every turn: Ray, which makes an actor on one thread and calls it on another,
    lost a fifth of the rate by that.
    """
    return _computing_thread().submit(work, *arguments).result()


@lru_cache(maxsize=1)
def load_forward(options: ForwardOptions) -> Forward:
    """The model of this process: read once, whoever asks for it first."""
    return read_forward(options)


def read_forward(options: ForwardOptions) -> Forward:
    """A model, read anew.

    Raises:
        ModelError: it is another one by now; two models never mix in one output.
    """
    directory = local_copy(locate(options.model))
    if fingerprint_model(locate(directory)) != options.fingerprint:
        raise ModelError(f"{options.model}: was written anew since the job began; give the command again")
    return Forward(load_classifier(directory), options)


class Forward:
    """A classifier in the precision asked for, on a GPU where there is one."""

    def __init__(self, model: Any, options: ForwardOptions) -> None:
        """Take over a float32 classifier; its weights are changed in place."""
        import torch

        torch.set_num_threads(options.threads)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.max_length = options.max_length
        self.pad_id = pad_token_id(model)
        self.model = _in_precision(model.eval(), options.precision).to(self.device)
        self.mask = _mask_of(self.model, self.device)
        if options.compiled:
            # One graph for batches of any shape.
            self.model.compile(dynamic=True)

    def flops(self, lengths: IntArray) -> float:
        """Multiplications and additions that rows of (N,) lengths need, without padding.

        Of the matrix products alone: two a weight and token, and in attention four a channel, layer and pair
        of tokens.

        Source: Kaplan et al. 2020, arXiv:2001.08361, table 1 (forward pass), embeddings left out.
        """
        named = self.model.base_model.named_parameters()
        weights = sum(p.numel() for name, p in named if p.dim() == 2 and "embedding" not in name)
        config = self.model.config
        channels = getattr(config, "num_hidden_layers", 0) * getattr(config, "hidden_size", 0)
        return float(2 * weights * lengths.sum() + 4 * channels * (lengths * lengths).sum())

    def __call__(self, ids: Ragged, batch_tokens: int) -> Scored:
        """Hand N rows to the device.

        Args:
            batch_tokens: most padded tokens in a batch.
        """
        import torch

        clock = _Clock(self.device)
        batches = token_budget_batches(ids.lengths, batch_tokens, self.max_length)
        order = np.concatenate([np.zeros(0, np.int64), *batches])
        rows = _Rows(ids, order, self)
        padded, halvings = 0, 0
        found = []
        spans = _spans(batches)
        with torch.inference_mode():
            while spans:
                start, stop = spans.pop()
                try:
                    found.append(rows.probabilities(start, stop))
                except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error) or stop - start == 1:
                        raise
                    middle = (start + stop) // 2
                    spans += [(middle, stop), (start, middle)]
                    halvings += 1
                    continue
                padded += rows.width(start) * (stop - start)
            empty = torch.empty((0, self.model.config.num_labels))
            host = _to_host(torch.cat(found)) if found else empty
        clock.stop()
        return Scored(host, order, clock, padded, halvings)


def _spans(batches: list[IntArray]) -> list[tuple[int, int]]:
    """Where each batch begins and ends among the rows of all; the last first, to be taken from the end."""
    ends = np.cumsum([len(b) for b in batches]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))[::-1] if batches else []


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # PyTorch's allocator on a CPU has no class of its own for this.
    said = "can't allocate memory" in str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or said


class _Rows:
    """The rows of a chunk on the device, in the order of the batches."""

    def __init__(self, ids: Ragged, order: IntArray, forward: Forward) -> None:
        self._forward = forward
        self._host_lengths = ids.lengths[order]
        self._values = _to_device(ids.values, forward.device)
        self._starts = _to_device(ids.offsets[:-1][order], forward.device)
        self._lengths = _to_device(self._host_lengths, forward.device)

    def width(self, start: int) -> int:
        """Of the batch that begins with a row, which is its longest."""
        return padded_width(int(self._host_lengths[start]), self._forward.max_length)

    def probabilities(self, start: int, stop: int) -> Any:
        """(B, C) float32 on the device."""
        import torch

        forward, width = self._forward, self.width(start)
        column = torch.arange(width, device=forward.device)
        lengths = self._lengths[start:stop, None]
        places = self._starts[start:stop, None] + column
        if int(self._host_lengths[stop - 1]) == width:
            # No row is padded: without a mask attention takes a faster way.
            ids, mask = self._values[places].long(), None
        else:
            is_token = column < lengths
            ids = self._values[places.clamp_(max=len(self._values) - 1)].long()
            ids.masked_fill_(~is_token, forward.pad_id)
            mask = forward.mask(is_token)
        return forward.model(input_ids=ids, attention_mask=mask).logits.float().softmax(1)


def _to_device(values: npt.NDArray[Any], device: str) -> Any:
    import torch

    # A copy: Arrow's memory is read-only, which PyTorch warns of.
    tensor = torch.from_numpy(np.array(values))
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _to_host(tensor: Any) -> Any:
    """A tensor that is in the host's memory once the device has come so far."""
    import torch

    if tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _in_precision(model: Any, precision: str) -> Any:
    """The encoder's weights in bfloat16, if so asked; the head stays in float32: its few operations cost
    nothing, and probabilities of 8 bits would tie."""
    import torch

    if precision == "float32":
        return model
    encoder = model.base_model
    encoder.to(torch.bfloat16)
    for part in model.children():
        if part is not encoder:
            part.register_forward_pre_hook(_to_float32)
    return model


def _to_float32(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.float() if a.is_floating_point() else a for a in arguments)


def _plain_mask(is_token: Any) -> Any:
    """(B, L) as tokenizers make it: 1 for a token, 0 for padding."""
    return is_token.long()


def _mask_of(model: Any, device: str) -> Callable[[Any], Any]:
    """How a model is told which ids are tokens: what is added to the scores of attention, if it takes that.

    From a mask of rows a model makes this itself, but once a layer, and on a GPU it first waits for all
    that goes before, to see whether any row is padded.
    """
    import torch

    dtype = next(model.base_model.parameters()).dtype

    def added(is_token: Any) -> Any:
        zeros = torch.zeros((), dtype=dtype, device=device)
        lowest = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=device)
        width = is_token.shape[1]
        return torch.where(is_token[:, None, None, :], zeros, lowest).expand(-1, 1, width, -1)

    ids = torch.tensor(_PROBE_IDS, device=device)
    is_token = torch.tensor([[True] * 4, [True, True, False, False]], device=device)
    with torch.inference_mode():
        plain = model(input_ids=ids, attention_mask=_plain_mask(is_token)).logits
        try:
            other = model(input_ids=ids, attention_mask=added(is_token)).logits
        except (ValueError, RuntimeError, IndexError, TypeError):
            return _plain_mask
    return added if torch.allclose(plain, other, atol=1e-3, rtol=1e-3) else _plain_mask
