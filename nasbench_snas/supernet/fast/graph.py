"""A search step as one CUDA graph: everything is launched once, then replayed.

The step has to be of fixed shape and must read nothing back: soft weights, all operations, no edge
mask drawn inside. This cannot run without a GPU and has been tried on none: its test is marked
``gpu``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from nasbench_snas.errors import ConfigError

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From images, labels and weights to a scalar loss."""


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


class GraphedStep:
    """Captures ``loss.backward()`` of a step and replays it on new inputs.

    After :meth:`__call__` every ``.grad`` holds the gradient of that call (in the graph's own
    memory, which the next call overwrites), and an optimiser can step. ``buffers`` have the values
    they would have after as many eager steps as there were calls: those before the capture leave
    no trace, and capturing runs nothing.

    Args:
        step: Returns the loss; must call the parent with ``all_operations=True``.
        parameters: The leaves whose gradients are wanted, besides the weights ``z``.
        example: Images, labels and weights of the shapes to capture, on one CUDA device.
        buffers: What a step changes besides: the parent's ``buffers()``.
        warmup: Eager steps before the capture (they fill caches and compile kernels).
    """

    def __init__(
        self,
        step: Step,
        parameters: Sequence[Tensor],
        example: tuple[Tensor, Tensor, Tensor],
        buffers: Sequence[Tensor],
        warmup: int = 3,
    ) -> None:
        device = example[0].device
        if device.type != "cuda":
            raise ConfigError(
                f"a step on {device} cannot be captured: CUDA graphs need a CUDA device."
            )
        images, labels, z = (tensor.detach().clone() for tensor in example)
        self.images, self.labels, self.z = images, labels, z.requires_grad_()
        self.parameters = [*parameters, self.z]
        with torch.cuda.device(device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side), unchanged(buffers):
                for _ in range(warmup):
                    self._run(step)
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.loss, self.gradients = self._run(step)

    def _run(self, step: Step) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        loss = step(self.images, self.labels, self.z)
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        return loss.detach(), gradients

    def __call__(self, images: Tensor, labels: Tensor, z: Tensor) -> Tensor:
        """Return the loss of new inputs; gradients are in ``parameters`` and ``z``."""
        with torch.no_grad():
            self.images.copy_(images)
            self.labels.copy_(labels)
            self.z.copy_(z)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.loss
