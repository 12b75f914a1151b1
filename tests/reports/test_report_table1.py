"""Table 1: what it says, what it refuses to mix, what stands behind its numbers."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from report_runs import make_run

from nasbench_snas.errors import DataError, ReportRefusedError
from nasbench_snas.reports.build import Report, ReportOptions, build_report
from nasbench_snas.reports.render.text import csv_text, markdown
from nasbench_snas.reports.tables.model import DELTA, MEASURED, PUBLISHED, Column, Table, Value

BILEVEL = ("search.level=bilevel",)


def report(root: Path, **options: object) -> Report:
    return build_report([root], ReportOptions(tables=("1",), **options))  # type: ignore[arg-type]


def cell(table: Table, row: str, column: str) -> Value:
    keys = [c.key for c in table.columns]
    return next(r[keys.index(column)] for r in table.rows if r[0].text.startswith(row))


def three_estimators(root: Path, seeds: int = 7) -> None:
    generator = np.random.default_rng(0)
    for seed in range(seeds):
        noise = float(generator.normal())
        make_run(root, "snas", seed, search=70 + noise, child=69 + 1.1 * noise)
        make_run(root, "darts", seed, search=80 + noise, child=20 + 1.3 * noise, settings=BILEVEL)
        make_run(root, "random", seed, search=30 + noise, child=29.5 + noise)


def test_table_one_has_a_row_an_estimator_and_published_rows_stand_apart_and_last(
    tmp_path: Path,
) -> None:
    three_estimators(tmp_path)
    tables = report(tmp_path).tables
    table, last = tables[0], tables[-1]
    assert [row[0].text for row in table.rows] == ["darts †", "random †", "snas †"]
    assert PUBLISHED not in {column.group for column in table.columns}
    assert last.name == "table1-published" and not last.runs
    assert [row[0].text[:5] for row in last.rows] == ["DARTS", "SNAS "]
    assert not [t for t in report(tmp_path, published=False).tables if not t.runs]
    assert cell(table, "darts", "level").text == "bilevel"
    assert cell(table, "snas", "n").number == 7


def test_cells_hold_mean_standard_deviation_interval_and_runs(tmp_path: Path) -> None:
    values = [60.0, 62.0, 61.0, 65.0, 59.0, 61.5]
    for seed, value in enumerate(values):
        make_run(tmp_path, "snas", seed, search=value, child=value - 3)
    value = cell(report(tmp_path).tables[0], "snas", "search_valid_acc")
    assert value.number == pytest.approx(np.mean(values))
    assert value.numbers["std"] == pytest.approx(np.std(values, ddof=1))
    # the smallest and the largest of six enclose the median in 1 - 2 / 64 of all samples
    assert (value.numbers["ci_low"], value.numbers["ci_high"]) == (59.0, 65.0)
    assert "± 2.1 (6)" in value.text and "median's 95 % CI [59.0, 65.0]" in value.text
    assert len(value.runs) == 6
    assert all(run in value.title for run in value.runs)


def test_published_measured_and_difference_share_no_column(tmp_path: Path) -> None:
    kind = {"preset": "paper", "constraint": "mild"}
    for seed in range(2):
        make_run(tmp_path, "snas", seed, search=88.0, child=90.0, **kind)
    table = report(tmp_path).tables[0]
    groups = [column.group for column in table.columns if column.group]
    assert list(dict.fromkeys(groups)) == [MEASURED, DELTA, PUBLISHED]
    assert not table.provisional and "†" not in table.rows[0][0].text
    assert cell(table, "snas", "published_search").text == "88.54"
    assert cell(table, "snas", "delta_search").number == pytest.approx(88.0 - 88.54)
    assert cell(table, "snas", "delta_gap").number == pytest.approx(-2.0 - (88.54 - 90.67))
    with pytest.raises(Exception, match="repeat"):
        Table(
            "1",
            "t",
            (Column("a", "", MEASURED), Column("b", "", PUBLISHED), Column("c", "", MEASURED)),
            (),
        )


def test_no_difference_from_the_paper_for_other_settings(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", preset="paper", constraint="mild", settings=("search.epochs=3",))
    table = report(tmp_path).tables[0]
    assert DELTA not in {column.group for column in table.columns}
    assert any("search.epochs=3 (preset: 150)" in note for note in table.notes)


def test_settings_presets_spaces_constraints_and_truncated_runs_stand_apart(
    tmp_path: Path,
) -> None:
    make_run(tmp_path, "snas", 0)
    make_run(tmp_path, "snas", 1, preset="paper")
    make_run(tmp_path, "snas", 2, space="snas-unit")
    make_run(tmp_path, "snas", 3, constraint="mild")
    make_run(tmp_path, "snas", 4, settings=("search.batch_size=16",))
    make_run(tmp_path, "snas", 5, status="truncated")
    plain = report(tmp_path)
    assert len(plain.groups) == 5 and all(len(g.runs) == 1 for g in plain.groups)
    assert [e.run_id for e in plain.exclusions if "stopped early" in e.why]
    shown = report(tmp_path, include_truncated=True)
    assert len(shown.groups) == 6
    with pytest.raises(ReportRefusedError) as caught:
        report(tmp_path, strict=True)
    assert caught.value.exit_code == 5


def test_strict_refuses_mixed_devices_and_passes_equal_ones(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, device="NVIDIA A", gpu_days=0.5)
    assert report(tmp_path, strict=True).groups
    make_run(tmp_path, "snas", 1, device="NVIDIA B", gpu_days=0.25)
    with pytest.raises(ReportRefusedError, match="devices"):
        report(tmp_path, strict=True)
    heads = [column.head for column in report(tmp_path).tables[0].columns]
    assert "Search cost, GPU-days (NVIDIA A)" in heads
    assert "Search cost, GPU-days (NVIDIA B)" in heads


def test_failed_runs_are_counted_and_never_averaged_away(tmp_path: Path) -> None:
    for seed in range(4):
        make_run(tmp_path, "snas", seed, search=60.0)
    make_run(tmp_path, "snas", 4, status="diverged", reason="search_loss became nan")
    made = report(tmp_path)
    failed = cell(made.tables[0], "snas", "failed")
    assert failed.text == "1/5" and "nan" in failed.title
    assert cell(made.tables[0], "snas", "search_valid_acc").numbers["failed"] == 1
    assert any("counted as failed" in e.why for e in made.exclusions)


def test_nothing_is_bold_and_no_p_value_below_six_seeds(tmp_path: Path) -> None:
    three_estimators(tmp_path, seeds=5)
    tables = {table.name.split("-smoke")[0]: table for table in report(tmp_path).tables}
    assert not any(v.bold for row in tables["table1"].rows for v in row)
    assert any("share 5 seeds, fewer than 6" in note for note in tables["table1"].notes)
    differences = tables["table1-differences"]
    for row in ("snas", "darts"):
        assert cell(differences, row, "p").text == cell(differences, row, "interval").text == "—"
    assert any("Tested here: 0 of 2 rows" in note for note in differences.notes)


def test_the_best_row_is_bold_from_six_seeds_and_differences_are_paired(tmp_path: Path) -> None:
    three_estimators(tmp_path, seeds=8)
    tables = {table.name.split("-smoke")[0]: table for table in report(tmp_path).tables}
    bold = [row[0].text for row in tables["table1"].rows if any(v.bold for v in row)]
    assert bold == ["snas †"]
    differences = tables["table1-differences"]
    assert "minus random" in differences.columns[0].head
    assert cell(differences, "snas", "n").number == 8
    assert cell(differences, "snas", "p").number == pytest.approx(2 / 256 * 2)


def test_bold_says_what_it_could_have_told_and_which_rows_are_worse(tmp_path: Path) -> None:
    three_estimators(tmp_path, seeds=8)
    notes = report(tmp_path).tables[0].notes
    (told,) = [note for note in notes if note.startswith("Told from the best row")]
    assert "snas" in told and "darts (p " in told and "random (p " in told
    (design,) = [note for note in notes if note.startswith("Bold: 3 rows on 8 shared seeds")]
    assert "points worse" in design and "probability 0.8" in design


def test_rows_that_scatter_too_much_to_be_told_apart_are_not_bold(tmp_path: Path) -> None:
    children = np.random.default_rng(0).normal(60, 8, size=(2, 7))
    for seed in range(7):
        for name, row in zip(("snas", "random"), children, strict=True):
            make_run(tmp_path, name, seed, search=60.0, child=float(row[seed]))
    table = report(tmp_path).tables[0]
    assert not any(value.bold for row in table.rows for value in row)
    assert any("not the 5 that bold stands for" in note for note in table.notes)


def test_a_row_with_failed_runs_takes_part_in_bold(tmp_path: Path) -> None:
    for seed in range(8):
        make_run(tmp_path, "random", seed, search=40.0, child=40.0 + 0.1 * seed)
        status = {} if seed < 7 else {"status": "diverged", "reason": "nan"}
        make_run(tmp_path, "snas", seed, search=60.0, child=60.0 + 0.1 * seed, **status)
    table = report(tmp_path).tables[0]
    # seven seeds of eight: p = 18 / 256, and the design could not tell 5 points
    assert not any(value.bold for row in table.rows for value in row)
    assert any(
        note.startswith("Nothing is bold: 2 rows are not told apart") for note in table.notes
    )


def test_differences_are_from_a_row_that_the_accuracies_do_not_choose(tmp_path: Path) -> None:
    for seed in range(9):
        make_run(tmp_path, "enas", seed, search=50.0, child=90.0 + 0.1 * seed)
        make_run(tmp_path, "snas", seed, search=60.0, child=95.0 if seed else 12.0)
        make_run(tmp_path, "gdas", seed, search=60.0, child=80.0 + seed % 2)
    (differences,) = [t for t in report(tmp_path).tables if "differences" in t.name]
    assert "minus enas" in differences.columns[0].head
    assert cell(differences, "snas", "difference").number == pytest.approx(95 - 90.5)
    # 97.5 % of nine values: the second and the eighth hold 1 - 20 / 512 = .961 only
    assert cell(differences, "snas", "interval").numbers["low"] == pytest.approx(12 - 90)
    assert cell(differences, "snas", "p").number == pytest.approx(20 / 512)
    assert cell(differences, "gdas", "p").number == pytest.approx(2 * 2 / 512)
    assert cell(differences, "snas", "lost").text == "1/9"
    assert differences.columns[-1].head == "Failed or collapsed (enas: 0/9)"


def test_simultaneous_intervals_of_few_seeds_are_not_printed_and_the_note_says_from_when(
    tmp_path: Path,
) -> None:
    three_estimators(tmp_path, seeds=6)
    (differences,) = [t for t in report(tmp_path).tables if "differences" in t.name]
    assert cell(differences, "snas", "interval").text == "—"
    assert any("exist from 7 shared seeds on" in note for note in differences.notes)


def test_best_of_n_is_chosen_by_search_accuracy_and_stands_apart(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, search=60.0, child=90.0)
    make_run(tmp_path, "snas", 1, search=70.0, child=50.0)
    tables = report(tmp_path).tables
    (best,) = [table for table in tables if "best" in table.name]
    assert cell(best, "snas", "seed").text == "1"
    assert cell(best, "snas", "child_valid_acc").number == 50.0


def test_the_child_matrix_shows_every_view_with_both_statistics(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, child=50.0, recalibrated=60.0)
    (matrix,) = [table for table in report(tmp_path).tables if "matrix" in table.name]
    assert len(matrix.columns) == 2 + 5 and len(matrix.rows) == 2
    assert [row[1].text for row in matrix.rows] == ["inherited", "recalibrated"]
    assert [row[5].number for row in matrix.rows] == [48.5, 58.5]


def test_variants_of_one_estimator_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    make_run(tmp_path, "snas", 0, settings=("search.alpha.lr=0.5",))
    names = [row[0].text for row in report(tmp_path, published=False).tables[0].rows]
    assert names == ["snas (alpha.lr=0.01) †", "snas (alpha.lr=0.5) †"]


def test_runs_of_a_changed_estimator_are_named(tmp_path: Path) -> None:
    name = make_run(tmp_path, "snas").name
    notes = report(tmp_path).tables[0].notes
    assert any("has changed since these runs" in note and name in note for note in notes)


def test_a_missing_random_search_is_said(tmp_path: Path) -> None:
    make_run(tmp_path, "snas")
    assert any("no random-search row" in note for note in report(tmp_path).tables[0].notes)
    make_run(tmp_path, "random")
    assert not any("no random-search row" in note for note in report(tmp_path).tables[0].notes)


def test_csv_holds_the_numbers_behind_the_text(tmp_path: Path) -> None:
    three_estimators(tmp_path)
    table, *_, apart = report(tmp_path).tables
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    snas = next(row for row in rows if row["estimator"].startswith("snas"))
    key = "measured_child_valid_acc"
    assert float(snas[f"{key}_mean"]) == cell(table, "snas", "child_valid_acc").number
    assert float(snas[f"{key}_ci_low"]) <= float(snas[f"{key}_median"])
    assert len(snas["runs"].split()) == 7
    published = next(csv.DictReader(io.StringIO(csv_text(apart))))
    assert float(published["published_search"]) == 87.67


def test_markdown_is_a_table_whatever_a_run_is_called(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, result={"protocol_note": "a | b <script>"})
    written = markdown(report(tmp_path).tables)
    assert "<script>" not in written.replace("\\<script\\>", "")
    pipes = {len(re.findall(r"(?<!\\)\|", x)) for x in written.splitlines() if x[:1] == "|"}
    assert len(pipes) <= 4 and "Published: Search acc." in written


@pytest.mark.parametrize(
    ("search", "child", "decimals"),
    [
        ((35.0, 36.0, 34.0), (20.0, 60.0, 30.0), 0),  # the child's scatter carries no decimal
        ((88.41, 88.42, 88.40), (90.32, 90.31, 90.33), 2),
        ((50.0, 60.0, 55.0), (50.01, 60.01, 55.01), 0),  # a gap of little scatter, of coarse parts
    ],
)
def test_a_gap_has_the_decimals_of_the_accuracies_it_is_between(
    tmp_path: Path, search: tuple[float, ...], child: tuple[float, ...], decimals: int
) -> None:
    for seed, (found, derived) in enumerate(zip(search, child, strict=True)):
        make_run(tmp_path, "snas", seed, search=found, child=derived)
    table = report(tmp_path).tables[0]
    parts = [cell(table, "snas", key) for key in ("search_valid_acc", "child_valid_acc")]
    gap = cell(table, "snas", "child_gap")
    assert gap.decimals == min(part.decimals for part in parts) == decimals
    assert "-0" not in re.findall(r"-?[\d.]+", gap.text)  # nothing is minus zero
    for number in re.findall(r"[\d.]+", gap.brief):
        assert len(number.partition(".")[2]) == decimals


def test_a_paired_difference_has_the_decimals_of_its_accuracies(tmp_path: Path) -> None:
    for seed, value in enumerate((20.0, 60.0, 30.0)):  # no decimal alone, none between them
        make_run(tmp_path, "random", seed, search=50.0, child=value)
        make_run(tmp_path, "snas", seed, search=60.0, child=value + 0.5 + 0.01 * seed)
    (differences,) = [t for t in report(tmp_path).tables if "differences" in t.name]
    assert cell(differences, "snas", "difference").text == "+1"


def test_a_store_without_finished_runs_says_so(tmp_path: Path) -> None:
    make_run(tmp_path, status="interrupted")
    with pytest.raises(DataError, match="1 interrupted"):
        report(tmp_path)
    with pytest.raises(DataError, match="there is no run"):
        report(tmp_path, where="space=nowhere")
