"""Data parallelism: one model trained by several workers, each on its rows of every global batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.arrays import Float64Array


@dataclass(frozen=True)
class Workers:
    """The workers that train one model together, as one of them sees them.

    With more than one, the default process group of `torch.distributed` must exist.
    """

    rank: int
    """Of this worker, in [0, world)."""
    world: int
    device: torch.device
    """Of this worker."""

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model on this worker's device, its gradients averaged over the workers."""
        is_gpu = self.device.type == "cuda"
        if is_gpu:
            torch.cuda.set_device(self.device)
        model = model.to(self.device)
        if self.world == 1:
            return model
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=[self.device] if is_gpu else None)

    def backward(self, loss_sum: torch.Tensor, batch_rows: int) -> None:
        """Compute the gradients of the mean loss of a global batch.

        Args:
            loss_sum: scalar; sum of the losses of this worker's rows.
            batch_rows: rows of the global batch.
        """
        # DDP averages gradients over workers; times `world` gives the sum, divided by the rows the mean.
        (loss_sum * (self.world / batch_rows)).backward()  # type: ignore[no-untyped-call]

    def clip_gradients(self, model: torch.nn.Module, max_norm: float) -> None:
        """Scale the gradients of an unwrapped model down to a total norm of at most `max_norm`."""
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def full_state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Copies of all weights of an unwrapped model, on the CPU of rank 0; empty on other ranks.

        Call it on every rank: sharded weights are gathered from all of them.
        """
        if self.rank != 0:
            return {}
        return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}

    def sum(self, values: Float64Array) -> Float64Array:
        """The sum of each number over all workers; every worker gets it."""
        if self.world == 1:
            return values
        tensor = torch.as_tensor(values, device=self.device)
        torch.distributed.all_reduce(tensor)
        return tensor.cpu().numpy()
