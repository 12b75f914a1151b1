"""What the perturbations of SDARTS share: their radius, their start, and the projection."""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import LossStep
from nasbench_snas.errors import ConfigError


def check_radii(name: str, start: float, end: float) -> None:
    """Raise a :class:`ConfigError` unless both radii are in [0, 1]."""
    for which, value in (("start", start), ("end", end)):
        if not 0 <= value <= 1:
            raise ConfigError(
                f"transformer.{name}.{which} is a radius in weights that sum to 1, got {value}.",
                "Expected a number from 0 to 1.",
            )


def radius(start: float, end: float, progress: float) -> float:
    """Return ``epsilon``, moved linearly from ``start`` to ``end`` over the run."""
    return start + (end - start) * progress


def uniform(step: LossStep, size: float) -> Tensor:
    """Return one draw of ``U(-size, size)`` for each edge and operation, shape ``(E, K)``."""
    shape = (step.space.num_edges, step.space.num_operations)
    drawn = torch.rand(shape, generator=step.generator, device=step.generator.device)
    return size * (2 * drawn - 1)


def absent(step: LossStep) -> Tensor | None:
    """Return the mask ``(E, K)`` of operations that their edge does not have; None: none."""
    rows = step.space.absent
    return torch.tensor(rows, device=step.generator.device) if rows else None


def projected(changed: Tensor, like: Tensor, without: Tensor | None = None) -> Tensor:
    """Return ``changed`` clipped to [0, 1], each row scaled to the sum that ``like`` has there.

    On weights that sum to 1 this is the projection of the released code. A row of which nothing is
    left keeps its largest entry alone. A row of zeros (an edge that is dropped) stays so.

    Args:
        changed: Perturbed weights, shape ``(…, E, K)``.
        like: The weights before, of the same shape.
        without: Operations that get no weight, shape ``(E, K)``, or None.
    """
    if without is not None:
        changed = changed.masked_fill(without.to(changed.device), -1.0)
    rows = like.sum(dim=-1, keepdim=True)
    clipped = changed.clamp(0, 1)
    total = clipped.sum(dim=-1, keepdim=True)
    last = torch.nn.functional.one_hot(changed.detach().argmax(dim=-1), changed.shape[-1])
    clipped = torch.where(total > 0, clipped, last.to(clipped))
    return rows * clipped / torch.where(total > 0, total, torch.ones_like(total))
