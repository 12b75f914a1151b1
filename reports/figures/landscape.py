"""The figure of a landscape comparison: regret against queries, with bands, by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..tables.landscape import label
from .style import INK, SIZE, looks, panels

_PANELS = ("Score functions", "Summing, evolution, random", "Relaxed *")
_EXACT = "exact"


def draw(result: Mapping[str, Any]) -> Figure:
    """Return the figure: mean regret of the architecture named, bands: quartiles over seeds.

    The exact gradient stands in every panel.
    """
    figure, axes = panels(len(_PANELS), height=3.6)
    exact = [m for m in result["methods"] if m["estimator"] == _EXACT]
    rest = [m for m in result["methods"] if m["estimator"] != _EXACT]
    kinds = [_kind(method) for method in rest]
    for number, (axis, title) in enumerate(zip(axes, _PANELS, strict=True)):
        chosen = [m for m, kind in zip(rest, kinds, strict=True) if kind == number]
        _panel(axis, chosen, exact)
        axis.set_title(title, fontsize=SIZE)
        axis.set_xlabel("queries")
    highest = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(0, min(highest, 100))
    axes[0].set_ylabel("regret (percentage points)")
    return figure


def _kind(method: Mapping[str, Any]) -> int:
    """Return which of the panels a method stands in."""
    if method["relaxed"]:
        return 2
    return 0 if method["family"] == "score" else 1


def _panel(
    axis: Axes, methods: Sequence[Mapping[str, Any]], exact: Sequence[Mapping[str, Any]]
) -> None:
    styles = looks([method["estimator"] for method in methods])
    for method in [*methods, *exact]:
        points = [p for p in method["curve"] if p["recommended"] is not None]
        if not points:
            continue
        x = [p["budget"] for p in points]
        name = method["estimator"]
        colour = INK if name == _EXACT else styles[name].colour
        line = (0, (2, 1)) if name == _EXACT else styles[name].line
        mean = [p["recommended"]["mean"] for p in points]
        axis.plot(x, mean, color=colour, linestyle=line, linewidth=1.2, label=label(method))
        low = [p["recommended"]["q25"] for p in points]
        high = [p["recommended"]["q75"] for p in points]
        axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    axis.set_xscale("log")
    axis.set_yscale("symlog", linthresh=0.1)
    axis.set_ylim(bottom=0)
    axis.legend(
        fontsize=SIZE,
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        borderaxespad=0,
        labelspacing=0.25,
    )
