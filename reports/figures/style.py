"""How every figure looks: colours that colour-blind readers tell apart, small type, watermark.

The palette is Okabe and Ito's (2008) without its yellow, which print loses; from the eighth row on
line styles and markers change, so that colour is never the only difference. Ink and grid have two
fixed colours of their own, which the HTML report replaces in dark mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nasbench_snas.stats.cells import failed_note

from ..tables.selection import Variant

INK, GRID, PALE = "#24292f", "#d8dee4", "#b9c0c8"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
SIZE = 8.0


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


def panels(columns: int, *, width: float = 3.2, height: float = 2.6) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``columns`` panels side by side, in the report's style."""
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for axis in axes:
        dress(axis)
    return figure, axes


def dress(axis: Axes) -> None:
    """Give a panel the report's style."""
    axis.patch.set_alpha(0.0)
    axis.set_axisbelow(True)
    axis.grid(True, color=GRID, linewidth=0.6)
    axis.tick_params(colors=INK, labelsize=SIZE - 1, width=0.6, length=2.5)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_edgecolor(INK)
        spine.set_linewidth(0.6)
    for label in (axis.xaxis.label, axis.yaxis.label, axis.title):
        label.set_color(INK)
        label.set_fontsize(SIZE)


def legend(figure: Figure, axis: Axes, *, columns: int = 5) -> None:
    """Put the rows of ``axis`` above the panels."""
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=min(columns, len(labels)),
            frameon=False,
            fontsize=SIZE - 1,
            labelcolor=INK,
            handlelength=2.4,
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
