"""What a report shows of searches in a known space."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_runs import make_run

from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.figures.files import drawings


def truth(regret: float, tau: float | None = 0.4) -> dict:
    at = {"accuracy": 91.0 - regret, "regret": regret, "percentile": 50.0, "space_mean": 80.0}
    ranking = {} if tau is None else {"tau": tau, "spearman": 0.5, "overlap": 0.25}
    return {
        "source": "made up",
        "datasets": {"cifar10": {**at, **ranking}, "cifar100": {**at, **ranking}},
        "sample": 200,
        "images": None if tau is None else 64,
        "epochs": [4],
        "seconds": 1.0,
        "parent_acc": None if tau is None else [float(i) for i in range(200)],
    }


def store(root: Path) -> Path:
    for seed in range(2):
        result = {"truth": truth(1.0 + seed)}
        make_run(root, "snas", seed, space="nasbench201", result=result)
        result = {"truth": truth(9.0, tau=None)}
        make_run(root, "random", seed, space="nasbench201", result=result)
    return root


def test_table_1_and_table_truth_show_regret_and_the_other_data(tmp_path: Path) -> None:
    report = build_report([store(tmp_path)], ReportOptions())
    first = report.tables[0]
    at = {column.key: i for i, column in enumerate(first.columns)}
    rows = {row[0].text.split()[0]: row for row in first.rows}
    assert rows["snas"][at["truth_regret"]].text == "1.00, 2.00"
    assert rows["snas"][at["truth_tau"]].text == "0.40, 0.40"
    assert rows["random"][at["truth_tau"]].text == "not measured"
    assert any("saw digits, not CIFAR-10, CIFAR-100" in note for note in first.notes)
    (table,) = [table for table in report.tables if table.key == "truth"]
    assert len(table.rows) == 4  # two estimators on two data sets
    columns = {column.key: i for i, column in enumerate(table.columns)}
    (row,) = [r for r in table.rows if r[0].text.startswith("snas") and r[3].text == "CIFAR-10"]
    assert row[columns["accuracy"]].number == pytest.approx(89.5)
    assert row[columns["relative_improvement"]].number == pytest.approx(100 * 9.5 / 80)
    assert any("on 64 reporting images" in note for note in table.notes)


def test_without_truth_nothing_is_said(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    report = build_report([tmp_path], ReportOptions())
    assert not any(table.key == "truth" for table in report.tables)
    assert not any(column.key.startswith("truth") for column in report.tables[0].columns)


def test_figures_of_regret_and_ranking(tmp_path: Path) -> None:
    store(tmp_path)
    for folder in tmp_path.iterdir():
        file = folder / "events.jsonl"
        line = '"truth": {"regret": {"cifar10": 3.0}}, "kind": "epoch"'
        file.write_text(file.read_text().replace('"kind": "epoch"', line))
    report = build_report([tmp_path], ReportOptions())
    made = {d.kind: d for d in drawings(report.groups, report.rows, ["regret", "truth"])}
    assert set(made) == {"regret", "truth"}
    lines = made["regret"].figure.axes[0].lines
    assert all(y == 3.0 for line in lines for y in line.get_ydata())
    (axis,) = made["truth"].figure.axes  # random measured no ranking
    points = axis.collections[0].get_offsets()
    assert len(points) == 200 and (points[:, 1] == range(200)).all()
    assert points[0, 0] < 20 and points[-1, 0] > 90  # known accuracies rise along the sample


def test_the_figure_of_regret_names_failed_runs(tmp_path: Path) -> None:
    store(tmp_path)
    make_run(tmp_path, "snas", 2, space="nasbench201", status="failed", reason="nan")
    report = build_report([tmp_path], ReportOptions())
    (made,) = drawings(report.groups, report.rows, ["regret"])
    labels = made.figure.axes[0].get_legend_handles_labels()[1]
    assert "snas (1/3 failed)" in labels and len(made.runs) == 5


def test_a_space_whose_plug_in_is_missing_keeps_its_table_and_loses_one_figure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_run(tmp_path, "snas", 0, space="of-a-stranger", result={"truth": truth(1.0)})
    report = build_report([tmp_path], ReportOptions(tables=("truth",)))
    assert len(report.tables) == 1
    made = drawings(report.groups, report.rows, ["regret", "truth"])
    assert [drawing.kind for drawing in made] == ["regret"]
    assert "no figure truth" in caplog.text and "of-a-stranger" in caplog.text


def test_every_cell_of_the_table_truth_has_the_confidence_that_was_asked_for(
    tmp_path: Path,
) -> None:
    for seed in range(7):
        result = {"truth": truth(1.0 + seed)}
        make_run(tmp_path, "snas", seed, space="nasbench201", result=result)
    options = ReportOptions(tables=("truth",), confidence=0.9)
    (table,) = build_report([tmp_path], options).tables
    details = [value.detail for value in table.rows[0] if " CI " in value.detail]
    assert len(details) == 7 and all("90 % CI" in detail for detail in details)
