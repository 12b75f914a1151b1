"""Figures as they are printed: 8 pt type, ends of axes, negative values, names of edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from report_runs import make_run

from nasbench_snas.reports.figures.edges import edge_labels
from nasbench_snas.reports.figures.files import KINDS, drawings
from nasbench_snas.reports.figures.gradients import (
    bias_variance,
    edge_heat_map,
    mse_against_compute,
    over_training,
    temperature_sweep,
)
from nasbench_snas.reports.figures.landscape import draw
from nasbench_snas.reports.figures.style import (
    PRINT_WIDTH,
    SIZE,
    log_axis,
    not_positive,
    panels,
    percent_axis,
)
from nasbench_snas.reports.tables.selection import select
from nasbench_snas.runs.results import load_rows
from nasbench_snas.spaces.snas_unit import SnasUnit

NAMES = ("snas", "gdas", "darts", "reinforce", "rloo", "enas", "local-expectation")
STUDY = (bias_variance, temperature_sweep, over_training, edge_heat_map, mse_against_compute)


def interval(estimate: float) -> dict[str, float]:
    return {"estimate": estimate, "low": estimate / 2, "high": estimate * 2}


def study(space: str = "snas-unit", edges: int = 6) -> dict[str, Any]:
    """Return a made-up study; SNAS at the temperature 0.1 has a negative bias² and MSE."""
    cells = []
    for point in ("init", "late"):
        for rank, name in enumerate(NAMES):
            for temperature in (0.1, 0.5, 1.0) if name in ("snas", "gdas") else (None,):
                lost = name == "snas" and temperature == 0.1
                bias = -0.02 if lost else 0.1 / (rank + 1)
                a = {
                    "relative_bias_sq": interval(bias),
                    "relative_trace": interval(0.0 if name == "darts" else 3.0 * (rank + 1)),
                    "excluded_relative_bias": None if lost else 0.5,
                }
                label = name if temperature is None else f"{name} λ={temperature:g}"
                cells.append(
                    {
                        "point": point,
                        "estimator": name,
                        "label": label,
                        "temperature": temperature,
                        "alpha": {"all": a} | {f"edge {e}": a for e in range(edges)},
                        "cost": {"equivalents": 1.0 + rank},
                        "budget": {"relative_mse": -0.01 if lost else 0.3, "cosine": 0.9},
                    }
                )
    points = [{"point": "init", "fraction": 0.0}, {"point": "late", "fraction": 1.0}]
    return {"cells": cells, "points": points, "settings": {"space": {"name": space}}}


def landscape() -> dict[str, Any]:
    part = {"mean": 1.0, "q25": 0.5, "q75": 2.0}
    curve = [{"budget": b, "recommended": part} for b in (10, 100)]
    kinds = (("reinforce", "score", False), ("snas", "pathwise", True), ("nes", "evolution", False))
    rows = [
        {"estimator": name, "family": family, "relaxed": relaxed, "curve": curve}
        for name, family, relaxed in (*kinds, ("exact", "enumeration", False))
    ]
    return {"methods": rows}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    root = tmp_path_factory.mktemp("store")
    for seed in range(6):
        for name in ("snas", "random"):
            accuracy = (99.0 if name == "snas" else 90.0) + seed / 6
            make_run(root, name, seed, space="snas-unit", search=accuracy, child=accuracy)
    rows = load_rows(root)
    kinds = [kind for kind in KINDS if kind != "cells"]
    made = {d.name: d.figure for d in drawings(select(rows)[0], rows, kinds)}
    made |= {draw_one.__name__: draw_one(study()) for draw_one in STUDY}  # type: ignore[misc]
    made |= {"landscape": draw(landscape())}
    for figure in made.values():
        figure.draw_without_rendering()
    return made


def shown_texts(figure: Figure) -> list[Text]:
    """Return texts that can be seen; the figure has been drawn."""
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def test_all_type_is_8_pt_at_the_width_of_print(figures: dict[str, Figure]) -> None:
    assert len(figures) > 8
    for name, figure in figures.items():
        assert figure.get_figwidth() <= PRINT_WIDTH, name
        small = [t.get_text() for t in shown_texts(figure) if t.get_fontsize() < SIZE - 0.01]
        assert all("{" in text or "^" in text for text in small), (name, small)


def test_no_labels_overlap(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        for axis in figure.axes:
            for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
                low, high = 0.0, 1.0
                boxes = [
                    t.get_window_extent()
                    for t in labels
                    if t.get_text() and t.get_rotation() % 90 == 0 and inside(axis, t, low, high)
                ]
                for i, box in enumerate(boxes):
                    for other in boxes[i + 1 :]:
                        assert not box.padded(-0.5).overlaps(other.padded(-0.5)), (name, labels)
        legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
        for box in (legend.get_window_extent() for legend in legends if legend):
            assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, f"{name}: the legend is cut"


def test_a_legend_of_many_rows_leaves_the_panels_their_height() -> None:
    found = study()
    for point in ("init", "late"):
        first = next(cell for cell in found["cells"] if cell["label"] == "rloo")
        more = {"point": point, "temperature": None}
        found["cells"] += [
            first | more | {"estimator": f"x{i}", "label": f"x{i}"} for i in range(30)
        ]
    few, many = bias_variance(study()), bias_variance(found)
    assert few is not None and many is not None
    for figure in (few, many):
        figure.draw_without_rendering()
    heights = [f.axes[0].get_window_extent().height for f in (few, many)]
    assert heights[1] == pytest.approx(heights[0], rel=0.2)


def inside(axis: Any, label: Text, low: float, high: float) -> bool:
    """Whether a tick's label is of a tick within the axis."""
    x, y = axis.transAxes.inverted().transform(axis.transData.transform(label.get_position()))
    return any(low - 1e-6 <= v <= high + 1e-6 for v in (x, y))


@pytest.mark.parametrize("name", ["figure3", "cost-error"])
def test_axes_of_percentages_end_at_0_and_100(figures: dict[str, Figure], name: str) -> None:
    found = [figure for drawn, figure in figures.items() if drawn.startswith(name)]
    assert found, sorted(figures)
    for axis in (axis for figure in found for axis in figure.axes):
        low, high = axis.get_ylim()
        assert 0 <= low < high <= 100
        near = 100 - high if name == "figure3" else low  # accuracies of 99 %, errors of 0.2 %
        assert near == 0, (name, low, high)


def test_epochs_are_whole(figures: dict[str, Figure]) -> None:
    axes = [axis for figure in figures.values() for axis in figure.axes]
    found = [axis.get_xticks() for axis in axes if axis.get_xlabel() == "epoch"]
    assert len(found) > 1
    for ticks in found:
        assert np.array_equal(ticks, np.round(ticks)), ticks


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ((90.0, 98.1), (90.0, 100.0)),
        ((88.0, 96.0), (88.0, 96.0)),  # half of the span from 100
        ((3.0, 11.0), (3.0, 11.0)),
        ((1.9, 11.0), (0.0, 11.0)),
        ((-5.0, 105.0), (0.0, 100.0)),
        ((40.0, 60.0), (40.0, 60.0)),
        ((99.5, 103.0), (99.5, 100.0)),
    ],
)
def test_an_axis_of_percentages_reaches_the_end_that_it_comes_near(
    values: tuple[float, float], ends: tuple[float, float]
) -> None:
    _, (axis,) = panels(1)
    axis.set_ylim(*values)
    axis.set_xlim(*values)
    percent_axis(axis)
    assert axis.get_ylim() == ends and axis.get_xlim() == values
    percent_axis(axis, horizontal=True)
    assert axis.get_xlim() == ends


def triangles(figure: Figure, axis: int) -> list[float]:
    """Return where hollow triangles stand at the lower end of an axis."""
    lines = [line for line in figure.axes[axis].lines if line.get_marker() == "v"]
    low = [line for line in lines if len(line.get_xdata()) and set(line.get_ydata()) == {0.025}]
    return [float(x) for line in low for x in np.asarray(line.get_xdata())]


def test_a_negative_estimate_is_shown_on_a_log_axis_and_not_dropped(
    figures: dict[str, Figure],
) -> None:
    assert triangles(figures["temperature_sweep"], 0) == [0.1]
    assert triangles(figures["over_training"], 1) == [0.0, 1.0]
    assert triangles(figures["bias_variance"], 0) == [3.0]  # no bound either: at its variance
    line = next(x for x in figures["temperature_sweep"].axes[0].lines if x.get_label() == "snas")
    assert np.isnan(np.asarray(line.get_ydata(), dtype=float)).tolist() == [True, False, False]


def test_the_mark_of_a_negative_value_moves_no_axis() -> None:
    figure, (axis,) = panels(1)
    axis.plot([1, 2], [3, 4])
    log_axis(axis)
    assert axis.get_ylim() == (1, 10)
    not_positive(axis, [1.5], "red")
    assert axis.get_ylim() == (1, 10)
    assert figure.get_figwidth() <= PRINT_WIDTH


def test_edges_are_named_by_their_nodes(figures: dict[str, Figure]) -> None:
    axis = figures["edge_heat_map"].axes[0]
    names = [label.get_text() for label in axis.get_xticklabels()]
    assert names == ["0→1", "0→2", "1→2", "0→3", "1→3", "2→3"]
    assert edge_labels(study("darts-cnn"), 28)[0] == "normal 0→2"
    assert edge_labels(study("not-there"), 2) == ["edge 0", "edge 1"]
    assert edge_labels(study(), 5)[0] == "edge 0"  # another space by now


def test_a_space_is_known_whether_its_operations_come_from_a_file_or_not() -> None:
    small = SnasUnit(channels=4, operations=["none", "skip_connect", "conv_3x3"])  # type: ignore[arg-type]
    assert small.known() is not None
    assert SnasUnit(channels=4, operations=("none", "skip_connect")).known() is None
