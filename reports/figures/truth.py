"""Figures of searches in a known space: regret over epochs and seconds, parent against known."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from nasbench_snas.errors import NasbenchError

from ..tables.selection import Comparable, Run
from ..tables.truth import known_datasets, truth_of
from .search import draw_curves, drawing
from .style import (
    SIZE,
    Drawing,
    few_ticks,
    legend,
    looks,
    panels,
    row_label,
    watermark,
)

_LOG = logging.getLogger("nasbench_snas")

History = Mapping[str, list[dict[str, Any]]]


def regret(group: Comparable, history: History) -> Drawing | None:
    """Return the regret of the most probable architecture over epochs and seconds, or None."""
    names = known_datasets(group)
    if not names:
        return None
    figure, axes = panels(2, height=2.4)
    styles = looks([variant.label for variant in group.variants])
    for axis, (label, key) in zip(axes, (("epoch", "epoch"), ("seconds", "elapsed")), strict=True):
        for variant in group.variants:
            curves = []
            for run in variant.runs:
                events = [e for e in history.get(str(run["run_id"]), []) if e.get("truth")]
                if events:
                    x = np.array([e.get(key, np.nan) for e in events], dtype=np.float64)
                    y = [e["truth"]["regret"][names[0]] for e in events]
                    curves.append((x, np.array(y, dtype=np.float64)))
            draw_curves(axis, curves, [], row_label(variant), styles[variant.label])
        axis.set_xlabel(label)
        few_ticks(axis, whole=label == "epoch")
        axis.set_ylim(0, min(axis.get_ylim()[1], 100))
    axes[0].set_ylabel(f"regret on {names[0]} (points)")
    legend(figure, axes[0])
    watermark(axes, group.provisional)
    caption = (
        "Known accuracy of the best architecture minus that of the most probable one, at the end "
        "of every epoch; the child of best-of-N may be another. Thin: finished seeds; thick: their "
        "median; band: its interval from order statistics, where the seeds give one. Failed runs "
        "are named, and in no line."
    )
    return drawing("regret", "regret", "Regret", caption, figure, group)


def parent_and_known(group: Comparable) -> Drawing | None:
    """Return the parent's accuracy of the sample against the known one, a panel a row, or None.

    The first seed of each row that measured it is shown. Without the plug-in of its space what is
    known is not at hand: the figure is left out, and that is said.
    """
    shown: dict[str, Run] = {}
    for variant in group.variants:
        for run in variant.runs:
            if truth_of(run).get("parent_acc"):
                shown.setdefault(variant.label, run)
    try:
        pairs = {label: _pairs(run) for label, run in shown.items()}
    except NasbenchError as error:
        _LOG.warning("no figure truth of %s: %s", group.subject, error)
        return None
    shown = {label: run for label, run in shown.items() if pairs[label][0]}
    if not shown:
        return None
    styles = looks([variant.label for variant in group.variants])
    figure, axes = panels(len(shown), width=2.6)
    for axis, (label, run) in zip(axes, shown.items(), strict=True):
        known, ours = pairs[label]
        look = styles[label]
        axis.scatter(known, ours, s=7, color=look.colour, alpha=0.6, linewidth=0)
        tau = truth_of(run)["datasets"][known_datasets(group)[0]].get("tau")
        told = "" if tau is None else f", tau {tau:.2f}"
        axis.set_title(f"{label}, seed {run['seed']}{told}", fontsize=SIZE)
        axis.set_xlabel("known accuracy (%)")
        axis.set(xlim=(0, 100), ylim=(0, 100))
    for axis in axes[::3]:
        axis.set_ylabel("parent's weights (%)")
    watermark(axes, group.provisional)
    caption = (
        "A fixed sample of architectures, stratified by known accuracy: accuracy with inherited "
        "weights and running statistics at the end of the search against the known one."
    )
    return drawing("truth", "truth", "Parent against known accuracy", caption, figure, group)


def _pairs(run: Run) -> tuple[list[float], list[float]]:
    """Return known and inherited accuracies of a run's sample."""
    from nasbench_snas.registry import Registry

    family = Registry().space(str(run["space"]))
    known = family(**json.loads(run["space_params"] or "{}")).known()
    if known is None:
        return [], []
    return known.accuracies(known.datasets[0], known.sample()), truth_of(run)["parent_acc"]
