"""Table and figure of Pareto fronts over the resource term, against numbers worked out by hand."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from report_runs import make_run

from nasbench_snas.reports.build import Report, ReportOptions, build_report
from nasbench_snas.reports.figures.files import drawings
from nasbench_snas.reports.tables.model import Table

# eta: (child parameters in thousands, error) of three seeds
SNAS = {0.0: [(8, 10), (8, 12), (10, 10)], 0.5: [(4, 20), (5, 20), (4, 30)], 2.0: [(2, 50)] * 3}
DARTS = {0.0: [(9, 20)] * 3, 0.5: [(9, 30), (10, 30), (10, 40)]}


def runs(root: Path) -> None:
    for estimator, settings in (("snas", SNAS), ("darts", DARTS)):
        for eta, points in settings.items():
            for seed, (cost, error) in enumerate(points):
                make_run(
                    root,
                    estimator,
                    seed,
                    child=100.0 - error,
                    settings=(f"cost.eta={eta}",),
                    result={"params": 1e3 * cost, "macs": 1e6 * cost},
                )


def made(root: Path) -> tuple[Report, Table]:
    report = build_report([root], ReportOptions(tables=("pareto",)))
    (table,) = report.tables
    return report, table


def numbers(table: Table, estimator: str, column: str) -> list[object]:
    place = [c.key for c in table.columns].index(column)
    return [row[place] for row in table.rows if row[0].text.startswith(estimator)]


def brute(points: list[tuple[int, int]]) -> float:
    """The share of the cells of the box of 10 by 90 that a seed's points dominate."""
    cells = product(range(10), range(90))
    return sum(any(x <= i and y <= j for x, y in points) for i, j in cells) / 900


def test_hypervolumes_are_those_of_counting_cells(tmp_path: Path) -> None:
    runs(tmp_path)
    _, table = made(tmp_path)
    for estimator, settings in (("snas", SNAS), ("darts", DARTS)):
        seeds = [[points[seed] for points in settings.values()] for seed in range(3)]
        volumes = [brute(points) for points in seeds]
        values = numbers(table, estimator, "hypervolume")
        assert len(values) == 2  # parameters and multiply-adds
        for value in values:
            assert value.number == pytest.approx(sum(volumes) / 3, abs=1e-12)  # type: ignore[attr-defined]
        for value in numbers(table, estimator, "interval"):
            low, high = value.numbers["low"], value.numbers["high"]  # type: ignore[attr-defined]
            assert min(volumes) <= low <= sum(volumes) / 3 <= high <= max(volumes)
        assert {v.text for v in numbers(table, estimator, "n")} == {"3"}  # type: ignore[attr-defined]
        assert {v.text for v in numbers(table, estimator, "reference")} == {"10, 90"}  # type: ignore[attr-defined]


def test_the_front_names_its_settings_and_leaves_out_what_is_dominated(tmp_path: Path) -> None:
    runs(tmp_path)
    _, table = made(tmp_path)
    (snas, _), (darts, _) = (numbers(table, e, "front") for e in ("snas", "darts"))
    assert snas.text == (  # type: ignore[attr-defined]
        "eta 2 times the expected cost; eta 0.5 times the expected cost; no resource term"
    )
    assert darts.text == "no resource term"  # type: ignore[attr-defined]


def test_a_failed_seed_adds_no_point_and_one_setting_makes_no_table(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, seed=seed, child=80.0, result={"params": 5e3, "macs": 1e6})
    report = build_report([tmp_path], ReportOptions(tables=("pareto",)))
    assert not report.tables
    make_run(tmp_path, seed=0, settings=("cost.eta=1.0",), result={"params": 1e4, "macs": 2e6})
    make_run(tmp_path, seed=1, settings=("cost.eta=1.0",), status="diverged", reason="nan")
    _, table = made(tmp_path)
    (first, _) = numbers(table, "snas", "hypervolume")
    # both seeds have (5, 20) of the box of 10 by 90; the other points add nothing or do not exist
    assert first.number == pytest.approx(0.5 * 70 / 90)  # type: ignore[attr-defined]
    assert {v.text for v in numbers(table, "snas", "n")} == {"2"}  # type: ignore[attr-defined]


def test_the_figure_draws_every_seed_and_the_front_of_the_means(tmp_path: Path) -> None:
    runs(tmp_path)
    report, _ = made(tmp_path)
    shown = [
        d for d in drawings(report.groups, report.rows, ("pareto",)) if d.title == "Pareto fronts"
    ]
    (drawing,) = shown
    axis = drawing.figure.axes[0]
    steps = [line for line in axis.lines if len(line.get_xdata()) > 2]
    (front,) = steps
    centres = {eta: [sum(v) / 3 for v in zip(*p, strict=True)] for eta, p in SNAS.items()}
    wanted = sorted(centres.values())
    assert front.get_xydata()[0].tolist() == pytest.approx(wanted[0])
    dots = sum(len(c.get_offsets()) for c in axis.collections)
    assert dots == 3 * 3 + 2 * 3 + 3 + 2
    assert len(drawing.runs) == 15
