"""Random search and random sampling among the rows of Tables 1 and 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_runs import make_run
from test_report_other_tables import make_retraining

from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.tables.model import Table, Value

SELECTED = {
    "schema_version": 3,
    "derive_rule": "best-of-N",
    "n_candidates": 100,
    "n_distinct_candidates": 99,
    "selection_images": 143,
    "selection_acc": 60.0,
    "selection_s": 1.7,
    "reporting_images": 144,
}


def table_of(root: Path, key: str) -> Table:
    return build_report([root], ReportOptions(tables=(key,))).tables[0]


def cell(table: Table, row: str, column: str) -> Value:
    at = [c.key for c in table.columns].index(column)
    return next(r[at] for r in table.rows if r[0].text.startswith(row))


def test_selection_and_improvement_over_random_sampling_are_shown(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, "random", seed, child=50.0, result=SELECTED)
        make_run(tmp_path, "random-sampling", seed, child=38.0 + 4 * seed)
        make_run(tmp_path, "snas", seed, child=60.0)
    table = table_of(tmp_path, "1")
    assert cell(table, "random †", "selected").text == "100 × 143 (1.7 s)"
    assert cell(table, "snas", "selected").text == "nothing"
    assert cell(table, "random †", "relative_improvement").number == pytest.approx(25.0)
    assert cell(table, "snas", "relative_improvement").number == pytest.approx(50.0)
    assert cell(table, "random-sampling", "relative_improvement").number == pytest.approx(0.0)
    assert not any("nasbench run -e random" in note for note in table.notes)


def test_what_is_missing_is_said_and_how_to_get_it(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    notes = " ".join(table_of(tmp_path, "1").notes)
    assert "nasbench run -e random -s" in notes and "nasbench run -e random-sampling -s" in notes


def test_random_of_before_is_random_sampling(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, "random", seed, child=40.0, result={"derive_rule": "argmax"})
        make_run(tmp_path, "snas", seed, child=60.0)
    table = table_of(tmp_path, "1")
    assert any("no random-search row" in note for note in table.notes)
    assert cell(table, "snas", "relative_improvement").number == pytest.approx(50.0)


def test_table_two_compares_retrained_accuracies(tmp_path: Path) -> None:
    for estimator, errors in (("random-sampling", (50.0, 30.0)), ("snas", (25.0, 25.0))):
        for seed, error in enumerate(errors):
            search = make_run(tmp_path, estimator, seed).name
            make_retraining(tmp_path, search, 0, error, parent=search, preset="smoke")
    table = table_of(tmp_path, "2")
    assert cell(table, "snas", "relative_improvement").number == pytest.approx(25.0)
    assert cell(table, "random-sampling", "relative_improvement").number == pytest.approx(0.0)
    heads = [column.head for column in table.columns]
    assert sum("over random sampling (%), retrained" in head for head in heads) == 1
