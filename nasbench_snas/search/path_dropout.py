"""Path dropout in a search: edges that are dropped for single images, the same on every process."""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.architecture.space import Space
from nasbench_snas.compute.distributed import World


def path_dropout(
    space: Space, drop: float, batch: int, world: World, generator: torch.Generator
) -> Tensor | None:
    """Return factors 0 or 1/keep of each edge and own image, ``(cells, edges, B)``, or None.

    Args:
        space: The space.
        drop: Probability of dropping an edge for an image; 0: None is returned.
        batch: ``B``, images of this process.
        world: The processes; the factors of all of them are drawn, so that they do not depend on
            how many there are.
        generator: Source of the draws, on the device of the factors.
    """
    if drop == 0:
        return None
    cells = sum(layer.kind == "cell" for layer in space.layers)
    edges = max(len(cell.edges) for cell in space.cells)
    whole = batch * world.size
    keep = torch.full((cells, edges, whole), 1 - drop, device=generator.device)
    mask = torch.bernoulli(keep, generator=generator) / (1 - drop)
    return mask[..., world.rows(whole)]
