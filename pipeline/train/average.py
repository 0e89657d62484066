"""Moving average of the weights, which often generalizes better than the last weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class WeightAverage:
    """Exponential moving average of a model's parameters.

    Source: Polyak and Juditsky 1992, doi:10.1137/0330046; warm-up of the decay as in TensorFlow's
    ExponentialMovingAverage.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._parameters = dict(model.named_parameters())
        self._decay = decay
        self.average = {name: p.detach().clone() for name, p in self._parameters.items()}

    def update(self, step: int) -> None:
        """Add the weights after optimizer step `step`, counted from 0, to the average."""
        decay = min(self._decay, (1 + step) / (10 + step))
        now = [p.detach() for p in self._parameters.values()]
        torch._foreach_lerp_(list(self.average.values()), now, 1 - decay)

    def restore(self, average: dict[str, torch.Tensor]) -> None:
        """Restore a saved average."""
        for name, value in average.items():
            self.average[name].copy_(value)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Use the average weights in the model while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self.average[name] = self.average[name], parameter.data
