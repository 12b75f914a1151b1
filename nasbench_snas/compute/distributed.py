"""Several processes that train one network: shares of a batch, averages, agreement.

Started by ``torchrun --nproc-per-node N -m nasbench_snas …``, every process ("rank") draws the
same noise and the same global batch, and computes with its own share of the images. With the mean
over ranks

    mean_r x_r = (1/N) sum_r x_r,   whose backward pass is the mean of the incoming gradients,

applied to losses, every rank holds the same loss values, so that whatever an estimator does with
them (baselines, advantages, unrolled weights) is the same everywhere; the mean of the ranks'
gradients is then the gradient of the mean loss. A run of N processes equals a run of one process
with the same global batch, except that batch norms see ``B/N`` images unless they are synchronised
(:class:`SynchronisedBatchNorm2d`).

gloo connects CPUs, nccl connects GPUs; decisions about stopping always go through gloo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nasbench_snas.compute.launched import launched
from nasbench_snas.errors import ConfigError, NasbenchError


class ProcessLostError(NasbenchError):
    """Another process of the job is gone, so that this one cannot continue."""


@dataclass(frozen=True)
class World:
    """The processes of one job, seen from one of them.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        control: Group for decisions, always gloo; None in a single process.
    """

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """Return this rank's rows of a global batch.

        Raises:
            ConfigError: The batch cannot be shared equally.
        """
        if batch % self.size:
            raise ConfigError(
                f"a batch of {batch} images cannot be shared by {self.size} processes.",
                "Every process needs the same number of images.",
                "Choose a batch size that is a multiple of --nproc-per-node.",
            )
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over ranks, of any shape, differentiably (any number of times)."""
        if self.size == 1:
            return value
        result: Tensor = _Mean.apply(value, self)
        return result

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over ranks, without gradient."""
        if self.size == 1:
            return value
        result = value.detach().clone(memory_format=torch.contiguous_format)
        _call(lambda: dist.all_reduce(result))
        return result

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradient of each parameter by its mean over ranks, in one message a type.

        A parameter without gradient must be without one on every rank.
        """
        if self.size > 1:
            self._average([p.grad for p in parameters if p.grad is not None])

    def average_statistics(self, network: nn.Module) -> None:
        """Replace running statistics of batch norms by their means over ranks."""
        if self.size > 1:
            names = ("mean", "var")
            self._average([b for n, b in network.named_buffers() if n.endswith(names)])

    def _average(self, tensors: list[Tensor]) -> None:
        groups: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            groups.setdefault(tensor.dtype, []).append(tensor)
        for group in groups.values():
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in group])
            flat = self.total(flat).div_(self.size)
            parts = torch.split(flat, [tensor.numel() for tensor in group])
            with torch.no_grad():
                for tensor, part in zip(group, parts, strict=True):
                    tensor.copy_(part.view(tensor.shape))

    def highest(self, value: int) -> int:
        """Return the highest value of any rank, so that all decide alike."""
        if self.size == 1:
            return value
        flag = torch.tensor([value])
        _call(lambda: dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.control))
        return int(flag)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.highest(0)


class _Mean(torch.autograd.Function):
    """Mean over ranks; linear and its own adjoint."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, world: World) -> Tensor:
        ctx.world = world
        return world.total(value).div_(world.size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.world.mean(gradient), None


def _call(collective: Callable[[], object]) -> None:
    try:
        collective()
    except RuntimeError as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProcessLostError(
            f"a process of the job is gone: {first[:160]}",
            "The last checkpoint is whole.",
            "Give the same command again to continue; fewer processes will do, too.",
        ) from error


@contextmanager
def joined(device: torch.device | str) -> Iterator[World]:
    """Connect the processes of a job, as long as the outermost block lasts.

    Args:
        device: Where this process computes; decides between gloo and nccl.
    """
    if not launched():
        yield World()
        return
    inside = dist.is_initialized()
    if not inside:
        device = torch.device(device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        _call(lambda: dist.init_process_group("nccl" if device.type == "cuda" else "gloo"))
    try:
        control = None
        if dist.get_backend() != "gloo":
            control = dist.new_group(backend="gloo")
        yield World(dist.get_rank(), dist.get_world_size(), control)
    finally:
        if not inside:
            dist.destroy_process_group()


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm in training mode with the statistics of the global batch; any device, any order
    of gradients.

    Parameters, buffers and evaluation are those of ``nn.BatchNorm2d``. Two messages a pass: the
    mean, then the mean square of what is centred (as exact as the single-process variance), both in
    at least float32, as under autocast in a single process.
    """

    world = World()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``, shape ``(B, C, H, W)``, B this rank's images."""
        if not self.training:
            return super().forward(x)
        kind, over = x.dtype, (0, 2, 3)
        if kind in (torch.float16, torch.bfloat16):
            x = x.float()
        mean = self.world.mean(x.mean(over))
        centred = x - mean.view(1, -1, 1, 1)
        variance = self.world.mean((centred * centred).mean(over))
        self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1] * self.world.size)
        result = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        if self.affine:
            result = result * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return result.to(kind)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), momentum)


def synchronise_batch_norms(network: nn.Module, world: World) -> None:
    """Let every batch norm of ``network`` use the statistics of all ranks, in place."""
    if world.size == 1:
        return
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                child.__class__ = SynchronisedBatchNorm2d
                child.world = world  # type: ignore[assignment]
            elif isinstance(child, nn.BatchNorm2d) and not isinstance(
                child, SynchronisedBatchNorm2d
            ):
                raise ConfigError(f"batch norm {name!r} ({type(child)}) cannot be synchronised.")


def resumed_note(before: int, now: int, synchronised: bool) -> str:
    """Return what changes when a run continues with another number of processes; "" if none."""
    if before == now:
        return ""
    change = "sums over processes are rounded in another order"
    if not synchronised:
        change += " and batch norms see another share of each batch"
    return (
        f"continued with {now} processes instead of {before}: the global batches are the same, but "
        f"{change}, so the result is not bit-equal to a run that never changed"
    )
