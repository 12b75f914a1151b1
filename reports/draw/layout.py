"""Layered layout of a cell: circles for nodes, boxes for operations, and routes around both.

The drawing is a layered graph (Sugiyama et al. 1981): a node stands one layer behind the last of
its sources, the box of an operation stands in the layer before its target, and an edge that passes
a layer reserves room in it. Orders within layers come from barycentre sweeps, positions from
least squares under the minimal distances. Edges run horizontally inside a layer's column and bend
only between columns, so that they cannot touch a box that is not theirs, and two edges between the
same nodes have boxes of their own.

Everything is in points (1/72 inch), x to the right, y downwards; nothing is random.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import networkx as nx

NODE_GAP = 9.0
LANE_GAP = 7.0
_STRAIGHT = (1.0, 3.0, 20.0)
"""Pull of an edge piece between items of which none, one or both are lanes."""


@dataclass
class Item:
    """Something that takes room in a layer.

    Attributes:
        key: Unique name.
        kind: ``input``, ``node``, ``output``, ``operation`` or ``lane`` (room for a passing edge).
        layer: Column, from 0 at the left.
        width: Width in points.
        height: Height in points.
        label: Text.
        grey: Whether it is drawn as dropped.
        operation: Name of the operation, for boxes.
        x: Centre.
        y: Centre.
        column: Left and right border of its layer's column.
    """

    key: str
    kind: Literal["input", "node", "output", "operation", "lane"]
    layer: int
    width: float
    height: float
    label: str = ""
    grey: bool = False
    operation: str = ""
    x: float = 0.0
    y: float = 0.0
    column: tuple[float, float] = (0.0, 0.0)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        w, h = self.width / 2, self.height / 2
        return (self.x - w, self.y - h, self.x + w, self.y + h)


@dataclass
class Route:
    """An edge of the cell as a path over items.

    Attributes:
        keys: Items from the source to the target.
        weight: 1 for a chosen edge, its frequency among several genotypes.
        grey: Whether it is drawn as a zero map.
        curve: Points of cubic Bézier pieces: a start, then three points for each piece.
    """

    keys: list[str]
    weight: float = 1.0
    grey: bool = False
    curve: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Layout:
    """A finished drawing as data: items, routes and the size of the whole."""

    items: dict[str, Item]
    routes: list[Route]
    width: float
    height: float

    @property
    def boxes(self) -> dict[str, tuple[float, float, float, float]]:
        """Boxes of everything that carries a label."""
        return {key: item.box for key, item in self.items.items() if item.kind != "lane"}


def place(items: Sequence[Item], routes: Sequence[Route], margin: float = 6.0) -> Layout:
    """Return the layout of ``items``, whose layers are known, joined by ``routes``.

    Args:
        items: Everything that is drawn, lanes included.
        routes: Their edges; consecutive keys are in consecutive layers.
        margin: Free space around the drawing.
    """
    graph = nx.Graph()
    known = {item.key: item for item in items}
    graph.add_nodes_from(known)
    for route in routes:
        for a, b in zip(route.keys, route.keys[1:], strict=False):
            graph.add_edge(a, b)
    columns = [column for column in _columns(items) if column]  # a dropped layer takes no room
    columns = _untangle(columns, graph)
    _align(columns, graph)
    _spread(columns, graph)
    top = min(item.box[1] for item in items)
    for item in items:
        item.y += margin - top
        item.x += margin
        item.column = (item.column[0] + margin, item.column[1] + margin)
    ports = _ports(known, routes)
    for index, route in enumerate(routes):
        route.curve = _curve(known, route, index, ports)
    width = max(item.box[2] for item in items) + margin
    height = max(item.box[3] for item in items) + margin
    return Layout(known, list(routes), width, height)


def longest_layers(edges: Iterable[tuple[int, int]], inputs: int, total: int) -> dict[int, int]:
    """Return the layer of each node: inputs 0, others one behind the last of their sources."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(total))
    graph.add_edges_from(edges)
    layers: dict[int, int] = {}
    for node in nx.lexicographical_topological_sort(graph):
        before = [layers[source] for source in graph.predecessors(node)]
        layers[node] = 0 if node < inputs else max([*before, 0]) + 1
    return layers


def _columns(items: Sequence[Item]) -> list[list[Item]]:
    columns: list[list[Item]] = [[] for _ in range(1 + max(item.layer for item in items))]
    for item in items:
        columns[item.layer].append(item)
    return columns


def _crossings(columns: list[list[Item]], graph: nx.Graph) -> int:
    """Return the number of crossings between neighbouring columns (inversions of edge ends)."""
    count = 0
    for left, right in zip(columns, columns[1:], strict=False):
        order = {item.key: i for i, item in enumerate(right)}
        seen: list[int] = []
        for item in left:
            ends = [order[other] for other in graph[item.key] if other in order]
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _untangle(columns: list[list[Item]], graph: nx.Graph) -> list[list[Item]]:
    """Return the columns in the order with the fewest crossings that the sweeps met."""
    best, fewest = [list(column) for column in columns], _crossings(columns, graph)
    for sweep in range(24):
        forward = sweep % 2 == 0
        indices = range(1, len(columns)) if forward else range(len(columns) - 2, -1, -1)
        for index in indices:
            other = columns[index - 1 if forward else index + 1]
            order = {item.key: float(i) for i, item in enumerate(other)}
            columns[index] = _sorted_by_barycentre(columns[index], order, graph)
        _swap_neighbours(columns, graph)
        crossings = _crossings(columns, graph)
        if crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    return best


def _sorted_by_barycentre(
    column: list[Item], order: Mapping[str, float], graph: nx.Graph
) -> list[Item]:
    keys = {}
    for position, item in enumerate(column):
        found = [order[other] for other in graph[item.key] if other in order]
        keys[item.key] = sum(found) / len(found) if found else float(position)
    return sorted(column, key=lambda item: keys[item.key])


def _swap_neighbours(columns: list[list[Item]], graph: nx.Graph) -> None:
    improved = True
    while improved:
        improved = False
        for index, column in enumerate(columns):
            near = columns[max(index - 1, 0) : index + 2]
            fewest = _crossings(near, graph)
            for i in range(len(column) - 1):
                column[i], column[i + 1] = column[i + 1], column[i]
                crossings = _crossings(near, graph)
                if crossings < fewest:
                    improved, fewest = True, crossings
                else:
                    column[i], column[i + 1] = column[i + 1], column[i]


def _distance(a: Item, b: Item) -> float:
    gap = LANE_GAP if "lane" in (a.kind, b.kind) else NODE_GAP
    return (a.height + b.height) / 2 + gap


def _align(columns: list[list[Item]], graph: nx.Graph) -> None:
    """Set the heights: near the neighbours' mean, long edges as straight as possible."""
    for column in columns:
        _settle(column, [0.0] * len(column), [1.0] * len(column))
    where = {item.key: item for column in columns for item in column}
    for sweep in range(80):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            wanted, weights = [], []
            for item in column:
                near = [where[other] for other in graph[item.key]]
                pull = [_STRAIGHT[(item.kind == "lane") + (other.kind == "lane")] for other in near]
                mean = sum(w * other.y for w, other in zip(pull, near, strict=True))
                wanted.append(mean / sum(pull) if pull else 0.0)
                weights.append(sum(pull))
            _settle(column, wanted, [weight or 1e-6 for weight in weights])


def _settle(column: list[Item], wanted: Sequence[float], weights: Sequence[float]) -> None:
    """Move ``column`` as little as possible from ``wanted``, keeping order and distances.

    Weighted least squares under ``y[i + 1] - y[i] >= distance``: pool adjacent violators. Items of
    negligible weight keep to their neighbours in the column.
    """
    offsets = [0.0]
    for a, b in zip(column, column[1:], strict=False):
        offsets.append(offsets[-1] + _distance(a, b))
    shifted = [target - offset for target, offset in zip(wanted, offsets, strict=True)]
    firm = [i for i, weight in enumerate(weights) if weight > 1e-3]
    blocks: list[tuple[float, float, int]] = []  # mean of (wanted - offset), weight, size
    for i, (mean, weight) in enumerate(zip(shifted, weights, strict=True)):
        if firm and weight <= 1e-3:
            mean = shifted[min(firm, key=lambda j: abs(j - i))]
        size = 1
        while blocks and blocks[-1][0] > mean:
            other, mass, count = blocks.pop()
            mean = (mean * weight + other * mass) / (weight + mass)
            weight, size = weight + mass, size + count
        blocks.append((mean, weight, size))
    means = [mean for mean, _, size in blocks for _ in range(size)]
    for item, mean, offset in zip(column, means, offsets, strict=True):
        item.y = mean + offset


def _spread(columns: list[list[Item]], graph: nx.Graph) -> None:
    """Set the columns' positions: wider gaps where edges climb steeply."""
    left = 0.0
    for index, column in enumerate(columns):
        width = max(item.width for item in column)
        for item in column:
            item.x, item.column = left + width / 2, (left, left + width)
        following = {b.key: b for b in columns[index + 1]} if index + 1 < len(columns) else {}
        climbs = [
            abs(following[other].y - item.y)
            for item in column
            for other in graph[item.key]
            if other in following
        ]
        left += width + 16.0 + min(0.3 * max(climbs, default=0.0), 34.0)


def _ports(items: Mapping[str, Item], routes: Sequence[Route]) -> dict[tuple[int, str], float]:
    """Return how far above or below the centre each route meets each item, by (route, side)."""
    ports: dict[tuple[int, str], float] = {}
    for side in ("in", "out"):
        meeting: dict[str, list[tuple[float, int]]] = {}
        for index, route in enumerate(routes):
            for position, key in enumerate(route.keys):
                other = position - 1 if side == "in" else position + 1
                if 0 <= other < len(route.keys) and items[key].kind in ("input", "node", "output"):
                    meeting.setdefault(key, []).append((items[route.keys[other]].y, index))
        for key, found in meeting.items():
            room = 0.62 * items[key].height
            for rank, (_, index) in enumerate(sorted(found)):
                share = (rank + 0.5) / len(found) - 0.5
                step = min(room, 6.0 * len(found))
                ports[index, f"{side} {key}"] = share * step
    return ports


def _curve(
    items: Mapping[str, Item],
    route: Route,
    index: int,
    ports: Mapping[tuple[int, str], float],
) -> list[tuple[float, float]]:
    points = [_border(items[route.keys[0]], ports.get((index, f"out {route.keys[0]}"), 0.0), 1)]
    for a, b in zip(route.keys, route.keys[1:], strict=False):
        start = _border(items[a], ports.get((index, f"out {a}"), 0.0), 1)
        end = _border(items[b], ports.get((index, f"in {b}"), 0.0), -1)
        left, right = (items[a].column[1], start[1]), (items[b].column[0], end[1])
        middle = (left[0] + right[0]) / 2
        points += _straight(points[-1], start) + _straight(start, left)
        points += [(middle, left[1]), (middle, right[1]), right, *_straight(right, end)]
    return points


def _straight(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the Bézier piece of a straight line, or nothing if it has no length."""
    if abs(end[0] - start[0]) < 1e-9:
        return []
    third = (end[0] - start[0]) / 3
    return [(start[0] + third, start[1]), (end[0] - third, end[1]), end]


def _border(item: Item, offset: float, side: int) -> tuple[float, float]:
    """Return the point where an edge meets the left (-1) or right (1) border of ``item``."""
    half = item.width / 2
    if item.kind == "node":
        half = (max(half * half - offset * offset, 0.0)) ** 0.5
    return (item.x + side * half, item.y + offset)
