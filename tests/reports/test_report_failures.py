"""Failed runs count: in every table and format, with their ids, at the accuracy of guessing."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report_runs import make_run
from test_report_other_tables import make_retraining, make_study

from nasbench_snas.cli.main import nasbench
from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.figures.files import drawings
from nasbench_snas.reports.render.latex import latex
from nasbench_snas.reports.render.text import csv_text, markdown
from nasbench_snas.reports.tables.model import Table, Value, difference


def tables(root: Path, key: str, **options: Any) -> list[Table]:
    return build_report([root], ReportOptions(tables=(key,), **options)).tables


def cell(table: Table, row: str, column: str) -> Value:
    keys = [c.key for c in table.columns]
    return next(r[keys.index(column)] for r in table.rows if row in r[0].text)


def fail(root: Path, estimator: str, seed: int, **settings: Any) -> str:
    folder = make_run(root, estimator, seed, status="diverged", reason="loss is nan", **settings)
    return folder.name


def fail_retraining(root: Path, name: str, seed: int, **settings: Any) -> str:
    made = make_retraining(root, name, seed, 3.0, **settings)
    folder = root / "_retrain" / made
    (folder / "result.json").unlink()
    (folder / "status.json").write_text('{"status": "diverged", "reason": "loss is nan"}')
    return made


def test_an_estimator_whose_runs_all_failed_has_a_row_in_every_table_of_searches(
    tmp_path: Path,
) -> None:
    for seed in range(2):
        make_run(tmp_path, "snas", seed, result={"test_regret": 1.0})
        make_run(tmp_path, "snas", seed, constraint="mild")
        fail(tmp_path, "gdas", seed)
    make_study(tmp_path)
    for key in ("1", "constraints", "timing", "tabular", "estimators"):
        for table in [table for table in tables(tmp_path, key) if table.runs]:
            if "difference" in table.title or "mild" in table.subject:
                continue
            assert any("gdas" in row[0].text for row in table.rows), table.title
    main = tables(tmp_path, "1")[0]
    assert cell(main, "gdas", "failed").text == "2/2"
    assert cell(main, "gdas", "n").text == "0 of 2"


def test_failed_searches_count_at_chance_and_are_named_in_every_format(tmp_path: Path) -> None:
    for seed in range(7):
        make_run(tmp_path, "snas", seed, search=90.0, child=90.0)
    ids = [fail(tmp_path, "snas", seed) for seed in range(7, 10)]
    for table in [table for table in tables(tmp_path, "1") if table.runs]:
        for written in (markdown([table]).replace("\\", ""), latex(table).replace("\\", "")):
            assert all(run in written.replace("-{}-", "--") for run in ids), table.title
        rows = list(csv.DictReader(io.StringIO(csv_text(table))))
        assert rows[0]["failed_runs"].split() == ids or table.name.startswith("table1-diff")
    child = cell(tables(tmp_path, "1")[0], "snas", "child_valid_acc")
    assert child.numbers["iqm"] == pytest.approx((10 + 5 * 90) / 6)
    assert "3/10 failed" in child.text and child.numbers["failed"] == 3
    words = ["--root", str(tmp_path), "report", "--format", "html", "--figure", "none"]
    result = CliRunner().invoke(nasbench, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    written = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(f"{run} (loss is nan)" in written for run in ids)


def test_failed_runs_stay_in_paired_differences(tmp_path: Path) -> None:
    for seed in range(8):
        make_run(tmp_path, "random", seed, search=40.0, child=40.0 + seed)
        if seed < 5:
            make_run(tmp_path, "snas", seed, search=50.0, child=60.0 + seed)
        else:
            fail(tmp_path, "snas", seed)
    (table,) = [t for t in tables(tmp_path, "1") if "differences" in t.title]
    assert cell(table, "snas", "n").number == 8
    # five differences of 20, and 10 - 45, 10 - 46, 10 - 47
    assert cell(table, "snas", "difference").number == 20
    assert cell(table, "snas", "interval").numbers["low"] == 10 - 47
    assert cell(table, "snas", "p").number > 0.5
    assert cell(table, "snas", "lost").text == "3/8"


@pytest.mark.parametrize("table", ["2", "3"])
def test_failed_retrainings_have_a_row_and_count_with_the_error_of_guessing(
    tmp_path: Path, table: str
) -> None:
    more: dict[str, Any] = {"preset": "imagenet"} if table == "3" else {}
    made = {"num_classes": 10, "resolution": 32}
    searches = [make_run(tmp_path, "snas", s, preset="paper").name for s in range(6)]
    for name in searches[:4]:
        make_retraining(tmp_path, name, 0, 4.0, parent=name, **more, **made)
    ids = [fail_retraining(tmp_path, name, 0, parent=name, **more) for name in searches[4:]]
    (found,) = tables(tmp_path, table)
    error = cell(found, "snas", "test_err_top1")
    assert error.numbers["failed"] == 2 and error.numbers["iqm"] == pytest.approx(
        (4 + 4 + 4 + 90) / 4
    )
    assert cell(found, "snas", "n").text == "6 × 1, 2/6 failed"
    assert all(run in markdown([found]).replace("\\", "") for run in ids)


def test_a_genotype_whose_retrainings_all_failed_has_a_row(tmp_path: Path) -> None:
    run = fail_retraining(tmp_path, "snas-mild", 0)
    (table,) = tables(tmp_path, "2")
    assert cell(table, "snas-mild", "n").text == "1 × 1, 1/1 failed"
    assert run in markdown([table]).replace("\\", "")


def test_several_retrainings_of_one_cell_are_one_replicate(tmp_path: Path) -> None:
    for seed in range(6):
        make_retraining(tmp_path, "snas-mild", seed, 3.0 + 0.1 * seed)
    (table,) = tables(tmp_path, "2")
    error = cell(table, "snas-mild", "test_err_top1")
    assert error.numbers["n"] == 1 and error.numbers["n_retrain"] == 6
    assert error.number == pytest.approx(3.25) and "1 cell, 6 retrainings" in error.text
    assert error.numbers["ci_low"] is None


def test_searches_that_all_failed_at_one_level_do_not_crash_tables_and_figures(
    tmp_path: Path,
) -> None:
    for seed in range(2):
        make_run(tmp_path, "snas", seed)
        fail(tmp_path, "snas", seed, constraint="mild")
    options = ReportOptions(tables=("all",))
    made = build_report([tmp_path], options)
    (found,) = [table for table in made.tables if table.key == "constraints"]
    assert [row[2].text for row in found.rows] == ["2", "0 of 2"]
    (figure,) = drawings(made.groups, made.rows, ("constraints",))
    assert "Failed runs (2)" in figure.caption
    assert len(drawings(made.groups, made.rows, ("3", "4", "gap", "pareto"))) >= 6


def test_decimals_of_a_difference_from_the_paper_are_those_of_the_cell() -> None:
    measured = Value("70 ± 16 (5)", 70.0, decimals=0)
    assert difference(measured, 54.66, [50.0, 90.0], ()).text == "+15, range [-5, +35]"
    assert difference(Value("70.12", 70.12), 54.66, [], ()).text == "+15.46"


def test_the_spread_of_one_cells_retrainings_has_the_decimals_that_it_carries(
    tmp_path: Path,
) -> None:
    for seed, error in enumerate((10.0, 20.0, 30.0, 20.0)):
        make_retraining(tmp_path, "snas-mild", seed, error)
    (table,) = tables(tmp_path, "2")
    text = cell(table, "snas-mild", "test_err_top1").text
    assert text == "20 (1 cell, 4 retrainings, their std 8)"
