"""How every figure looks: colours that colour-blind readers tell apart, small type, watermark.

The palette is Okabe and Ito's (2008) without its yellow, which print loses; from the eighth row on
line styles and markers change, so that colour is never the only difference. Ink and grid have two
fixed colours of their own, which the HTML report replaces in dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from nasbench_snas.stats.cells import failed_note

from ..tables.selection import Variant

INK, GRID, PALE = "#24292f", "#d8dee4", "#b9c0c8"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
SIZE = 8.0
"""Of all type, in points: figures are as wide as they are printed."""
PRINT_WIDTH = 6.75
"""Inches of text in a two-column paper; no figure is wider."""


@dataclass(frozen=True)
class Drawing:
    """A figure of the report.

    Attributes:
        name: File name without suffix, unique in a report.
        kind: What ``--figure`` selects it by.
        title: One line.
        caption: What is shown, in sentences.
        figure: The drawing.
        runs: Ids of the runs in it.
        provisional: Whether it shows smoke, small or truncated runs (it has a watermark then).
        adaptive: Whether ink and grid may change colour in dark mode.
    """

    name: str
    kind: str
    title: str
    caption: str
    figure: Figure
    runs: tuple[str, ...]
    provisional: bool = False
    adaptive: bool = True


@dataclass(frozen=True)
class Look:
    """How one row is drawn, the same in every figure of a report.

    Attributes:
        colour: Of lines and markers.
        marker: Marker.
        line: Line style.
    """

    colour: str
    marker: str
    line: Any


def row_label(variant: Variant) -> str:
    """Return the name of a row in a legend, with how many of its runs failed."""
    note = failed_note(len(variant.failed), len(variant.runs) + len(variant.failed))
    return f"{variant.label} ({note})" if note else variant.label


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """Return the look of each row."""
    result = {}
    for index, label in enumerate(dict.fromkeys(labels)):
        turn = index // len(PALETTE)
        result[label] = Look(
            PALETTE[index % len(PALETTE)],
            MARKERS[(index + turn) % len(MARKERS)],
            LINES[turn % len(LINES)],
        )
    return result


def panels(
    count: int, *, width: float = 3.2, height: float = 2.3, per_row: int = 3
) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` panels in the report's style, as wide as print allows.

    Args:
        count: Panels.
        width: Of one panel, in inches, if there is room.
        height: Of one panel.
        per_row: Panels side by side at most.
    """
    columns = min(count, per_row)
    rows = math.ceil(count / columns)
    size = (min(width * columns, PRINT_WIDTH), height * rows)
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0.0)
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    for axis in axes:
        dress(axis)
    return figure, axes


def percent_axis(axis: Axes, *, horizontal: bool = False) -> None:
    """Let an axis of percentages end at 0 and at 100 where it passes or comes near them.

    Near is a quarter of what the axis spans: an axis of 90 to 98 % ends at 100, and begins at 90.
    """
    limits = axis.get_xlim() if horizontal else axis.get_ylim()
    low, high = min(limits), max(limits)
    near = _NEAR * (high - low)
    low, high = 0.0 if low < near else low, 100.0 if high > 100.0 - near else high
    (axis.set_xlim if horizontal else axis.set_ylim)(low, high)


def few_ticks(axis: Axes, *, whole: bool) -> None:
    """Give the horizontal axis few enough ticks not to touch, ``whole``: at whole numbers."""
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=whole, min_n_ticks=1 if whole else 2))


def log_axis(axis: Axes, *, horizontal: bool = False) -> None:
    """Make an axis logarithmic: it spans whole powers of ten, which alone have numbers."""
    (axis.set_xscale if horizontal else axis.set_yscale)("log")
    low, high = axis.get_xlim() if horizontal else axis.get_ylim()
    ends = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
    if high / low < _WIDE:
        (axis.set_xlim if horizontal else axis.set_ylim)(*ends)
    ticks = axis.xaxis if horizontal else axis.yaxis
    ticks.set_major_locator(LogLocator(numticks=6))
    ticks.set_minor_formatter(NullFormatter())


def not_positive(axis: Axes, xs: Sequence[float], colour: Any) -> None:
    """Show that values at ``xs`` are zero or negative, so that a log axis has no place for them.

    They stand at the lower end as hollow triangles.
    """
    if xs:
        axis.plot(
            xs,
            [0.025] * len(xs),
            "v",
            color=colour,
            markerfacecolor="none",
            markersize=4.5,
            transform=axis.get_xaxis_transform(),
            zorder=4,
        )


_NEAR = 0.25
"""Share of the span of an axis of percentages within which it is drawn out to 0 or to 100."""
_WIDE = 30.0
"""Largest ratio of the ends of a log axis that is widened to whole powers of ten."""


def dress(axis: Axes) -> None:
    """Give a panel the report's style."""
    axis.patch.set_alpha(0.0)
    axis.set_axisbelow(True)
    axis.grid(True, color=GRID, linewidth=0.6)
    axis.tick_params(colors=INK, labelsize=SIZE, width=0.6, length=2.5)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_edgecolor(INK)
        spine.set_linewidth(0.6)
    for label in (axis.xaxis.label, axis.yaxis.label, axis.title):
        label.set_color(INK)
        label.set_fontsize(SIZE)


def legend(figure: Figure, axes: Sequence[Axes] | Axes) -> None:
    """Put the rows of ``axes`` above the panels, each once; the figure grows by their height."""
    rows: dict[str, Any] = {}
    for axis in [axes] if isinstance(axes, Axes) else axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            rows.setdefault(label, handle)
    if rows:
        labels, handles = list(rows), list(rows.values())
        letters = max(map(len, labels)) * SIZE * 0.6 / 72 + 0.5
        columns = max(1, min(len(labels), int(figure.get_figwidth() / letters)))
        lines = math.ceil(len(labels) / columns)
        figure.set_figheight(figure.get_figheight() + lines * SIZE * 1.5 / 72)
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=columns,
            frameon=False,
            fontsize=SIZE,
            labelcolor=INK,
            handlelength=2.4,
            columnspacing=1.2,
        )


def watermark(axes: Sequence[Axes], provisional: bool, words: str = "not comparable") -> None:
    """Mark figures of smoke, small and truncated runs behind the data of every panel."""
    if not provisional:
        return
    for axis in axes:
        axis.text(
            0.5,
            0.5,
            words,
            transform=axis.transAxes,
            rotation=24,
            ha="center",
            va="center",
            fontsize=15,
            color=PALE,
            alpha=0.45,
            zorder=0.5,
        )
