"""Which input edges of each node a child keeps, by what operations are ranked with."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError


def input_edges(space: Space) -> Iterator[list[int]]:
    """Yield the rows of alpha of the edges into each intermediate node, cell type by cell type."""
    for cell in space.cells:
        first = space.rows[cell.name].start
        for node in range(cell.num_inputs, cell.num_inputs + cell.num_nodes):
            yield [first + e for e, (_, target) in enumerate(cell.edges) if target == node]


def choosable(space: Space, *, none: bool) -> Tensor:
    """Return which operations a rule may choose, bool, shape ``(E, K)``.

    Args:
        space: The space. What an edge does not have cannot be chosen.
        none: Whether ``none`` may be; without, only on edges that have nothing else.
    """
    columns = range(space.num_operations)
    allowed = torch.tensor([[k < len(row) for k in columns] for row in space.candidates])
    if not none:
        for edge, column in space.places("none"):
            allowed[edge, column] = len(space.candidates[edge]) == 1
    return allowed


def strongest(space: Space, strengths: Tensor, edges_per_node: int = 2) -> Tensor:
    """Return one-hot rows on the kept edges, zero rows elsewhere (DARTS' derivation).

    Args:
        space: The space.
        strengths: What edges and operations are ranked by, such as probabilities, ``(E, K)``.
        edges_per_node: Incoming edges that each node keeps, ranked by their best operation other
            than ``none``; an edge that has nothing else is dropped. 0: all edges are kept, with
            their best operation, ``none`` included.

    Returns:
        Weights, shape ``(E, K)``.
    """
    allowed = choosable(space, none=not edges_per_node).to(strengths.device)
    strength, choice = strengths.masked_fill(~allowed, -math.inf).max(dim=-1)
    weights = torch.zeros_like(strengths)
    idle = {row for row, own in enumerate(space.candidates) if edges_per_node and own == ("none",)}
    for rows in input_edges(space):
        ranked = sorted(set(rows) - idle, key=lambda row: (-float(strength[row]), row))
        for row in ranked[: edges_per_node or None]:
            weights[row, choice[row]] = 1.0
    return weights


def check_count(name: str, value: int, least: int, about: str) -> int:
    """Return a setting of a derive rule that is a number of something.

    Raises:
        ConfigError: It is below ``least``.
    """
    if value < least:
        raise ConfigError(
            f"child.parameters.{name} = {value}: at least {least} is needed.",
            about,
            f"Set it with --set child.parameters.{name}=N.",
        )
    return value
