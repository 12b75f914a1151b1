"""A step as one CUDA graph: everything is launched once, then replayed.

The step has to be of fixed shape and must read nothing back: soft weights, all operations, no edge
mask drawn inside. This cannot run without a GPU and has been tried on none: its test is marked
``gpu``. What records and replays is an argument (:data:`Recorder`), so that all the rest is tested
on a CPU, where recording means to keep the function and replaying to call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from nasbench_snas.errors import ConfigError

Step = Callable[..., tuple[Tensor, ...]]
"""From the inputs, weights last, to tensors; the gradient is that of the sum of the first."""

Work = Callable[[], tuple[Tensor | None, ...]]
"""What is recorded; its tensors are written again at every replay."""

Recorder = Callable[[Work, torch.device], tuple[tuple[Tensor | None, ...], Callable[[], None]]]
"""Records work on a device; returns its tensors and what replays it."""


@contextmanager
def unchanged(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Give ``tensors`` the values back, in place, that they had before the block."""
    with torch.no_grad():
        before = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)


def cuda_graph(
    work: Work, device: torch.device
) -> tuple[tuple[Tensor | None, ...], Callable[[], None]]:
    """Record ``work`` as a CUDA graph; recording runs nothing.

    Raises:
        ConfigError: The device is no CUDA device.
    """
    if device.type != "cuda":
        raise ConfigError(f"a step on {device} cannot be captured: CUDA graphs need a CUDA device.")
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = work()
    return outputs, graph.replay


@contextmanager
def _beside(device: torch.device) -> Iterator[None]:
    """Run the block on a stream of its own, as work has to before it is captured."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            yield
        torch.cuda.current_stream().wait_stream(side)


class GraphedStep:
    """Records a step and its gradients and replays them on new inputs.

    After :meth:`__call__`, ``outputs`` and ``gradients`` hold the values of that call, in the
    graph's own memory, which the next call overwrites. ``buffers`` have the values they would have
    after as many eager steps as there were calls: those before the capture leave no trace, and
    capturing runs nothing.

    Args:
        step: The step; must call the parent with ``all_operations=True``.
        parameters: The leaves whose gradients are wanted, besides the weights ``z``.
        example: Inputs of the shapes to capture, weights last, on one device.
        buffers: What a step changes besides: the parent's ``buffers()``.
        warmup: Eager steps before the capture (they fill caches and compile kernels).
        record: What records.

    Attributes:
        calls: Number of replays.
        gradients: Of ``parameters``, then of ``z``; None where there is none.
    """

    def __init__(
        self,
        step: Step,
        parameters: Sequence[Tensor],
        example: Sequence[Tensor],
        buffers: Sequence[Tensor],
        warmup: int = 3,
        record: Recorder = cuda_graph,
    ) -> None:
        device = example[0].device
        if record is cuda_graph and device.type != "cuda":
            record(lambda: (), device)  # says why it cannot be
        *inputs, z = (tensor.detach().clone() for tensor in example)
        self.inputs, self.z = inputs, z.requires_grad_()
        self.parameters, self.calls = [*parameters, self.z], 0
        with _beside(device), unchanged(buffers):
            for _ in range(warmup):
                self._run(step)
        with unchanged(buffers if record is not cuda_graph else ()):
            tensors, self._replay = record(lambda: self._run(step), device)
        number = len(tensors) - len(self.parameters)
        self.outputs: tuple[Tensor, ...] = tuple(t for t in tensors[:number] if t is not None)
        self.gradients = tensors[number:]

    def _run(self, step: Step) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            first, *rest = step(*self.inputs, self.z)
            gradients = torch.autograd.grad(first.sum(), self.parameters, allow_unused=True)
        return (first.detach(), *(output.detach() for output in rest), *gradients)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for new inputs, weights last."""
        with torch.no_grad():
            for own, given in zip((*self.inputs, self.z), inputs, strict=True):
                own.copy_(given, non_blocking=True)
        self._replay()
        self.calls += 1
        return self.outputs
