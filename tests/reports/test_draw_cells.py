"""Drawings: nothing overlaps, edges avoid foreign boxes, the same cell gives the same bytes."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from PIL import Image

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.architecture.operations import OPERATIONS
from nasbench_snas.architecture.zoo import zoo, zoo_names
from nasbench_snas.errors import ConfigError
from nasbench_snas.reports.draw.cell import (
    cell_layout,
    dot_text,
    draw_cells,
    draw_frequencies,
    draw_genotype,
    genotype_panels,
    operation_label,
    save_figure,
)
from nasbench_snas.reports.draw.evolution import animate_evolution, draw_evolution
from nasbench_snas.reports.draw.layout import Layout

Box = tuple[float, float, float, float]
NAMES = [name for name in OPERATIONS if name != "none"]


def full_cell(seed: int) -> CellGenotype:
    rng = random.Random(seed)
    pairs = [(i, j) for j in range(2, 6) for i in range(j)]
    return CellGenotype(
        2, 4, tuple(Edge(rng.choice(NAMES), i, j) for i, j in pairs), (0, 2, 3, 4, 5)
    )


def sparse_cell(seed: int) -> CellGenotype:
    rng = random.Random(seed)
    edges = [e for e in full_cell(seed).edges if rng.random() < 0.4]
    return CellGenotype(2, 4, tuple(edges), (2, 3, 4, 5))


CASES = {f"{name}-{kind}": cell for name in zoo_names() for kind, cell in zoo(name).cells.items()}
CASES |= {f"full-{seed}": full_cell(seed) for seed in range(2)}
CASES |= {f"sparse-{seed}": sparse_cell(seed) for seed in range(4)}
CASES["no-edges"] = CellGenotype(2, 2, (), (2, 3))
CASES["one-input"] = CellGenotype(
    1, 3, (Edge("conv_3x3", 0, 1), Edge("skip_connect", 1, 3), Edge("conv_1x1", 0, 3)), (3,)
)


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@cache
def layouts() -> list[pytest.param]:  # type: ignore[valid-type]
    found = [pytest.param(cell_layout([cell]), id=name) for name, cell in CASES.items()]
    several = [full_cell(seed) for seed in range(3)]
    return [*found, pytest.param(cell_layout(several, min_frequency=0.3), id="several")]


@pytest.mark.parametrize("layout", layouts())
def test_no_two_boxes_overlap_and_all_lie_on_the_canvas(layout: Layout) -> None:
    boxes = list(layout.boxes.values())
    for i, a in enumerate(boxes):
        assert a[0] >= 0 and a[1] >= 0 and a[2] <= layout.width and a[3] <= layout.height
        assert not any(overlap(a, b) for b in boxes[i + 1 :])


@pytest.mark.parametrize("layout", layouts())
def test_edges_touch_no_box_but_their_own_and_run_left_to_right(layout: Layout) -> None:
    for route in layout.routes:
        codes = [Outline.MOVETO] + [Outline.CURVE4] * (len(route.curve) - 1)
        path = Outline(route.curve, codes)
        points = path.interpolated(1).to_polygons(closed_only=False)[0]
        assert (np.diff(points[:, 0]) >= -1e-6).all()
        for key, (left, top, right, bottom) in layout.boxes.items():
            if key in route.keys:
                continue
            steps = [np.linspace(a, b, 8) for a, b in zip(points, points[1:], strict=False)]
            x, y = np.concatenate(steps).T
            inside = (x > left) & (x < right) & (y > top) & (y < bottom)
            assert not inside.any(), f"{route.keys} runs through {key}"


@pytest.mark.parametrize("layout", layouts())
def test_edges_begin_and_end_on_the_border_of_their_nodes(layout: Layout) -> None:
    for route in layout.routes:
        for key, (x, y), side in (
            (route.keys[0], route.curve[0], 2),
            (route.keys[-1], route.curve[-1], 0),
        ):
            item = layout.items[key]
            assert item.box[1] < y < item.box[3]
            if item.kind == "node":
                assert np.hypot(x - item.x, y - item.y) == pytest.approx(item.width / 2)
            else:
                assert x == pytest.approx(item.box[side])


@pytest.mark.parametrize("name", zoo_names())
def test_every_text_lies_inside_its_box_and_no_two_texts_overlap(name: str) -> None:
    figure = draw_genotype(zoo(name))
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    texts = [t.get_window_extent(renderer) for t in axes.texts]
    for i, a in enumerate(texts):
        assert not any(overlap(a.extents, b.extents) for b in texts[i + 1 :])
    shapes = [p for p in axes.patches if type(p).__name__ in ("Circle", "FancyBboxPatch")]
    labelled = [t for t in axes.texts if t.get_gid()]
    assert len(shapes) == len(labelled)
    for shape, text in zip(shapes, labelled, strict=True):
        outer, inner = shape.get_window_extent(renderer), text.get_window_extent(renderer)
        assert outer.x0 < inner.x0 and inner.x1 < outer.x1
        assert outer.y0 < inner.y0 and inner.y1 < outer.y1


@pytest.mark.parametrize("name", zoo_names())
def test_every_edge_is_drawn_with_its_own_label(name: str) -> None:
    for cell in zoo(name).cells.values():
        layout = cell_layout([cell])
        drawn = sorted(i.label for i in layout.items.values() if i.kind == "operation")
        assert drawn == sorted(operation_label(edge.operation) for edge in cell.edges)
        ends = [(r.keys[0], r.keys[-1]) for r in layout.routes if r.keys[-1] != "out"]
        assert sorted(ends) == sorted((f"n{e.source}", f"n{e.target}") for e in cell.edges)


def test_dropped_nodes_and_unused_inputs_are_grey() -> None:
    layout = cell_layout([zoo("snas-aggressive").cells["reduce"]])
    assert {key for key, item in layout.items.items() if item.grey} == {"n1", "n4", "n5"}
    grey = {route.keys[0] for route in layout.routes if route.grey}
    assert grey == {"n4", "n5"}


def test_line_widths_are_the_frequencies_over_genotypes() -> None:
    edges = [(Edge("skip_connect", 0, 2),), (Edge("skip_connect", 0, 2), Edge("conv_1x1", 1, 2))]
    cells = [CellGenotype(2, 1, chosen, (2,)) for chosen in edges]
    layout = cell_layout(cells)
    weights = {r.keys[0]: r.weight for r in layout.routes if r.keys[-1] == "n2"}
    assert weights == {"n0": 1.0, "n1": 0.5}
    labels = {item.label for item in layout.items.values() if item.kind == "operation"}
    assert labels == {"skip  100 %", "conv 1×1  50 %"}
    rare = cell_layout(cells, min_frequency=0.6)
    assert "n1" not in {route.keys[0] for route in rare.routes}
    figure = draw_frequencies([Genotype({"normal": cell}) for cell in cells])
    widths = {round(p.get_linewidth(), 2) for p in figure.axes[0].patches if not p.get_fill()}
    assert widths == {1.3, 0.8}


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_the_same_cell_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.{kind}" for i in range(2)]
    for path in paths:
        save_figure(draw_genotype(zoo("snas-mild")), path, dpi=80)
    first, second = (path.read_bytes() for path in paths)
    assert first == second and len(first) > 3000
    assert not re.search(rb"20\d\d-\d\d-\d\d|CreationDate", first)


def test_svg_is_well_formed_and_not_large(tmp_path: Path) -> None:
    save_figure(draw_genotype(zoo("nasnet-a")), tmp_path / "cell.svg")
    text = (tmp_path / "cell.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert len(text) < 150_000


def test_an_unknown_format_and_cells_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="svg"):
        save_figure(draw_genotype(zoo("snas-mild")), tmp_path / "cell.sgv")
    with pytest.raises(ConfigError, match="different sizes"):
        genotype_panels([zoo("snas-mild"), zoo("enas")])
    with pytest.raises(ConfigError, match="no genotype"):
        genotype_panels([])


def test_panels_can_stand_side_by_side() -> None:
    panels = genotype_panels([zoo("snas-mild")])
    wide, tall = draw_cells(panels, columns=2), draw_cells(panels)
    assert wide.get_figwidth() > tall.get_figwidth()
    assert wide.get_figheight() < tall.get_figheight()


def test_dot_text_names_every_edge_and_greys_dropped_nodes() -> None:
    cell = zoo("snas-aggressive").cells["reduce"]
    text = dot_text(cell, 'a "cell"')
    for edge in cell.edges:
        assert f'n{edge.source} -> n{edge.target} [label="{edge.operation}"];' in text
    assert text.count("fontcolor=grey") == 3
    assert text.startswith('digraph "a \\"cell\\"" {') and text.endswith("}\n")
    assert text.count("->") == len(cell.edges) + len(cell.concat)


def evolution() -> tuple[np.ndarray, list[str], list[str]]:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), size=(5, 4))
    names = ["normal 0->2", "normal 1->2", "reduce 0->2", "reduce 1->2"]
    return probs, names, ["none", "skip_connect", "sep_conv_3x3"]


def test_the_heat_map_shows_every_probability_at_its_place() -> None:
    probs, names, operations = evolution()
    figure = draw_evolution(probs, names, operations)
    panels = [axes for axes in figure.axes if axes.images and axes.get_title() or axes.images]
    images = [axes.images[0].get_array() for axes in panels][:6]
    assert len(images) == 6
    for row, edges in enumerate(([0, 1], [2, 3])):
        for k in range(3):
            np.testing.assert_array_equal(images[3 * row + k], probs[:, edges, k].T)
    with pytest.raises(ConfigError, match=r"\(epochs, 4 edges, 2 operations\)"):
        draw_evolution(probs, names, operations[:2])


def test_the_animation_has_one_frame_for_each_epoch_or_a_given_number(tmp_path: Path) -> None:
    probs, names, operations = evolution()
    animate_evolution(probs, names, operations, tmp_path / "a.gif")
    assert Image.open(tmp_path / "a.gif").n_frames == 5
    animate_evolution(probs, names, operations, tmp_path / "b.gif", max_frames=3)
    assert Image.open(tmp_path / "b.gif").n_frames == 3
    with pytest.raises(ConfigError, match="gif"):
        animate_evolution(probs, names, operations, tmp_path / "a.mp4")


def test_drawing_leaves_the_global_settings_alone(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure: Figure = draw_genotype(zoo("snas-mild"))
    save_figure(figure, tmp_path / "cell.svg")
    assert dict(matplotlib.rcParams) == before
