"""Losses whose forward and backward pass are replayed: a search step without its launches.

The parent's pass, its loss and all gradients are captured once for each shape of a batch
(:class:`~nasbench_snas.supernet.fast.graph.GraphedStep`). A captured loss is a node of the autograd
graph like any other: estimator, resource term and optimisers around it run as always, and do not
know. Its backward pass hands out the stored gradients, times the gradient of the loss.

Captured is what always launches the same: all operations (weights that are never zero, or whose
gradients are all wanted), or one an edge that is chosen on the device (``Estimator.single_path``);
without path dropout. Everything else runs as it is, and so does what a loss is asked for after its
first value.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nasbench_snas.api import Estimator
from nasbench_snas.search.objective import SupernetLoss, losses_and_errors
from nasbench_snas.supernet.fast.graph import GraphedStep, Recorder, cuda_graphs
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent

logger = logging.getLogger("nasbench_snas")

VARIABLE = "NASBENCH_GRAPHS"
"""Set to 0, nothing is captured."""


def capturable(
    parent: FastParent | ReferenceParent, estimator: Estimator, device: torch.device
) -> bool:
    """Whether the steps of a search on ``device`` are captured."""
    return (
        device.type == "cuda"
        and isinstance(parent, FastParent)
        and parent.kernels.sources is not None
        and not parent.has_own_modules
        and (
            estimator.dense
            or estimator.needs_all_operations
            or (estimator.single_path and parent.chooses)
        )
        and os.environ.get(VARIABLE, "1") != "0"
    )


class Captured:
    """The captured steps of one parent.

    Args:
        parent: The parent.
        record: What records.
    """

    def __init__(
        self, parent: FastParent | ReferenceParent, record: Recorder = cuda_graphs
    ) -> None:
        self.parent, self._record = parent, record
        self._steps: dict[tuple[Any, ...], GraphedStep | None] = {}

    def step(
        self, images: Tensor, labels: Tensor, z: Tensor, theta: bool, single_path: bool = False
    ) -> GraphedStep | None:
        """Return the captured step for inputs of these shapes, or None if it cannot be captured.

        Args:
            images: Normalised images, shape ``(B, C, H, W)``.
            labels: Class indices, shape ``(B,)``.
            z: Weights, shape ``(n, E, K)``.
            theta: Whether gradients of the parent's weights are wanted.
            single_path: Whether there is one operation on an edge; else all of them run.
        """
        key = (images.shape, images.dtype, z.shape, theta, single_path, self.parent.training)
        if key not in self._steps:
            self._steps[key] = self._captured((images, labels, z), theta, single_path)
        return self._steps[key]

    def parameters(self, theta: bool) -> list[Tensor]:
        """Return the weights whose gradients are captured."""
        return [p for p in self.parent.parameters() if p.requires_grad] if theta else []

    def _captured(
        self, example: Sequence[Tensor], theta: bool, single_path: bool
    ) -> GraphedStep | None:
        parent = self.parent
        chosen = {"single_path": True} if single_path else {"all_operations": True}

        def step(images: Tensor, labels: Tensor, z: Tensor) -> tuple[Tensor, ...]:
            return losses_and_errors(parent(images, z, **chosen), labels)

        try:
            return GraphedStep(
                step, self.parameters(theta), example, list(parent.buffers()), record=self._record
            )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            first = (str(error).splitlines() or [""])[0]
            logger.warning("steps run without a CUDA graph, which could not be made: %s", first)
            return None


class CapturedLoss(SupernetLoss):
    """A :class:`SupernetLoss` that replays where it can.

    Args:
        captured: The captured steps.
        images: As in :class:`SupernetLoss`.
        labels: Likewise.
        theta: Whether gradients of the parent's weights will be asked for.
        options: Further arguments of :class:`SupernetLoss`.
    """

    def __init__(
        self, captured: Captured, images: Tensor, labels: Tensor, theta: bool, **options: Any
    ) -> None:
        super().__init__(captured.parent, images, labels, **options)
        self._captured, self._theta, self._replayed = captured, theta, False

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return losses ``(R, n)``; see :class:`SupernetLoss`."""
        home, where = z.device, self.images.device
        fixed = self.all_operations or self.single_path
        one = z.shape[0] == 1 and self.edge_mask is None and (run is None or self.all_operations)
        step = None
        if one and fixed and not self._replayed and torch.is_grad_enabled():
            given = (self.images, self.labels, z.detach()[0].to(where))
            step = self._captured.step(*given, self._theta, self.single_path)
        if step is None:
            return super().__call__(z, run)
        self._replayed = True
        weights = step.parameters[:-1]
        loss, error = _Replay.apply(step, self.images, self.labels, z.to(where), *weights)
        if self.share is not None:
            loss, error = self.share(loss), self.share(error)
        if home != where:
            loss, error = torch.stack([loss, error.to(loss)]).to(home)
        self.evaluations += z.shape[1]
        self._last = (z, error.detach())
        result: Tensor = loss
        return result


class _Replay(torch.autograd.Function):
    """A captured step as a node of the autograd graph."""

    @staticmethod
    def forward(
        ctx: Any, step: GraphedStep, images: Tensor, labels: Tensor, z: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return losses and errors, both of shape ``(1, n)``."""
        losses, errors = step.forward(images, labels, z[0])
        ctx.step, ctx.calls = step, step.calls
        error = errors.clone()[None]
        ctx.mark_non_differentiable(error)
        return losses.clone()[None], error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _: Tensor) -> Any:
        """Return the gradients of the losses' sum, each times its ``g``.

        Those of the weights lie in the graph's memory: what is added to a gradient is read at once.
        """
        step: GraphedStep = ctx.step
        if step.calls != ctx.calls:
            raise RuntimeError(
                "a captured loss was evaluated again before its backward pass: its gradients are "
                f"overwritten. Set {VARIABLE}=0 to run this estimator without captured steps."
            )
        *own, dz = step.backward(g[0])
        return None, None, None, None if dz is None else dz[None].clone(), *own
