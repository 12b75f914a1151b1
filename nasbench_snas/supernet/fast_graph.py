"""A search step as one CUDA graph: everything is launched once, then replayed.

The step has to be of fixed shape and must read nothing back: soft weights, all operations, no edge
    mask drawn inside.
This cannot run without a GPU and has been tried on none: its test is marked ``gpu``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nasbench_snas.errors import ConfigError

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From images, labels and weights to a scalar loss."""


class GraphedStep:
    """Captures ``loss.backward()`` of a step and replays it on new inputs.

    Gradients are accumulated into the same tensors at every replay: they are zeroed inside the
    graph, so that after :meth:`__call__` every ``.grad`` holds the gradient of that call, and an
    optimiser can step.

    Args:
        step: Returns the loss; must call the parent with ``all_operations=True``.
        parameters: The leaves whose gradients are wanted, besides the weights ``z``.
        example: Images, labels and weights of the shapes to capture, on one CUDA device.
        warmup: Eager steps before the capture (they fill caches and compile kernels).
    """

    def __init__(
        self,
        step: Step,
        parameters: list[Tensor],
        example: tuple[Tensor, Tensor, Tensor],
        warmup: int = 3,
    ) -> None:
        if example[0].device.type != "cuda":
            raise ConfigError(
                f"a step on {example[0].device} cannot be captured: CUDA graphs need a CUDA device."
            )
        images, labels, z = (tensor.detach().clone() for tensor in example)
        self.images, self.labels, self.z = images, labels, z.requires_grad_()
        self.parameters = [*parameters, self.z]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warmup):
                self._run(step)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self._run(step)

    def _run(self, step: Step) -> Tensor:
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            else:
                parameter.grad.zero_()
        loss = step(self.images, self.labels, self.z)
        torch.autograd.backward(loss)
        return loss.detach()

    def __call__(self, images: Tensor, labels: Tensor, z: Tensor) -> Tensor:
        """Return the loss of new inputs; gradients are in ``parameters`` and ``z``."""
        with torch.no_grad():
            self.images.copy_(images)
            self.labels.copy_(labels)
            self.z.copy_(z)
        self.graph.replay()
        return self.loss
