"""The moving average of the weights, compared with a plain loop."""

from __future__ import annotations

import pytest
import torch

from pipeline.train.average import WeightAverage


def make_model() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 2))


def move(model: torch.nn.Module, step: int) -> None:
    """Change the weights as an optimizer step does: in place."""
    torch.manual_seed(100 + step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def copies(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.998])
def test_average_equals_that_of_a_plain_loop(decay: float) -> None:
    model = make_model()
    average = WeightAverage(model, decay)
    expected = {name: p.double() for name, p in copies(model).items()}
    for step in range(40):
        move(model, step)
        average.update(step)
        # The decay starts low, because the first weights are the worst.
        kept = min(decay, (1 + step) / (10 + step))
        for name, value in copies(model).items():
            expected[name] = kept * expected[name] + (1 - kept) * value.double()
    for name, value in average.average.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_average_starts_as_the_initial_weights() -> None:
    model = make_model()
    assert all(torch.equal(v, copies(model)[n]) for n, v in WeightAverage(model, 0.9).average.items())


def test_average_is_in_the_model_only_within_the_block() -> None:
    model = make_model()
    average = WeightAverage(model, 0.9)
    move(model, 0)
    average.update(0)
    weights, averaged = copies(model), {name: v.clone() for name, v in average.average.items()}
    with average.swapped_in():
        assert all(torch.equal(v, averaged[name]) for name, v in copies(model).items())
    with pytest.raises(KeyError), average.swapped_in():
        raise KeyError
    assert all(torch.equal(v, weights[name]) for name, v in copies(model).items())
    # Training and averaging continue on the same tensors.
    move(model, 1)
    average.update(1)
    for name, value in average.average.items():
        expected = 2 / 11 * averaged[name] + 9 / 11 * copies(model)[name]
        torch.testing.assert_close(value, expected)


def test_restored_average_continues_identically() -> None:
    model = make_model()
    average = WeightAverage(model, 0.9)
    move(model, 0)
    average.update(0)
    restored = WeightAverage(model, 0.9)
    restored.restore({name: v.clone() for name, v in average.average.items()})
    move(model, 1)
    for each in (average, restored):
        each.update(1)
    assert all(torch.equal(v, restored.average[name]) for name, v in average.average.items())
