"""Names of the edges of a gradient study for its figures: ``0→2``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import NasbenchError
from nasbench_snas.registry import Registry


def edge_labels(result: Mapping[str, Any], count: int) -> list[str]:
    """Return a name for each row of alpha, with the cell's where there are several.

    Where the space is not at hand (a plug-in that is not loaded) or another one by now, an edge
    keeps its number.
    """
    settings = dict(result["settings"]["space"])
    name, parameters = settings.pop("name"), settings.pop("params", {}) or {}
    try:
        space: Space = Registry().space(str(name))(**parameters).build(3, 10, 32)
    except (NasbenchError, TypeError, ValueError):
        return [f"edge {i}" for i in range(count)]
    if len(space.edge_names) != count:
        return [f"edge {i}" for i in range(count)]
    several = len(space.cells) > 1
    return [_label(edge, several) for edge in space.edge_names]


def _label(edge: str, several: bool) -> str:
    cell, _, ends = edge.rpartition(" ")
    arrow = ends.replace("->", "→")
    return f"{cell} {arrow}" if several else arrow
