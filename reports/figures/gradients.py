"""Figures of a gradient study; colours are safe for colour-blind readers, type is 8 pt in print.

Families have a colour and a marker each. What a log axis has no place for is shown at its lower
end as a hollow triangle: estimates that are zero or negative. What lies beyond a panel stands on
its frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..tables.gradients import at_point, mse, point_names
from .edges import edge_labels
from .style import (
    GRID,
    INK,
    PRINT_WIDTH,
    SIZE,
    legend,
    log_axis,
    not_positive,
    panels,
)

KEY = ("snas λ=1", "snas λ=0.1", "darts", "reinforce", "enas", "rloo", "local-expectation")
_RELAXED = ("snas", "snas-credit", "st-gumbel", "gumbel-rao", "gdas")
_MARKERS = "osD^vP*X<>"
STYLE: Any = {"svg.hashsalt": "nasbench"}
"""Settings of matplotlib that these figures are drawn under."""
_FLAT = 1e-12
"""Relative variance that counts as none."""
_WINDOW = (1e3, 10.0)
"""Largest relative variance and squared bias inside a panel."""
_ANNOTATED = 10
"""Edges up to which a heat map has numbers."""


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
            with matplotlib.rc_context(STYLE):
                figure.savefig(file, dpi=150, metadata=metadata, facecolor="white")
            written.append(file)
    return written


def style_of(result: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return colour and marker of every estimator, the same in all figures."""
    found = {cell["estimator"] for cell in result["cells"]}
    first = [n for n in dict.fromkeys((*(k.split()[0] for k in KEY), *_RELAXED)) if n in found]
    names = [*first, *sorted(found - set(first))]
    palette = sns.color_palette("colorblind", 10)
    return {n: (palette[i % 10], _MARKERS[(i + i // 10) % 10]) for i, n in enumerate(names)}


def bias_variance(result: dict[str, Any]) -> Figure | None:
    """Squared bias against variance, one panel a point, with lines of equal MSE.

    Temperatures of an estimator are joined by a line. An estimator without variance stands on the
    left frame, what lies outside the window (relative variance above 1,000, squared bias above 10)
    on the right or the upper one.
    """
    points, styles = point_names(result), style_of(result)
    figure, axes = panels(len(points), width=3.3, height=2.9, per_row=2)
    for axis, point in zip(axes, points, strict=True):
        marks = _marks(result, point)
        inside = [(v, y) for rows in marks.values() for v, y, _ in rows if y and v >= _FLAT]
        if not inside:
            continue
        x0, x1 = min(v for v, _ in inside) / 2, min(max(v for v, _ in inside) * 3, _WINDOW[0])
        y0, y1 = min(y for _, y in inside) / 3, min(max(y for _, y in inside) * 3, _WINDOW[1])
        axis.set(xlim=(x0, x1), ylim=(y0, y1))
        log_axis(axis)
        log_axis(axis, horizontal=True)
        axis.grid(False)
        for label, rows in marks.items():
            _draw_marks(axis, rows, *styles[label.split()[0]], label)
        _iso_mse(axis)
        axis.set_title(point, fontsize=SIZE)
        axis.set_xlabel("variance / |g|²")
    for axis in axes[::2]:
        axis.set_ylabel("bias² / |g|²")
    keys = (
        Line2D([], [], color=INK, marker="o", markerfacecolor="none", linewidth=0),
        Line2D([], [], color=INK, marker="v", markerfacecolor="none", linewidth=0),
        Line2D([], [], color="0.75", linewidth=0.8),
    )
    words = ("hollow: upper bound", "not resolved, no bound", "equal MSE")
    for key, word in zip(keys, words, strict=True):
        key.set_label(word)
        axes[0].add_line(key)
    legend(figure, axes)
    return figure


Mark = tuple[float, float | None, bool]


def _marks(result: dict[str, Any], point: str) -> dict[str, list[Mark]]:
    """Return (variance, squared bias or its bound or None, resolved) of each family at a point."""
    marks: dict[str, list[Mark]] = {}
    for cell in at_point(result, point):
        a = cell["alpha"]["all"]
        variance, bias = a["relative_trace"]["estimate"], a["relative_bias_sq"]["estimate"]
        if variance is None or bias is None:
            continue
        bound = a["excluded_relative_bias"]
        flat = variance < _FLAT
        resolved = bias > 0 and (flat or (a["relative_bias_sq"]["low"] or 0.0) > 0)
        y = bias if resolved else bound**2 if bound else None
        name = cell["estimator"] if cell["temperature"] is not None else cell["label"]
        marks.setdefault(name, []).append((variance, y, resolved))
    return {name: sorted(rows, key=lambda mark: mark[0]) for name, rows in marks.items()}


def _draw_marks(axis: Axes, rows: Sequence[Mark], colour: Any, marker: str, label: str) -> None:
    """Draw the marks of a family, those beyond the panel on its frame."""
    (x0, x1), (_, y1) = axis.get_xlim(), axis.get_ylim()
    at = [(min(max(v, x0), x1), y and min(y, y1), resolved) for v, y, resolved in rows]
    known = [(x, y) for x, y, _ in at if y]
    if len(known) > 1:
        axis.plot(*zip(*known, strict=True), "-", color=colour, linewidth=0.6, alpha=0.6)
    for resolved in (True, False):
        chosen = [(x, y) for x, y, r in at if y and r is resolved]
        if chosen:
            face = colour if resolved else "none"
            style = {"color": colour, "markerfacecolor": face, "ms": 5, "clip_on": False}
            axis.plot(*zip(*chosen, strict=True), marker, zorder=4, **style)
    axis.plot([], [], marker, color=colour, ms=5, label=label)
    not_positive(axis, [x for x, y, _ in at if not y], colour)


def _iso_mse(axis: Axes) -> None:
    """Draw lines of equal mean squared error, a power of ten each."""
    (x0, x1), (y0, y1) = axis.get_xlim(), axis.get_ylim()
    lowest, highest = np.floor(np.log10(min(x0, y0))), np.ceil(np.log10(max(x1, y1)))
    for level in 10.0 ** np.arange(lowest, highest + 1):
        x = level * np.r_[np.geomspace(x0 / level, 0.5, 60), 1 - np.geomspace(0.5, 1e-6, 60)]
        if x0 < level:
            axis.plot(x, level - x, color="0.85", linewidth=0.8, zorder=0)
    axis.set(xlim=(x0, x1), ylim=(y0, y1))


def temperature_sweep(result: dict[str, Any]) -> Figure | None:
    """Squared bias and variance against the temperature, at the first and the last point."""
    names = [n for n in _RELAXED if len(_temperatures(result, n)) > 2]
    points = point_names(result)
    if not names:
        return None
    chosen = list(dict.fromkeys([points[0], points[-1]]))
    figure, axes = panels(2 * len(chosen), width=3.3, height=2.3, per_row=2)
    styles = style_of(result)
    places = [(point, q) for point in chosen for q in ("relative_bias_sq", "relative_trace")]
    for axis, (point, quantity) in zip(axes, places, strict=True):
        lost = []
        for name in names:
            rows = sorted(
                (
                    (c["temperature"], c["alpha"]["all"][quantity])
                    for c in at_point(result, point)
                    if c["estimator"] == name and c["temperature"] is not None
                ),
                key=lambda pair: pair[0],
            )
            known = [(t, v) for t, v in rows if v["estimate"] is not None]
            lost.append(([t for t, v in known if v["estimate"] <= 0], styles[name][0]))
            _errorbars(axis, known, *styles[name], name)
        log_axis(axis, horizontal=True)
        log_axis(axis)
        for xs, colour in lost:
            not_positive(axis, xs, colour)
        label = "bias² / |g|²" if quantity == "relative_bias_sq" else "variance / |g|²"
        axis.set_xlabel("temperature λ")
        axis.set_ylabel(label)
        axis.set_title(point, fontsize=SIZE)
    _key_of_triangles(axes)
    legend(figure, axes)
    return figure


def _errorbars(
    axis: Axes, known: Sequence[tuple[float, Any]], colour: Any, marker: str, label: str
) -> None:
    """Draw estimates with intervals; the line is broken where an estimate is not positive."""
    x = [t for t, _ in known]
    y = [v["estimate"] if v["estimate"] > 0 else np.nan for _, v in known]
    shown = [(t, v) for t, v in known if v["estimate"] > 0]
    axis.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.2, label=label)
    for t, v in shown:
        low, high = max(_end(v, "low"), v["estimate"] * 1e-2), _end(v, "high")
        axis.plot([t, t], [low, max(high, low)], color=colour, linewidth=1.0)


def _key_of_triangles(axes: Sequence[Axes]) -> None:
    style: Any = {"color": INK, "markerfacecolor": "none", "linewidth": 0}
    axes[0].plot([], [], marker="v", label="zero or negative", **style)


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
    figure, axes = panels(3, height=2.5)
    styles = style_of(result)
    quantities: tuple[tuple[str, Callable[[dict[str, Any]], float | None]], ...] = (
        ("variance / |g|²", lambda c: c["alpha"]["all"]["relative_trace"]["estimate"]),
        ("MSE / |g|² at equal compute", lambda c: c["budget"]["relative_mse"]),
        ("cosine at equal compute", lambda c: c["budget"]["cosine"]),
    )
    for axis, (title, quantity) in zip(axes, quantities, strict=True):
        linear = title.startswith("cosine")
        lost = []
        for label in KEY:
            rows = [
                (fractions[c["point"]], quantity(c), c["estimator"])
                for c in result["cells"]
                if c["label"] == label and c["point"] in fractions
            ]
            known = sorted((x, y, n) for x, y, n in rows if y is not None)
            if not known:
                continue
            colour, marker = styles[known[0][2]]
            line = "--" if label.endswith("0.1") else "-"
            x = [r[0] for r in known]
            y = [r[1] if linear or r[1] > _FLAT else np.nan for r in known]
            axis.plot(x, y, line, marker=marker, color=colour, label=label, markersize=4)
            if not linear:
                lost.append(([r[0] for r in known if r[1] <= _FLAT], colour))
        if linear:
            axis.set_ylim(top=1)
        else:
            log_axis(axis)
        for xs, colour in lost:
            not_positive(axis, xs, colour)
        axis.set_xlabel("progress of training")
        axis.set_title(title, fontsize=SIZE)
        axis.set_xticks([0, 0.5, 1])
    _key_of_triangles(axes)
    legend(figure, axes)
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
    size = (min(2.6 + 0.55 * len(edges), PRINT_WIDTH), 1.0 + 0.18 * len(cells))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    many = len(edges) > _ANNOTATED
    sns.heatmap(
        np.minimum(table, 2.0),
        ax=axis,
        cmap="cividis",
        annot=None if many else table,
        fmt=".2f",
        annot_kws={"fontsize": SIZE},
        xticklabels=edge_labels(result, len(edges)),
        yticklabels=[c["label"] for c in cells],
        linewidths=0.5,
        linecolor=GRID,
        cbar_kws={"label": "relative bias (colour ends at 2)"},
    )
    axis.set_title(f"{points[-1]}; zero: the estimate of its square is zero or negative")
    axis.tick_params(labelsize=SIZE)
    axis.tick_params(axis="x", rotation=90 if many else 0)
    axis.tick_params(axis="y", rotation=0)
    bar = axis.collections[0].colorbar
    if bar is not None:
        bar.ax.tick_params(labelsize=SIZE)
        bar.ax.yaxis.label.set_fontsize(SIZE)
    axis.title.set_fontsize(SIZE)
    axis.set_xlabel("edge", fontsize=SIZE)
    return figure


def _end(values: dict[str, Any], side: str) -> float:
    """Return an end of an interval; the estimate where the interval is not estimated."""
    return float(values["estimate"] if values[side] is None else values[side])


def _root(value: float | None) -> float:
    return float("nan") if value is None else float(np.sqrt(max(value, 0.0)))


def mse_against_compute(result: dict[str, Any]) -> Figure | None:
    """Relative MSE of the mean of as many draws as a budget buys, against the budget."""
    points, styles = point_names(result), style_of(result)
    figure, axes = panels(len(points), height=2.5)
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
                linewidth=1.2,
                label=cell["label"],
            )
        log_axis(axis, horizontal=True)
        log_axis(axis)
        axis.set_title(point, fontsize=SIZE)
        axis.set_xlabel("forward equivalents")
    for axis in axes[::3]:
        axis.set_ylabel("MSE / |g|²")
    legend(figure, axes)
    return figure
