"""A step as two CUDA graphs, forwards and backwards: everything is launched once, then replayed.

The step has to be of fixed shape and must read nothing back: all operations, or one an edge that is
chosen on the device; no edge mask drawn inside. This cannot run without a GPU and has been tried on
none: its test is marked ``gpu``. What records and replays is an argument (:data:`Recorder`), so
that all the rest is tested on a CPU, where recording means to keep the function and replaying to
call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from nasbench_snas.errors import ConfigError

Step = Callable[..., tuple[Tensor, ...]]
"""From the inputs, weights last, to tensors; gradients are those of the first one."""

Work = Callable[[], tuple[Tensor | None, ...]]
"""What is recorded; its tensors are written again at every replay."""

Recorded = tuple[tuple[Tensor | None, ...], Callable[[], None]]
"""The tensors of work, and what replays it."""

Recorder = Callable[[Sequence[Work], torch.device], list[Recorded]]
"""Records works on a device, which are always replayed in the order in which they are recorded."""


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


def cuda_graphs(works: Sequence[Work], device: torch.device) -> list[Recorded]:
    """Record works as CUDA graphs; recording runs nothing.

    Each has memory of its own: what the forward pass leaves is still there when a backward pass
    has been replayed, and replayed again.

    Raises:
        ConfigError: The device is no CUDA device.
    """
    if device.type != "cuda":
        raise ConfigError(f"a step on {device} cannot be captured: CUDA graphs need a CUDA device.")
    found: list[Recorded] = []
    with torch.cuda.device(device):
        for work in works:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs = work()
            found.append((outputs, graph.replay))
    return found


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

    After :meth:`forward`, ``outputs`` hold the values of that call, after :meth:`backward`
    ``gradients``, in the graphs' own memory, which the next call overwrites. ``buffers`` have the
    values they would have after as many eager steps as there were calls: those before the capture
    leave no trace, and capturing runs nothing.

    Args:
        step: The step; must launch the same whatever its inputs are.
        parameters: The leaves whose gradients are wanted, besides the weights ``z``.
        example: Inputs of the shapes to capture, weights last, on one device.
        buffers: What a step changes besides: the parent's ``buffers()``.
        warmup: Eager steps before the capture (they fill caches and compile kernels).
        record: What records.

    Attributes:
        calls: Number of replays.
        gradients: Of ``parameters``, then of ``z``; None where there is none.
        factors: Gradient of the step's first tensor.
    """

    def __init__(
        self,
        step: Step,
        parameters: Sequence[Tensor],
        example: Sequence[Tensor],
        buffers: Sequence[Tensor],
        warmup: int = 3,
        record: Recorder = cuda_graphs,
    ) -> None:
        device = example[0].device
        if record is cuda_graphs and device.type != "cuda":
            record((), device)  # says why it cannot be
        *inputs, z = (tensor.detach().clone() for tensor in example)
        self.inputs, self.z = inputs, z.requires_grad_()
        self.parameters, self.calls, self._step = [*parameters, self.z], 0, step
        self._first: Tensor | None = None
        self.factors = torch.ones(())
        with _beside(device), unchanged(buffers):
            for _ in range(warmup):
                (losses, *_) = self._forward()
                if self.factors.shape != losses.shape or self.factors.device != device:
                    self.factors = torch.ones_like(losses)
                self._backward()
        with unchanged(buffers if record is not cuda_graphs else ()):
            (outputs, self._replay), (self.gradients, self._replay_backward) = record(
                [self._forward, self._backward], device
            )
        self._first = None
        self.outputs: tuple[Tensor, ...] = tuple(t for t in outputs if t is not None)

    def _forward(self) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            first, *rest = self._step(*self.inputs, self.z)
        self._first = first
        return (first.detach(), *(output.detach() for output in rest))

    def _backward(self) -> tuple[Tensor | None, ...]:
        if self._first is None:
            raise RuntimeError("a step has no gradient before it has run")
        return torch.autograd.grad(
            self._first, self.parameters, self.factors, allow_unused=True, retain_graph=True
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for new inputs, weights last."""
        with torch.no_grad():
            for own, given in zip((*self.inputs, self.z), inputs, strict=True):
                own.copy_(given, non_blocking=True)
        self._replay()
        self.calls += 1
        return self.outputs

    def backward(self, factors: Tensor | None = None) -> tuple[Tensor | None, ...]:
        """Return the gradients of the last call's first tensor, times ``factors`` (None: one)."""
        with torch.no_grad():
            if factors is None:
                self.factors.fill_(1.0)
            else:
                self.factors.copy_(factors, non_blocking=True)
        self._replay_backward()
        return self.gradients

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for new inputs, and set ``gradients`` to those of their first."""
        outputs = self.forward(*inputs)
        self.backward()
        return outputs
