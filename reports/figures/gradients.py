"""Figures of a gradient study, drawn with matplotlib; colours are safe for colour-blind readers.

Families have a colour and a marker each. Squared biases below the plot's floor (estimates that are
zero or negative) are drawn at the bound that the draws exclude, as a hollow triangle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..tables.gradients import at_point, mse, point_names

KEY = ("snas λ=1", "snas λ=0.1", "darts", "reinforce", "enas", "rloo", "local-expectation")
_RELAXED = ("snas", "snas-credit", "st-gumbel", "gumbel-rao", "gdas")
_MARKERS = "osD^vP*X<>"
STYLE: Any = {
    "svg.hashsalt": "nasbench",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""Settings of matplotlib that these figures are drawn under."""


def write_figures(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write all figures as SVG and PNG and return the files."""
    drawings: dict[str, Callable[[dict[str, Any]], Figure | None]] = {
        "bias-variance": bias_variance,
        "temperature": temperature_sweep,
        "training": over_training,
        "edges": edge_heat_map,
        "compute": mse_against_compute,
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in drawings.items():
        with matplotlib.rc_context(STYLE):
            figure = draw(result)
        if figure is None:
            continue
        for suffix in ("svg", "png"):
            file = folder / f"{name}.{suffix}"
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(file, bbox_inches="tight", dpi=130, metadata=metadata)
            written.append(file)
    return written


def style_of(result: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return colour and marker of every estimator, the same in all figures."""
    found = {cell["estimator"] for cell in result["cells"]}
    first = [n for n in dict.fromkeys((*(k.split()[0] for k in KEY), *_RELAXED)) if n in found]
    names = [*first, *sorted(found - set(first))]
    palette = sns.color_palette("colorblind", 10)
    return {n: (palette[i % 10], _MARKERS[(i + i // 10) % 10]) for i, n in enumerate(names)}


def _panels(count: int, width: float = 4.6, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * count, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)
    return figure, list(axes[0])


def bias_variance(result: dict[str, Any]) -> Figure | None:
    """Squared bias against variance, one panel a point, with lines of equal MSE.

    Temperatures of an estimator are joined by a line and labelled once; what lies outside the
    window (relative variance above 1,000 or squared bias above 10) is named in the corner.
    """
    points, styles = point_names(result), style_of(result)
    figure, axes = _panels(len(points), width=5.4, height=5.2)
    for axis, point in zip(axes, points, strict=True):
        groups: dict[str, list[tuple[float, float, bool]]] = {}
        outside = []
        for cell in at_point(result, point):
            a = cell["alpha"]["all"]
            variance, bias = a["relative_trace"]["estimate"], a["relative_bias_sq"]["estimate"]
            bound = a["excluded_relative_bias"]
            resolved = bias is not None and (a["relative_bias_sq"]["low"] or 0.0) > 0
            y = bias if resolved else None if bound is None else bound**2
            if not y or not variance or variance < 1e-12:
                continue
            if variance > 1e3 or y > 10:
                outside.append(cell["label"])
                continue
            name = cell["estimator"] if cell["temperature"] is not None else cell["label"]
            groups.setdefault(name, []).append((variance, y, resolved))
        for name, rows in groups.items():
            colour, marker = styles[name.split()[0]]
            rows.sort()
            x, y = [r[0] for r in rows], [r[1] for r in rows]
            axis.plot(x, y, "-", color=colour, linewidth=0.6, alpha=0.6)
            for variance, bias, resolved in rows:
                face = colour if resolved else "none"
                axis.plot(variance, bias, marker, color=colour, markerfacecolor=face, ms=5)
            axis.annotate(name, (x[-1], y[-1]), (4, 1), textcoords="offset points", fontsize=6)
        _iso_mse(axis, [(v, y, name) for name, rows in groups.items() for v, y, _ in rows])
        if outside:
            text = "outside: " + ", ".join(outside)
            axis.text(0.98, 1.0, text, transform=axis.transAxes, fontsize=5.5, ha="right", va="top")
        axis.set(xscale="log", yscale="log", title=point, xlabel="variance / |g|²")
        _flat(axis, result, point)
    axes[0].set_ylabel("bias² / |g|²   (hollow: upper bound)")
    return figure


def _iso_mse(axis: Axes, seen: list[tuple[float, float, str]]) -> None:
    if not seen:
        return
    xs, ys = [x for x, _, _ in seen], [y for _, y, _ in seen]
    low, high = min(xs) / 2, max(xs) * 3
    floor = min(ys) / 3
    for level in 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1):
        x = np.geomspace(low, level * (1 - 1e-4), 200)
        y = level - x
        axis.plot(x[y > floor], y[y > floor], color="0.85", linewidth=0.8, zorder=0)
    axis.set_xlim(low, high)
    axis.set_ylim(floor, max(ys) * 3)


def _flat(axis: Axes, result: dict[str, Any], point: str) -> None:
    """Mark estimators without variance at the left edge."""
    for cell in at_point(result, point):
        a = cell["alpha"]["all"]
        y = a["relative_bias_sq"]["estimate"]
        flat = (a["relative_trace"]["estimate"] or 0) < 1e-12
        if flat and y and y < axis.get_ylim()[1]:
            axis.axhline(y, color="0.5", linestyle=":", linewidth=0.8)
            axis.annotate(
                f"{cell['label']} (no variance)",
                (0.02, y),
                xycoords=("axes fraction", "data"),
                fontsize=5.5,
                va="bottom",
            )


def temperature_sweep(result: dict[str, Any]) -> Figure | None:
    """Squared bias and variance against the temperature, at the first and the last point."""
    names = [n for n in _RELAXED if len(_temperatures(result, n)) > 2]
    points = point_names(result)
    if not names:
        return None
    chosen = list(dict.fromkeys([points[0], points[-1]]))
    figure, axes = _panels(2 * len(chosen), width=3.6, height=3.4)
    styles = style_of(result)
    for position, (point, quantity) in enumerate(
        (point, q) for point in chosen for q in ("relative_bias_sq", "relative_trace")
    ):
        axis = axes[position]
        for name in names:
            colour, marker = styles[name]
            rows = [
                (c["temperature"], c["alpha"]["all"][quantity])
                for c in at_point(result, point)
                if c["estimator"] == name and c["temperature"] is not None
            ]
            rows.sort(key=lambda pair: pair[0])
            x = [t for t, v in rows if v["estimate"] and v["estimate"] > 0]
            shown = [v for _, v in rows if v["estimate"] and v["estimate"] > 0]
            y = [v["estimate"] for v in shown]
            low = [max(v["estimate"] - max(_end(v, "low"), 0), 0) for v in shown]
            high = [max(_end(v, "high") - v["estimate"], 0) for v in shown]
            axis.errorbar(
                x, y, [low, high], color=colour, marker=marker, markersize=4, label=name, capsize=2
            )
        label = "bias² / |g|²" if quantity == "relative_bias_sq" else "variance / |g|²"
        axis.set(xscale="log", yscale="log", xlabel="λ", ylabel=label, title=point)
    axes[0].legend(fontsize=7)
    return figure


def _temperatures(result: dict[str, Any], name: str) -> set[float]:
    return {c["temperature"] for c in result["cells"] if c["estimator"] == name}


def over_training(result: dict[str, Any]) -> Figure | None:
    """Variance, and cosine at equal compute, of some estimators over the training."""
    fractions = {
        p["point"]: p["fraction"]
        for p in result["points"]
        if p["fraction"] is not None and not str(p["point"]).startswith("uniform")
    }
    if len(fractions) < 2:
        return None
    figure, axes = _panels(3, width=4.0, height=3.4)
    styles = style_of(result)
    quantities: tuple[tuple[str, Callable[[dict[str, Any]], float | None]], ...] = (
        ("variance / |g|²", lambda c: c["alpha"]["all"]["relative_trace"]["estimate"]),
        ("relative MSE at equal compute", lambda c: c["budget"]["relative_mse"]),
        ("cosine to the exact gradient, equal compute", lambda c: c["budget"]["cosine"]),
    )
    for axis, (title, quantity) in zip(axes, quantities, strict=True):
        for label in KEY:
            rows = [
                (fractions[c["point"]], quantity(c), c["estimator"])
                for c in result["cells"]
                if c["label"] == label and c["point"] in fractions
            ]
            shown = sorted((x, y, n) for x, y, n in rows if y is not None and y > 1e-12)
            if shown:
                colour, marker = styles[shown[0][2]]
                line = "--" if label.endswith("0.1") else "-"
                x, y = [r[0] for r in shown], [r[1] for r in shown]
                axis.plot(x, y, line, marker=marker, color=colour, label=label, markersize=4)
        axis.set(xlabel="progress of training", title=title)
        axis.set_yscale("linear" if title.startswith("cosine") else "log")
    axes[0].legend(fontsize=7, handlelength=3)
    return figure


def edge_heat_map(result: dict[str, Any]) -> Figure | None:
    """Relative bias of every edge's gradient (root of the debiased square), at the last point."""
    points = point_names(result)
    cells = [c for c in at_point(result, points[-1]) if "edge 0" in c["alpha"]]
    if not cells:
        return None
    edges = [name for name in cells[0]["alpha"] if name.startswith("edge ")]
    table = np.array(
        [[_root(c["alpha"][e]["relative_bias_sq"]["estimate"]) for e in edges] for c in cells]
    )
    figure = Figure(
        figsize=(1.2 + 0.75 * len(edges), 0.8 + 0.21 * len(cells)), layout="constrained"
    )
    axis = figure.subplots()
    sns.heatmap(
        np.minimum(table, 2.0),
        ax=axis,
        cmap="cividis",
        annot=table,
        fmt=".2f",
        annot_kws={"fontsize": 6},
        xticklabels=edges,
        yticklabels=[c["label"] for c in cells],
        cbar_kws={"label": "relative bias (colour capped at 2)"},
    )
    axis.set_title(points[-1])
    axis.tick_params(labelsize=7)
    return figure


def _end(values: dict[str, Any], side: str) -> float:
    """Return an end of an interval; the estimate where the interval is not estimated."""
    return float(values["estimate"] if values[side] is None else values[side])


def _root(value: float | None) -> float:
    return float("nan") if value is None else float(np.sqrt(max(value, 0.0)))


def mse_against_compute(result: dict[str, Any]) -> Figure | None:
    """Relative MSE of the mean of as many draws as a budget buys, against the budget."""
    points, styles = point_names(result), style_of(result)
    figure, axes = _panels(len(points), width=4.2, height=3.8)
    budget = np.geomspace(1, 1e4, 100)
    for axis, point in zip(axes, points, strict=True):
        cells = at_point(result, point)
        best = [c["label"] for c in cells if mse(c) < float("inf")][:3]
        for cell in cells:
            if cell["label"] not in (*KEY, *best):
                continue
            a, cost = cell["alpha"]["all"], cell["cost"]["equivalents"]
            bias = max(a["relative_bias_sq"]["estimate"] or 0.0, 0.0)
            if a["relative_bias_sq"]["low"] is not None and a["relative_bias_sq"]["low"] <= 0:
                bias = 0.0
            x = budget[budget >= cost]
            colour, marker = styles[cell["estimator"]]
            line = "--" if cell["label"].endswith("0.1") else "-"
            axis.plot(
                x,
                bias + (a["relative_trace"]["estimate"] or 0.0) * cost / x,
                line,
                color=colour,
                marker=marker,
                markevery=25,
                markersize=4,
                label=cell["label"],
            )
        axis.set(xscale="log", yscale="log", title=point, xlabel="forward equivalents")
        axis.legend(fontsize=6, handlelength=3)
    axes[0].set_ylabel("MSE / |g|²")
    return figure
