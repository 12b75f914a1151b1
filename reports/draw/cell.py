"""Drawings of cells for papers: SVG, PDF, PNG and ``.dot`` text, without external programs.

As in Figures 2, 5 and 7 of SNAS (arXiv:1812.09926): inputs ``c_{k-2}``, ``c_{k-1}``, intermediate
nodes from 0, output ``c_k``, operations as labels. Dropped nodes (their map is zero) are grey, and
so is an input that nothing uses. Over several genotypes the width of a line is the share of
genotypes that chose the edge. The same input gives the same bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.outside import visible

from .layout import Item, Layout, Route, longest_layers, place

FORMATS = ("svg", "pdf", "png", "dot")
FONT_SIZE = 8.0
NODE_SIZE = 21.0
COLOURS = {
    "input": "#dcefd8",
    "node": "#d9e6f5",
    "output": "#fbeec2",
    "zero": "#eeeeee",
    "skip": "#f3f3f3",
    "pool": "#e3ddf1",
    "conv": "#fde3d3",
}
INK, GREY = "#222222", "#a8a8a8"
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def operation_label(name: str) -> str:
    """Return ``name`` as it stands in a drawing: ``sep_conv_3x3`` becomes ``sep conv 3×3``."""
    short = {"skip_connect": "skip", "conv_7x1_1x7": "conv 1×7, 7×1"}
    return short.get(name) or re.sub(r"(?<=\d)x(?=\d)", "×", name.replace("_", " "))


def cell_layout(cells: Sequence[CellGenotype], *, min_frequency: float = 0.0) -> Layout:
    """Return the layout of one cell, or of the edges that several cells chose.

    Args:
        cells: Cells of the same size; with one of them every edge has weight 1.
        min_frequency: Edges that fewer of the cells chose are left out.

    Raises:
        ConfigError: There is no cell, or their sizes differ.
    """
    sizes = {(cell.num_inputs, cell.num_nodes) for cell in cells}
    if len(sizes) != 1:
        raise ConfigError(f"cannot draw cells of different sizes together: {sorted(sizes)}.")
    (num_inputs, num_nodes) = sizes.pop()
    weights = _frequencies(cells)
    kept = {key: w for key, w in weights.items() if w >= min_frequency}
    total = num_inputs + num_nodes
    layers = longest_layers([(e.source, e.target) for e, _ in kept], num_inputs, total)
    fed = {edge.target for edge, _ in kept} | {
        edge.source for edge, _ in kept if edge.source < num_inputs
    }
    concat = Counter(node for cell in cells for node in cell.concat)
    fed |= {node for node in concat if node < num_inputs}
    items = [_node(n, num_inputs, 2 * layers[n], n not in fed) for n in range(total)]
    last = 2 * max(layers.values()) + 1
    items.append(_labelled("out", "output", last, "$c_{k}$"))
    routes: list[Route] = []
    show = len(cells) > 1
    for number, ((edge, _), weight) in enumerate(kept.items()):
        layer = 2 * layers[edge.target] - 1
        items.append(_operation(f"op {number}", edge, layer, weight if show else None))
        start, end = (f"n{edge.source}", 2 * layers[edge.source]), (f"op {number}", layer)
        keys = _with_lanes(f"e{number}", start, end, items)
        routes.append(Route([*keys, f"n{edge.target}"], weight))
    for node, count in sorted(concat.items()):
        start, end = (f"n{node}", 2 * layers[node]), ("out", last)
        keys = _with_lanes(f"c{node}", start, end, items)
        routes.append(Route(keys, count / len(cells), grey=node not in fed))
    return place(items, routes)


def _frequencies(cells: Sequence[CellGenotype]) -> dict[tuple[Edge, int], float]:
    """Return the share of cells with each edge; the copies of a doubled edge are numbered."""
    counts: Counter[tuple[Edge, int]] = Counter()
    for cell in cells:
        seen: Counter[Edge] = Counter()
        for edge in cell.edges:
            counts[edge, seen[edge]] += 1
            seen[edge] += 1
    order = sorted(counts, key=lambda key: (key[0].target, key[0].source, key[0].operation, key[1]))
    return {key: counts[key] / len(cells) for key in order}


def _text_size(text: str, size: float = FONT_SIZE) -> tuple[float, float]:
    extents = TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans"))
    box = extents.get_extents()
    return float(box.width), float(box.height)


def _node(node: int, num_inputs: int, layer: int, grey: bool) -> Item:
    if node < num_inputs:
        return _labelled(f"n{node}", "input", layer, f"$c_{{k-{num_inputs - node}}}$", grey)
    key, label = f"n{node}", str(node - num_inputs)
    return Item(key, "node", layer, NODE_SIZE, NODE_SIZE, label, grey)


def _labelled(
    key: str, kind: Literal["input", "output"], layer: int, label: str, grey: bool = False
) -> Item:
    return Item(key, kind, layer, _text_size(label)[0] + 14.0, NODE_SIZE, label, grey)


def _operation(key: str, edge: Edge, layer: int, share: float | None) -> Item:
    label = operation_label(edge.operation)
    if share is not None:
        label += f"  {100 * share:.0f} %"
    width = _text_size(label)[0] + 10.0
    return Item(key, "operation", layer, width, 14.0, label, operation=edge.operation)


def _with_lanes(
    name: str, start: tuple[str, int], end: tuple[str, int], items: list[Item]
) -> list[str]:
    """Return the keys from ``start`` to ``end``, adding a lane to ``items`` for each layer."""
    lanes = [f"{name} {layer}" for layer in range(start[1] + 1, end[1])]
    for key, layer in zip(lanes, range(start[1] + 1, end[1]), strict=True):
        items.append(Item(key, "lane", layer, 2.0, 2.0))
    return [start[0], *lanes, end[0]]


def draw_cells(
    cells: Sequence[tuple[str, Layout]], *, columns: int = 1, captions: bool = True
) -> Figure:
    """Return a figure with one panel for each (caption, layout).

    Args:
        cells: What is drawn, from top left.
        columns: Panels in a row.
        captions: Whether the captions stand below the panels.
    """
    gap, below = 14.0, 18.0 if captions else 0.0
    grid = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    widths = [max(row[c][1].width for row in grid if c < len(row)) for c in range(len(grid[0]))]
    heights = [max(layout.height for _, layout in row) + below for row in grid]
    width = sum(widths) + gap * (len(widths) - 1)
    height = sum(heights) + gap * (len(heights) - 1)
    figure = Figure(figsize=(width / 72, height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    top = 0.0
    for row, tall in zip(grid, heights, strict=True):
        left = 0.0
        for (caption, layout), wide in zip(row, widths, strict=False):
            x = left + (wide - layout.width) / 2
            y = top + (tall - below - layout.height) / 2
            _draw_layout(axes, layout, x, y)
            if captions:
                _text(axes, left + wide / 2, top + tall - below / 2, caption, INK)
            left += wide + gap
        top += tall + gap
    return figure


def draw_genotype(genotype: Genotype, *, columns: int = 1) -> Figure:
    """Return a figure of all cells of ``genotype``, captioned (a), (b), … as in the paper."""
    return draw_cells(genotype_panels([genotype]), columns=columns)


def draw_frequencies(genotypes: Sequence[Genotype], *, min_frequency: float = 0.0) -> Figure:
    """Return a figure of how often each edge was chosen: line width and percentage.

    Args:
        genotypes: For example one for each seed.
        min_frequency: Edges that fewer of them chose are left out.
    """
    return draw_cells(genotype_panels(genotypes, min_frequency=min_frequency))


def genotype_panels(
    genotypes: Sequence[Genotype], *, min_frequency: float = 0.0
) -> list[tuple[str, Layout]]:
    """Return caption and layout of each cell type of ``genotypes``."""
    if len(genotypes) == 1:
        genotypes[0].warn_disconnected()
    if not genotypes:
        raise ConfigError("there is no genotype to draw.")
    panels = []
    for index, name in enumerate(genotypes[0].cells):
        if any(name not in genotype.cells for genotype in genotypes):
            raise ConfigError(f"cell {name!r} is not in every genotype.")
        layout = cell_layout([g.cells[name] for g in genotypes], min_frequency=min_frequency)
        known = {"normal": "Normal cell", "reduce": "Reduction cell"}
        title = known.get(name) or visible(name).replace("$", r"\$").capitalize()
        panels.append((f"({chr(ord('a') + index)}) {title}", layout))
    return panels


def _draw_layout(axes: Any, layout: Layout, x: float, y: float) -> None:
    for route in layout.routes:
        points = [(px + x, py + y) for px, py in route.curve]
        codes = [Outline.MOVETO] + [Outline.CURVE4] * (len(points) - 1)
        colour = GREY if route.grey else INK
        width = 0.5 if route.grey else 0.3 + 1.0 * route.weight
        path = Outline(points, codes)
        style = (0, (2, 2)) if route.grey else "solid"
        axes.add_patch(
            PathPatch(
                path,
                fill=False,
                edgecolor=colour,
                linewidth=width,
                linestyle=style,
                capstyle="butt",
                zorder=1,
            )
        )
        _arrow(axes, points[-1], colour)
    for item in layout.items.values():
        if item.kind != "lane":
            _draw_item(axes, item, x, y)


def _arrow(axes: Any, tip: tuple[float, float], colour: str) -> None:
    x, y = tip
    outline = Outline([(x, y), (x - 5, y - 2.1), (x - 5, y + 2.1), (x, y)], closed=True)
    axes.add_patch(PathPatch(outline, facecolor=colour, edgecolor="none", zorder=2))


def _draw_item(axes: Any, item: Item, x: float, y: float) -> None:
    left, top, right, bottom = item.box
    colour = COLOURS.get(item.kind) or COLOURS[_operation_kind(item.operation)]
    face, ink = (COLOURS["zero"], GREY) if item.grey else (colour, INK)
    style: dict[str, Any] = {"facecolor": face, "edgecolor": ink, "linewidth": 0.7, "zorder": 3}
    if item.kind == "node":
        axes.add_patch(Circle((item.x + x, item.y + y), item.width / 2, **style))
    else:
        radius = 3.0 if item.kind == "operation" else 6.0
        axes.add_patch(
            FancyBboxPatch(
                (left + x, top + y),
                right - left,
                bottom - top,
                boxstyle=f"round,pad=0,rounding_size={radius}",
                **style,
            )
        )
    _text(axes, item.x + x, item.y + y, item.label, ink, gid=item.key)


def _operation_kind(name: str) -> str:
    kind = "skip" if name.startswith("skip") else "conv"
    return "pool" if "pool" in name else kind


def _text(axes: Any, x: float, y: float, text: str, colour: str, gid: str | None = None) -> None:
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=FONT_SIZE,
        color=colour,
        zorder=4,
        family="DejaVu Sans",
        gid=gid,
    )


def save_figure(figure: Figure, path: Path, *, dpi: int = 200) -> None:
    """Write ``figure``; the suffix of ``path`` decides the format (svg, pdf or png).

    Nothing in the file depends on the time or on anything but the drawing.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in _METADATA:
        raise ConfigError(f"cannot write a drawing as {kind!r}.", suggest(kind, _METADATA))
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"svg.hashsalt": "nasbench-snas", "svg.fonttype": "path", "pdf.fonttype": 42}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure.savefig(path, dpi=dpi, metadata=_METADATA[kind])


def dot_text(cell: CellGenotype, name: str = "cell") -> str:
    """Return the cell as Graphviz text: nodes, labelled edges, dropped nodes grey."""

    def label(node: int) -> str:
        inner = node >= cell.num_inputs
        return str(node - cell.num_inputs) if inner else f"c_{{k-{cell.num_inputs - node}}}"

    used = {edge.source for edge in cell.edges} | set(cell.concat)
    title = name.replace("\\", "\\\\").replace('"', '\\"')
    lines = [f'digraph "{title}" {{', "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    for node in range(cell.num_inputs + cell.num_nodes):
        dropped = node in cell.dropped_nodes or (node < cell.num_inputs and node not in used)
        extra = ", color=grey, fontcolor=grey" if dropped else ""
        lines.append(f'  n{node} [label="{label(node)}"{extra}];')
    lines.append('  out [label="c_{k}"];')
    for edge in cell.edges:
        lines.append(f'  n{edge.source} -> n{edge.target} [label="{edge.operation}"];')
    for node in cell.concat:
        extra = " [color=grey, style=dashed]" if node in cell.dropped_nodes else ""
        lines.append(f"  n{node} -> out{extra};")
    return "\n".join([*lines, "}"]) + "\n"
