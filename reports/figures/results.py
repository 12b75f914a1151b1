"""Figures of results: child gap, cost and error, constraint strength, several spaces.

Centres are medians, and their intervals those of the tables: order statistics, from six runs on.
Failed runs count with the accuracy of guessing where there is one, and are named where not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nasbench_snas.stats.median import median_interval
from nasbench_snas.stats.profiles import normalise_scores, performance_profile
from nasbench_snas.stats.unpaired import probability_of_improvement

from ..tables.baselines import is_random_search
from ..tables.cost import LEVELS
from ..tables.measure import ACCURACIES, counted
from ..tables.selection import Comparable, Variant
from .style import (
    GRID,
    INK,
    PRINT_WIDTH,
    SIZE,
    Drawing,
    dress,
    legend,
    looks,
    panels,
    percent_axis,
    row_label,
    watermark,
)


def child_gap(group: Comparable) -> Drawing:
    """Return bars of the gap between search and child accuracy, with every seed as a dot."""
    variants = group.variants
    height = 1.1 + 0.32 * len(variants)
    figure, (axis,) = panels(1, width=5.0, height=height)
    styles = looks([variant.label for variant in variants])
    axis.axvline(0, color=INK, linewidth=0.8)
    for place, variant in enumerate(variants):
        values = _values(variant, "child_gap")
        if not values:
            continue
        look = styles[variant.label]
        median = float(np.median(values))
        axis.barh(place, median, height=0.55, color=look.colour, alpha=0.35, linewidth=0)
        interval = median_interval(values)
        if interval:
            axis.plot([interval.low, interval.high], [place, place], color=INK, linewidth=1.0)
        spread = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else [0.0]
        axis.scatter(values, place + np.array(spread), s=11, color=look.colour, zorder=3)
    axis.set_yticks(range(len(variants)), [row_label(variant) for variant in variants])
    axis.set_ylim(len(variants) - 0.5, -0.5)
    axis.set_xlabel("search minus child accuracy (points, inherited)")
    low, high = axis.get_xlim()
    axis.set_xlim(max(low, -100), min(high, 100))
    watermark([axis], group.provisional)
    caption = (
        "Gap between the accuracy in search and that of the derived child that inherits all "
        "weights. Bar: median of the finished runs; line: its interval from order statistics, at "
        "least 95 %, from six on; dots: seeds. To the right: the child is worse than the search "
        "promised. Failed runs have no gap and are named."
    )
    return _drawing("gap", "child-gap", "Child gap", caption, figure, [group])


def _values(variant: Variant, column: str) -> list[float]:
    """Return a row's values: of accuracies the failed runs', too, else of finished runs only."""
    if column in ACCURACIES:
        return list(counted(variant, column).values())
    return [v for v in variant.by_seed(column).values() if v is not None]


def cost_and_error(group: Comparable) -> Drawing | None:
    """Return error of the child against its cost, with the front that nothing dominates."""
    axes_of = (
        ("params", "child parameters (thousand)", 1e3),
        ("macs", "child multiply-adds (million)", 1e6),
    )
    if not any(run["params"] is not None for run in group.runs):
        return None
    figure, axes = panels(2, height=2.5)
    styles = looks([variant.label for variant in group.variants])
    for axis, (column, name, unit) in zip(axes, axes_of, strict=True):
        centres = []
        for variant in group.variants:
            look = styles[variant.label]
            large: dict[str, Any] = {
                "s": 42,
                "color": look.colour,
                "marker": look.marker,
                "zorder": 4,
            }
            runs = [run for run in variant.runs if run[column] is not None]
            if not runs:
                axis.scatter([], [], label=row_label(variant), **large)
                continue
            x = np.array([run[column] / unit for run in runs])
            y = np.array([100.0 - run["child_valid_acc"] for run in runs])
            axis.scatter(x, y, s=9, color=look.colour, alpha=0.5, marker=look.marker, linewidth=0)
            counted_errors = 100.0 - np.array(_values(variant, "child_valid_acc"))
            centre = _cross(axis, x, counted_errors, look.colour)
            axis.scatter(*centre, label=row_label(variant), **large)
            centres.append(centre)
        front = _front(centres)
        axis.step(*zip(*front, strict=True), where="post", color=INK, linewidth=0.8, alpha=0.7)
        axis.set_xlabel(name)
        axis.margins(0.08)
        axis.set_xlim(left=max(axis.get_xlim()[0], 0))
        percent_axis(axis)
    axes[0].set_ylabel("child error (%), inherited")
    legend(figure, axes[0])
    watermark(axes, group.provisional)
    caption = (
        "Error of the derived child (no retraining) against its size in the search network. Small "
        "marks: finished seeds; large: medians, failed runs counted with the error of guessing (a "
        "size they do not have), with marginal intervals from order statistics, at least 95 %, "
        "from six runs on; step: medians that no other median beats in both."
    )
    return _drawing("pareto", "cost-error", "Cost and error", caption, figure, [group])


def _cross(axis: Any, x: Any, y: Any, colour: str) -> tuple[float, float]:
    """Draw the intervals of both medians where they exist, and return the medians."""
    centre = (float(np.median(x)), float(np.median(y)))
    a, b = median_interval(x), median_interval(y)
    if a:
        axis.plot([a.low, a.high], [centre[1]] * 2, color=colour, linewidth=1.0)
    if b:
        axis.plot([centre[0]] * 2, [b.low, b.high], color=colour, linewidth=1.0)
    return centre


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both coordinates, by the first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def constraint_strength(groups: Sequence[Comparable]) -> list[Drawing]:
    """Return cost and accuracy against the level of constraint, one figure for each family."""
    families: dict[tuple[str, ...], list[Comparable]] = {}
    for group in groups:
        key = (group.preset, group.space, group.dataset, group.unconstrained, str(group.truncated))
        families.setdefault(key, []).append(group)
    return [_strength(f) for f in families.values() if len({g.constraint for g in f}) > 1]


def _strength(groups: Sequence[Comparable]) -> Drawing:
    ordered = sorted(groups, key=lambda g: LEVELS.index(g.constraint))
    labels = list(dict.fromkeys(v.label for g in ordered for v in g.variants))
    figure, axes = panels(2, height=2.5)
    styles = looks(labels)
    columns = (("child_cost", "child cost"), ("child_valid_acc", "child accuracy (%)"))
    for axis, (column, name) in zip(axes, columns, strict=True):
        for label in labels:
            look, line = styles[label], []
            for group in ordered:
                place = LEVELS.index(group.constraint)
                for variant in group.variants:
                    values = _values(variant, column)
                    if variant.label == label and values:
                        axis.scatter([place] * len(values), values, s=9, color=look.colour)
                        line.append((place, float(np.median(values))))
            if line:
                style = {"color": look.colour, "linestyle": look.line, "marker": look.marker}
                axis.plot(*zip(*line, strict=True), label=label, linewidth=1.4, **style)
        axis.set_xticks(range(len(LEVELS)), LEVELS)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=max(axis.get_ylim()[0], 0))
        if column in ACCURACIES:
            percent_axis(axis)
    legend(figure, axes[0])
    watermark(axes, ordered[0].provisional)
    lost = sum(len(variant.failed) for group in ordered for variant in group.variants)
    caption = (
        "Cost and accuracy of the derived child by level of constraint. Dots: seeds; lines: "
        f"medians. Failed runs ({lost}) have the accuracy of guessing and no cost."
    )
    return _drawing("constraints", "constraints", "Constraint strength", caption, figure, ordered)


def several_spaces(groups: Sequence[Comparable]) -> list[Drawing]:
    """Return performance profile and probability of improvement over several spaces.

    Only for one preset at a time, and only where every space has a random search that the best row
    exceeds; other spaces are left out.
    """
    drawings = []
    for preset in dict.fromkeys(group.preset for group in groups):
        usable: dict[str, Comparable] = {}
        for group in groups:
            plain = group.preset == preset and group.constraint == "none" and not group.truncated
            if plain and _scale(group) is not None:
                usable.setdefault(f"{group.space} {group.dataset}", group)
        if len(usable) > 1:
            chosen = list(usable.values())
            scores = _scores(chosen)
            if len(scores) > 1:
                drawings += [_profile(chosen, scores), _improvement(chosen, scores)]
    return drawings


def _scale(group: Comparable) -> tuple[float, float] | None:
    """Return median accuracies of random search and of the best row, or None."""
    medians = {
        variant.label: float(np.median(values))
        for variant in group.variants
        if len(values := _values(variant, "child_valid_acc")) > 1
    }
    searches = (v.label for v in group.variants if is_random_search(v) and v.label in medians)
    random = medians.get(next(searches, ""))
    if random is None or max(medians.values()) <= random:
        return None
    return random, max(medians.values())


def _scores(groups: Sequence[Comparable]) -> dict[str, list[Any]]:
    """Return estimator to one vector of normalised scores a space, where it ran in all of them."""
    scores: dict[str, list[Any]] = {}
    for group in groups:
        random, best = _scale(group) or (0.0, 1.0)
        for variant in group.variants:
            values = _values(variant, "child_valid_acc")
            if len(values) > 1:
                scores.setdefault(variant.label, []).append(normalise_scores(values, random, best))
    return {label: vectors for label, vectors in scores.items() if len(vectors) == len(groups)}


def _profile(groups: Sequence[Comparable], scores: dict[str, list[Any]]) -> Drawing:
    figure, (axis,) = panels(1, width=4.6, height=2.9)
    styles = looks(list(scores))
    everything = np.concatenate([vector for vectors in scores.values() for vector in vectors])
    grid = np.linspace(float(everything.min()) - 0.05, float(everything.max()) + 0.05, 401)
    for label, vectors in scores.items():
        profile, look = performance_profile(vectors, grid), styles[label]
        axis.plot(grid, profile.share, color=look.colour, linestyle=look.line, label=label)
        axis.fill_between(grid, profile.low, profile.high, color=look.colour, alpha=0.15)
    axis.set_xlabel("normalised score (0: random search, 1: best median)")
    axis.set_ylabel("share of runs above")
    axis.set_ylim(0, 1)
    legend(figure, axis)
    watermark([axis], groups[0].provisional)
    caption = (
        "Share of runs with a score above each threshold, averaged over spaces, failed runs "
        "counted with the accuracy of guessing; band: pointwise, at least 95 % by Hoeffding's "
        "inequality, the ends of the scale taken as known. Random search is with parameter sharing."
    )
    return _drawing("profile", "profile", "Performance profile", caption, figure, groups)


def _improvement(groups: Sequence[Comparable], scores: dict[str, list[Any]]) -> Drawing:
    labels = list(scores)
    size = min(1.6 + 0.5 * len(labels), PRINT_WIDTH - 0.8)
    figure, (axis,) = panels(1, width=size + 0.8, height=size)
    values = np.full((len(labels), len(labels)), np.nan)
    for i, row in enumerate(labels):
        for j, other in enumerate(labels):
            if i != j:
                values[i, j] = probability_of_improvement(scores[row], scores[other])
                dark = abs(values[i, j] - 0.5) > 0.3  # at the ends of the scale
                axis.text(
                    j,
                    i,
                    f"{values[i, j]:.2f}",
                    ha="center",
                    va="center",
                    fontsize=SIZE,
                    color="white" if dark else "#111111",
                )
    image = axis.imshow(values, vmin=0, vmax=1, cmap="PuOr")
    bar = figure.colorbar(image, ax=axis, shrink=0.8)
    dress(bar.ax)
    axis.grid(False)
    axis.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylabel("row beats column", fontsize=SIZE)
    watermark([axis], groups[0].provisional)
    caption = (
        "Probability that a run of the row beats a run of the column, averaged over spaces: "
        "estimates, failed runs counted with the accuracy of guessing."
    )
    return _drawing(
        "improvement", "improvement", "Probability of improvement", caption, figure, groups
    )


def _drawing(
    kind: str, name: str, title: str, caption: str, figure: Any, groups: Sequence[Comparable]
) -> Drawing:
    rows = [variant for group in groups for variant in group.variants]
    ids = tuple(sorted({run for variant in rows for run in variant.ids}))
    subject = "; ".join(dict.fromkeys(group.subject for group in groups))
    return Drawing(
        f"{name}-{groups[0].slug}",
        kind,
        title,
        f"{caption} {subject}.",
        figure,
        ids,
        groups[0].provisional,
    )


__all__ = [
    "GRID",
    "child_gap",
    "constraint_strength",
    "cost_and_error",
    "several_spaces",
]
