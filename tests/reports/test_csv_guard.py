"""CSV files: no cell is taken for a formula, and what we wrote is what we read."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from nasbench_snas.errors import DataError
from nasbench_snas.outside import csv_line
from nasbench_snas.reports.render.text import csv_text
from nasbench_snas.reports.tables.gradients import rows_csv
from nasbench_snas.reports.tables.model import Column, Table, Value
from nasbench_snas.runs.results import export_results, read_exported
from nasbench_snas.runs.rows import complete_row

FORMULAS = [
    '=HYPERLINK("http://localhost","x")',
    "+1+cmd|' /C x'!A0",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''+x",
    '=a,b\n"c"',
]


def is_safe(cell: str) -> bool:
    """Whether a spreadsheet takes a cell for a text or a number."""
    try:
        float(cell)
    except ValueError:
        return not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return True


def cells(text: str) -> list[str]:
    return [cell for line in csv.reader(io.StringIO(text, newline="")) for cell in line]


def test_results_are_guarded_and_read_back_unchanged(tmp_path: Path) -> None:
    rows = [
        complete_row({"run_id": text, "stage": "search", "reason": text, "seed": 0, "params": -2.5})
        for text in [*FORMULAS, "snas"]
    ]
    rows.append(complete_row({"run_id": "r", "truncated": False, "wall_s": float(2**60) + 0.1}))
    file = tmp_path / "results.csv"
    export_results(rows, file)
    assert all(is_safe(cell) for cell in cells(file.read_bytes().decode()))
    frame = read_exported(file)
    assert frame["run_id"].tolist() == [row["run_id"] for row in rows]
    assert frame["reason"].tolist()[: len(FORMULAS)] == FORMULAS
    assert frame["params"].tolist()[0] == -2.5
    assert frame["wall_s"].tolist()[-1] == float(2**60)
    export_results(rows, tmp_path / "again.parquet")
    again = read_exported(tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(frame, again, check_dtype=False)


def test_what_is_no_table_of_results_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_exported(tmp_path / "missing.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no table of results"):
        read_exported(tmp_path / "other.csv")


def test_every_text_of_a_report_table_is_guarded() -> None:
    for text in FORMULAS:
        value = Value(text, numbers={"=1+1": 2.0, "b": -3.0}, runs=(text,), failed=(text,))
        table = Table("k", "title", (Column(text, "head"),), ((value,),), subject=text)
        assert all(is_safe(cell) for cell in cells(csv_text(table))), text


def test_rows_of_a_study_are_guarded() -> None:
    written = rows_csv({"rows": [{"label": text, "bias": -0.5} for text in FORMULAS]})
    assert all(is_safe(cell) for cell in cells(written))


def test_a_table_of_architectures_is_guarded_and_read_back(tmp_path: Path) -> None:
    from nasbench_snas.truth.table import Table as Truth

    row = {"architecture": "01", "seed": 0, "setting": "=1+1", "valid_acc": 50.0, "test_acc": 40.0}
    file = tmp_path / "table.csv"
    file.write_bytes((csv_line(row) + csv_line(row.values())).encode())
    assert all(is_safe(cell) for cell in cells(file.read_bytes().decode()))
    assert Truth.read(file).setting == "=1+1"


def test_a_report_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    from report_runs import make_run

    from nasbench_snas.reports.build import ReportOptions, build_report
    from nasbench_snas.reports.write import write_report

    make_run(tmp_path / "runs", seed=0)
    left = tmp_path / "out" / "tables" / f".table2.md.{2**22 + 1}.tmp"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    write_report(
        build_report([tmp_path / "runs"], ReportOptions(formats=("csv",))), tmp_path / "out"
    )
    assert not left.exists()
