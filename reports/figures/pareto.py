"""Pareto fronts over the settings of the resource term, one figure for each family of searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasbench_snas.stats.pareto import pareto_front

from ..tables.pareto import COSTS, families, fronts, reference_point
from ..tables.selection import Comparable
from .style import Drawing, legend, looks, panels, percent_axis, watermark


def pareto_fronts(groups: Sequence[Comparable]) -> list[Drawing]:
    """Return error against cost over the resource term, where searches have several settings."""
    made = (_fronts(members) for members in families(groups))
    return [drawing for drawing in made if drawing is not None]


def _fronts(members: Sequence[Comparable]) -> Drawing | None:
    labels = sorted({variant.label for group in members for variant in group.variants})
    figure, axes = panels(len(COSTS), height=2.5)
    styles, shown, first = looks(labels), False, members[0]
    for axis, (cost, words, unit) in zip(axes, COSTS, strict=True):
        made = fronts(members, cost, unit)
        reference = reference_point(members, made)
        for front in made:
            look, shown = styles[front.label], True
            seeds = [p for own in front.points.values() for p in own.values() if p is not None]
            if seeds:
                x, y = zip(*seeds, strict=True)
                axis.scatter(x, y, s=9, color=look.colour, alpha=0.5)
            centres = list(front.centres.values())
            if centres:
                x, y = zip(*centres, strict=True)
                large: dict[str, Any] = {"s": 42, "color": look.colour, "marker": look.marker}
                axis.scatter(x, y, label=front.label, zorder=4, **large)
                line = [centres[place] for place in pareto_front(centres)]
                x, y = zip(*line, strict=True)
                axis.step(x, y, where="post", color=look.colour, linewidth=1.2)
        if reference is not None:
            axis.axvline(reference[0], color="0.6", linewidth=0.7, linestyle=":")
        axis.set_xlabel(f"child {words}")
        axis.margins(0.08)
        axis.set_xlim(left=max(axis.get_xlim()[0], 0))
        percent_axis(axis)
    if not shown:
        return None
    axes[0].set_ylabel("child error (%), inherited")
    legend(figure, axes[0])
    watermark(axes, first.provisional)
    ids = tuple(sorted({i for g in members for v in g.variants for i in v.ids}))
    caption = (
        "Error of the derived child (no retraining) against its cost, for every setting of the "
        "resource term. Small marks: finished seeds; large: means of a setting; step: means that "
        "no other mean of the estimator dominates; dotted: the cost of the reference point, whose "
        f"error is that of guessing. {first.space} · {first.dataset} · preset {first.preset}."
    )
    name = f"pareto-fronts-{first.preset}-{first.space}-{first.dataset}-{first.unconstrained}"
    return Drawing(name, "pareto", "Pareto fronts", caption, figure, ids, first.provisional)
