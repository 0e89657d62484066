"""Data parallelism: several workers train one model, each on its rows of every global batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.arrays import Float64Array


@dataclass(frozen=True)
class Workers:
    """Group of workers that train one model, from the view of one worker.

    With more than one worker, the default process group of `torch.distributed` must exist.
    """

    rank: int
    """Rank of this worker, in [0, world)."""
    world: int
    device: torch.device
    """Device of this worker."""

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model on this worker's device, wrapped to average gradients over the workers."""
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
            batch_rows: number of rows in the global batch.
        """
        # DDP averages gradients over workers: times `world` gives the sum; divided by the rows, the mean.
        (loss_sum * (self.world / batch_rows)).backward()  # type: ignore[no-untyped-call]

    def clip_gradients(self, model: torch.nn.Module, max_norm: float) -> None:
        """Scale the gradients of an unwrapped model to a total norm of at most `max_norm`."""
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def full_state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Copies of all weights of an unwrapped model, on the CPU of rank 0; empty on other ranks.

        Must be called on every rank, because sharded weights are gathered from all ranks.
        """
        if self.rank != 0:
            return {}
        return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}

    def sum(self, values: Float64Array) -> Float64Array:
        """Sums of the values over all workers, returned on every worker."""
        if self.world == 1:
            return values
        tensor = torch.as_tensor(values, device=self.device)
        torch.distributed.all_reduce(tensor)
        return tensor.cpu().numpy()
