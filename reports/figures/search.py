"""Figures 3 and 4 of SNAS from runs: search progress, and entropy of the architecture distribution.

Reference: arXiv:1812.09926, section 3.1. Progress is drawn against epochs, seconds and images seen:
epochs alone are unfair between batch sizes (the paper's footnote 1). Thin lines are seeds; a thick
line is their median, the band its interval as in the tables: order statistics, from six seeds on.
A failed run counts with what it recorded and, from its last record on, with guessing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_snas.errors import CheckpointError
from nasbench_snas.runs.events import read_events
from nasbench_snas.stats.median import median_interval

from ..tables.selection import Comparable, Run, Variant
from .style import (
    INK,
    SIZE,
    Drawing,
    Look,
    few_ticks,
    legend,
    looks,
    panels,
    percent_axis,
    row_label,
    watermark,
)

Floats = npt.NDArray[np.float64]
Curve = tuple[Floats, Floats]
_GRID = 200


def epoch_events(run: Run) -> list[dict[str, Any]]:
    """Return the epoch events of a run; none if its log is damaged."""
    try:
        events = list(read_events(Path(str(run["folder"])) / "events.jsonl"))
    except CheckpointError:
        return []
    epochs = [event for event in events if event.get("kind") == "epoch"]
    return epochs if all(_is_whole(event) for event in epochs) else []


def _is_whole(event: Mapping[str, Any]) -> bool:
    """Whether everything of an epoch that a figure may draw is a number."""
    if "epoch" not in event:
        return False
    for key, value in event.items():
        if key.startswith(_DRAWN):
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(v, int | float) and abs(v) < _HUGE for v in values):
                return False
    return True


_DRAWN = ("epoch", "elapsed", "seconds", "images_per_s", "search_acc", "entropy", "max_prob")
_HUGE = 1e300


def search_progress(group: Comparable, history: Mapping[str, list[dict[str, Any]]]) -> Drawing:
    """Return Figure 3: search validation accuracy against epochs, seconds and images.

    Args:
        group: Comparable runs.
        history: Run id to its epoch events.
    """
    axes_of: tuple[tuple[str, Callable[[dict[str, Any], Run], float]], ...] = (
        ("epoch", lambda event, run: event["epoch"]),
        ("seconds", lambda event, run: event.get("elapsed", math.nan)),
        ("images seen (thousand)", _images_seen(history)),
    )
    figure, axes = panels(3, height=2.4)
    styles = looks([variant.label for variant in group.variants])
    for axis, (name, position) in zip(axes, axes_of, strict=True):
        for variant in group.variants:
            curves = _curves(variant.runs, history, position)
            lost = _lost_curves(variant, history, position)
            draw_curves(axis, curves, lost, row_label(variant), styles[variant.label])
        axis.set_xlabel(name)
        few_ticks(axis, whole=name == "epoch")
        percent_axis(axis)
    axes[0].set_ylabel("search validation accuracy (%)")
    legend(figure, axes[0])
    watermark(axes, group.provisional)
    caption = (
        "Search validation accuracy with each estimator's own view of the parent, against epochs, "
        "seconds of wall clock and training images seen. Thin: seeds; thick: median; band: its "
        "pointwise interval from order statistics, at least 95 %, from six seeds on. Failed runs "
        "count with the accuracy of guessing from their last record on. After Figure 3 of the "
        "paper."
    )
    return drawing("3", "search-progress", "Search progress", caption, figure, group)


def _images_seen(
    history: Mapping[str, list[dict[str, Any]]],
) -> Callable[[dict[str, Any], Run], float]:
    """Return thousands of images seen up to an event: rate times seconds, over the epochs."""
    totals: dict[tuple[str, int], float] = {}
    for run_id, events in history.items():
        seen = 0.0
        for event in events:
            seen += event.get("images_per_s", math.nan) * event.get("seconds", math.nan)
            totals[run_id, event["epoch"]] = seen
    return lambda event, run: totals[str(run["run_id"]), event["epoch"]] / 1e3


def _curves(
    runs: Sequence[Run],
    history: Mapping[str, list[dict[str, Any]]],
    position: Callable[[dict[str, Any], Run], float],
) -> list[Curve]:
    """Return the curves of those runs that recorded any accuracy."""
    found = (_curve(history.get(str(run["run_id"]), []), run, position) for run in runs)
    return [curve for curve in found if curve]


def _lost_curves(
    variant: Variant,
    history: Mapping[str, list[dict[str, Any]]],
    position: Callable[[dict[str, Any], Run], float],
) -> list[Curve]:
    """Return the curves of failed runs, each with guessing as its last value; none if unknown."""
    chance = variant.chance
    if chance is None:
        return []
    lost = []
    for run in variant.failed:
        events = history.get(str(run["run_id"]), [])
        x, y = _curve(events, run, position) or (np.array([-math.inf]), np.array([chance]))
        lost.append((x, np.append(y[:-1], chance)))
    return lost


def _curve(
    events: Sequence[dict[str, Any]], run: Run, position: Callable[[dict[str, Any], Run], float]
) -> Curve | None:
    points = [(position(e, run), e["search_acc"]) for e in events if "search_acc" in e]
    points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not points:
        return None
    x, y = np.array(points, dtype=np.float64).T
    return x, y


def draw_curves(
    axis: Any, curves: Sequence[Curve], lost: Sequence[Curve], label: str, look: Look
) -> None:
    """Draw the curves of a row's seeds thin, their median thick, and its interval as a band.

    Args:
        axis: Where.
        curves: Curves of finished runs.
        lost: Curves of failed runs; they count in median and band.
        label: Of the row.
        look: Its colour, line and marker.
    """
    thick = {"color": look.colour, "linestyle": look.line, "linewidth": 1.6, "label": label}
    for x, y in curves:
        few = {"marker": look.marker, "markersize": 3} if len(x) < 2 else {}
        axis.plot(x, y, color=look.colour, linewidth=0.5, alpha=0.45, linestyle=look.line, **few)
    if not curves:
        axis.plot([], [], **thick)
        return
    x, values = _common(curves)
    values = np.vstack([values, *(_until_lost(x, curve) for curve in lost)])
    axis.plot(x, np.median(values, axis=0), **thick)
    bands = [band for column in values.T if (band := median_interval(column))]
    if bands:
        low, high = [b.low for b in bands], [b.high for b in bands]
        axis.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0)


def _common(curves: Sequence[Curve]) -> Curve:
    """Return a grid that all curves cover, and their values on it, shape ``(curves, grid)``."""
    first = curves[0][0]
    if all(len(x) == len(first) and np.array_equal(x, first) for x, _ in curves):
        return first, np.array([y for _, y in curves])
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.linspace(low, max(high, low), _GRID)
    return grid, np.array([np.interp(grid, x, y) for x, y in curves])


def _until_lost(grid: Floats, curve: Curve) -> Floats:
    """Return a failed run's values on a grid; its last value from its last record on."""
    x, y = curve
    return np.where(grid < x[-1], np.interp(grid, x, y), y[-1])


def entropy(group: Comparable, history: Mapping[str, list[dict[str, Any]]]) -> Drawing | None:
    """Return Figure 4: entropy of the distribution, cell type by cell type, with the log K line."""
    kinds = list(
        dict.fromkeys(
            key
            for events in history.values()
            for event in events[-1:]
            for key in event
            if key.startswith("entropy_") and key != "entropy_edges"
        )
    )
    if not kinds:
        return None
    figure, axes = panels(len(kinds), height=2.4)
    styles = looks([variant.label for variant in group.variants])
    choices = [k for run in group.runs if (k := _choices(run)) is not None]
    for axis, kind in zip(axes, kinds, strict=True):
        for variant in group.variants:
            curves: list[Curve] = []
            for run in variant.runs:
                events = [e for e in history.get(str(run["run_id"]), []) if kind in e]
                if events:
                    x = np.array([e["epoch"] for e in events], dtype=np.float64)
                    curves.append((x, np.array([e[kind] for e in events], dtype=np.float64)))
            draw_curves(axis, curves, [], row_label(variant), styles[variant.label])
        for count in sorted(set(choices)):
            axis.axhline(math.log(count), color=INK, linewidth=0.8, linestyle=(0, (5, 3)))
            axis.annotate(
                f"log {count}",
                (1, math.log(count)),
                (0, 2),
                xycoords=axis.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=SIZE,
                color=INK,
            )
        axis.set_ylim(0, max([math.log(k) for k in choices] or [1.0]) * 1.18)
        axis.set_xlabel("epoch")
        few_ticks(axis, whole=True)
        axis.set_title(f"{kind.removeprefix('entropy_')} cell", fontsize=SIZE)
    axes[0].set_ylabel("entropy per edge (nats)")
    legend(figure, axes[0])
    watermark(axes, group.provisional)
    caption = (
        "Entropy of the architecture distribution, averaged over the edges of a cell type. The "
        "broken line is log K, a uniform choice among K operations. Thin: finished seeds; thick: "
        "their median; band: its pointwise interval from order statistics, at least 95 %, from six "
        "seeds on. Failed runs are named, and in no line. After Figure 4 of the paper."
    )
    return drawing("4", "entropy", "Entropy of the architecture", caption, figure, group)


def _choices(run: Run) -> int | None:
    """Return K, from the stored distribution."""
    file = Path(str(run["folder"])) / "alpha.npz"
    try:
        with np.load(file, allow_pickle=False) as stored:
            return int(stored["probs"].shape[-1])
    except (OSError, KeyError, ValueError):
        return None


def drawing(
    kind: str, name: str, title: str, caption: str, figure: Any, group: Comparable
) -> Drawing:
    """Return the drawing of a group with the ids of all its runs, failed ones too."""
    runs = (run for variant in group.variants for run in (*variant.runs, *variant.failed))
    ids = tuple(sorted(str(run["run_id"]) for run in runs))
    number = f"Figure {kind}. " if kind.isdigit() else ""
    return Drawing(
        f"{'figure' + kind + '-' if kind.isdigit() else ''}{name}-{group.slug}",
        kind,
        f"{number}{title}",
        f"{caption} {group.subject}.",
        figure,
        ids,
        group.provisional,
    )
