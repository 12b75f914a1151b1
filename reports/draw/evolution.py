"""The architecture distribution over the epochs: heat maps, and an animation of them.

Input is the array of probabilities that a run keeps, shape ``(epochs, E, K)``. A heat map has one
panel for each operation, one row for each edge and time to the right; the animation shows edges
against operations, one frame for each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nasbench_snas.errors import ConfigError

from .cell import FONT_SIZE, operation_label

Probabilities = NDArray[np.floating[Any]]
_COLOURS = "cividis"
_PRINT_WIDTH = 6.75
"""Inches of text in a two-column paper."""


def check_probabilities(
    probs: Probabilities, edge_names: Sequence[str], operations: Sequence[str]
) -> None:
    """Raise a :class:`ConfigError` unless ``probs`` fits the names."""
    wanted = (len(edge_names), len(operations))
    if probs.ndim != 3 or probs.shape[1:] != wanted or not probs.shape[0]:
        raise ConfigError(
            f"probabilities have shape {tuple(probs.shape)}.",
            f"Expected (epochs, {wanted[0]} edges, {wanted[1]} operations), at least one epoch.",
        )


def by_operation(
    probs: Probabilities, candidates: Sequence[Sequence[str]], operations: Sequence[str]
) -> Probabilities:
    """Return probabilities with one column for each operation, NaN where an edge does not have it.

    Args:
        probs: Shape ``(epochs, E, K)``; column ``k`` of an edge is its own k-th candidate.
        candidates: Names of each edge's candidates.
        operations: Names of all operations.
    """
    if all(tuple(row) == tuple(operations) for row in candidates):
        return probs
    result = np.full((*probs.shape[:2], len(operations)), np.nan)
    for edge, row in enumerate(candidates):
        for column, name in enumerate(row):
            result[:, edge, operations.index(name)] = probs[:, edge, column]
    return result


def draw_evolution(
    probs: Probabilities, edge_names: Sequence[str], operations: Sequence[str]
) -> Figure:
    """Return the heat map of the distribution over the epochs.

    Args:
        probs: Probabilities, shape ``(epochs, E, K)``.
        edge_names: ``E`` names such as ``normal 0->2``; the first word is the cell type.
        operations: ``K`` names.
    """
    check_probabilities(probs, edge_names, operations)
    groups = _groups(edge_names)
    rows = [len(edges) for edges in groups.values()]
    width = min(1.15 * len(operations) + 1.5, _PRINT_WIDTH)
    height = 0.16 * sum(rows) + 0.4 * len(rows) + 0.7
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(
        len(groups), len(operations), squeeze=False, sharex=True, height_ratios=rows
    )
    image: Any = None
    for (name, edges), axes_row in zip(groups.items(), grid, strict=True):
        for k, axes in enumerate(axes_row):
            image = axes.imshow(
                probs[:, edges, k].T,
                aspect="auto",
                interpolation="nearest",
                cmap=_COLOURS,
                vmin=0,
                vmax=1,
                extent=(0.5, len(probs) + 0.5, len(edges) - 0.5, -0.5),
            )
            axes.tick_params(labelsize=FONT_SIZE, length=2)
            axes.xaxis.set_major_locator(MaxNLocator(2, integer=True, min_n_ticks=1))
            labels = [_edge_label(edge_names[e]) for e in edges] if k == 0 else []
            axes.set_yticks(range(len(edges)) if k == 0 else [], labels)
            axes.set_xlim(0.5, len(probs) + 0.5)
        axes_row[0].set_ylabel(f"{name} cell", fontsize=FONT_SIZE)
    for k, operation in enumerate(operations):
        title = operation_label(operation).rsplit(" ", 1)
        grid[0][k].set_title("\n".join(title), fontsize=FONT_SIZE)
    grid[-1][len(operations) // 2].set_xlabel("epoch", fontsize=FONT_SIZE)
    bar = figure.colorbar(image, ax=grid, fraction=0.03, pad=0.01, aspect=40)
    bar.set_label("probability", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE)
    return figure


def animate_evolution(
    probs: Probabilities,
    edge_names: Sequence[str],
    operations: Sequence[str],
    path: Path,
    *,
    frames_per_second: int = 10,
    max_frames: int = 150,
) -> None:
    """Write an animated GIF of the distribution, one frame for each epoch.

    Args:
        probs: Probabilities, shape ``(epochs, E, K)``.
        edge_names: ``E`` names; the first word is the cell type.
        operations: ``K`` names.
        path: File to write, with suffix ``.gif``.
        frames_per_second: Speed.
        max_frames: Longer searches show every n-th epoch, and always the last.
    """
    check_probabilities(probs, edge_names, operations)
    if path.suffix != ".gif":
        raise ConfigError(f"an animation is written as .gif, not as {path.suffix!r}.")
    groups = _groups(edge_names)
    longest = max(len(edges) for edges in groups.values())
    size = (0.34 * len(operations) * len(groups) + 1.9, 0.2 * longest + 1.5)
    figure = Figure(figsize=size, facecolor="white", layout="constrained", dpi=90)
    FigureCanvasAgg(figure)
    axes_row: Any = figure.subplots(1, len(groups), squeeze=False)[0]
    images = []
    for (name, edges), axes in zip(groups.items(), axes_row, strict=True):
        image = axes.imshow(probs[0, edges], aspect="auto", cmap=_COLOURS, vmin=0, vmax=1)
        axes.set_title(f"{name} cell", fontsize=8)
        axes.set_yticks(range(len(edges)), [_edge_label(edge_names[e]) for e in edges])
        names = [operation_label(operation) for operation in operations]
        axes.set_xticks(range(len(operations)), names, rotation=90)
        axes.tick_params(labelsize=6, length=2)
        images.append((image, edges))
    bar = figure.colorbar(images[0][0], ax=axes_row, fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=6)
    title = figure.suptitle("", fontsize=8)
    count = min(max_frames, len(probs))
    epochs = np.unique(np.linspace(0, len(probs) - 1, count).round().astype(int))

    def show(epoch: int) -> list[Any]:
        for image, edges in images:
            image.set_data(probs[epoch, edges])
        title.set_text(f"epoch {epoch + 1} of {len(probs)}")
        return [title]

    show(int(epochs[0]))
    figure.canvas.draw()
    figure.set_layout_engine("none")  # the arrangement of the first frame holds for all
    path.parent.mkdir(parents=True, exist_ok=True)
    animation = FuncAnimation(figure, show, frames=[int(e) for e in epochs], blit=False)
    animation.save(str(path), writer=PillowWriter(fps=frames_per_second))


def _groups(edge_names: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each cell type, by its name."""
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(edge_names):
        groups.setdefault(name.split()[0], []).append(row)
    return groups


def _edge_label(name: str) -> str:
    return name.split()[-1].replace("->", "→")
