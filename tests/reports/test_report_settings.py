"""What stands beside a published number, and what may share a row: whole settings, one a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_runs import make_run
from test_report_other_tables import make_retraining

from nasbench_snas.errors import DataError
from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.render.latex import latex
from nasbench_snas.reports.render.text import markdown
from nasbench_snas.reports.tables import context
from nasbench_snas.reports.tables.model import DELTA, Table, Value

PAPER: dict[str, Any] = {"preset": "paper", "constraint": "mild"}


def tables(root: Path, key: str = "1") -> list[Table]:
    return build_report([root], ReportOptions(tables=(key,))).tables


def cell(table: Table, row: str, column: str) -> Value:
    keys = [c.key for c in table.columns]
    return next(r[keys.index(column)] for r in table.rows if row in r[0].text)


def groups(table: Table) -> set[str]:
    return {column.group for column in table.columns}


@pytest.mark.parametrize(
    "setting",
    [
        "search.alpha.lr=0.03",
        "cost.eta=5.0",
        "cost.gradient=score",
        "estimator.tau_start=9.0",
        "search.amp=bf16",
    ],
)
def test_any_setting_that_is_not_the_presets_leaves_no_difference_and_is_named(
    tmp_path: Path, setting: str
) -> None:
    make_run(tmp_path, "snas", **PAPER, settings=(setting,))
    table = tables(tmp_path)[0]
    assert DELTA not in groups(table)
    assert any(setting.partition("=")[0] in note and "preset:" in note for note in table.notes)


def test_a_configuration_that_cannot_be_read_is_never_comparable(tmp_path: Path) -> None:
    good = make_run(tmp_path, "snas", 0, **PAPER)
    assert DELTA in groups(tables(tmp_path)[0])
    config = (good / "config.toml").read_text()
    (good / "config.toml").write_text(config + "\n[of_a_newer_release]\nunknown = 1\n")
    table = tables(tmp_path)[0]
    assert DELTA not in groups(table)
    assert any("cannot be read" in note for note in table.notes)


def test_only_the_row_with_other_settings_loses_its_difference(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, **PAPER)
    make_run(tmp_path, "snas", 0, **PAPER, settings=("search.alpha.lr=0.03",))
    table = tables(tmp_path)[0]
    deltas = {row[0].text: cell(table, row[0].text, "delta_child").text for row in table.rows[:2]}
    assert sum(text != "—" for text in deltas.values()) == 1
    assert deltas["snas (alpha.lr=0.03)"] == "—"


def test_unrolled_runs_with_another_hessian_have_a_row_of_their_own(tmp_path: Path) -> None:
    for kind, child in (("exact", 50.0), ("finite-difference", 60.0)):
        more = ("search.level=unrolled", f"search.unrolled_hessian={kind}")
        for seed in range(6):
            make_run(tmp_path, "darts", seed, child=child, settings=more)
    table = tables(tmp_path)[0]
    rows = {row[0].text for row in table.rows if row[0].text.startswith("darts")}
    assert rows == {"darts (hessian=exact) †", "darts (hessian=finite-difference) †"}
    assert cell(table, "hessian=exact", "n").number == 6
    assert cell(table, "hessian=exact", "child_valid_acc").number == 50.0
    assert cell(table, "hessian=finite", "child_valid_acc").number == 60.0


def test_two_runs_of_one_seed_that_differ_are_an_error_that_names_both(tmp_path: Path) -> None:
    first = make_run(tmp_path, "snas", 1, child=50.0)
    other = make_run(tmp_path, "snas", 1, child=70.0, name=f"copy-{first.name}")
    with pytest.raises(DataError, match="are the same run under two names, and differ") as raised:
        tables(tmp_path)
    assert str(first) in str(raised.value) and str(other) in str(raised.value)


def test_retrained_cells_of_other_searches_share_no_row_and_a_smoke_search_no_difference(
    tmp_path: Path,
) -> None:
    paper = make_run(tmp_path, "snas", 0, **PAPER).name
    smoke = make_run(tmp_path, "snas", 0, constraint="mild").name
    hot = make_run(tmp_path, "snas", 0, **PAPER, settings=("estimator.tau_start=9.0",)).name
    for name, error in ((paper, 3.0), (smoke, 5.0), (hot, 7.0)):
        make_retraining(tmp_path, name, 0, error, parent=name)
    (table,) = tables(tmp_path, "2")
    rows = [row for row in table.rows if row[0].runs]
    assert len(rows) == 3
    keys = [c.key for c in table.columns]
    error_at, delta_at = keys.index("test_err_top1"), keys.index("delta_test_err_top1")
    deltas = {row[error_at].number: row[delta_at] for row in rows}
    assert deltas[3.0].number == pytest.approx(0.02)
    assert deltas[5.0].text == deltas[7.0].text == "—"
    assert "digits, preset smoke" in cell(table, "preset smoke", "architecture").text


def test_a_retraining_whose_search_is_not_here_has_no_difference(tmp_path: Path) -> None:
    make_retraining(tmp_path, "snas-somewhere", 0, 3.0, parent="snas-somewhere")
    (table,) = tables(tmp_path, "2")
    assert DELTA not in groups(table)


def test_differences_carry_the_range_over_seeds_and_say_what_they_compare(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "snas", seed, child=90.0 + seed, **PAPER)
    table = tables(tmp_path)[0]
    assert cell(table, "snas", "delta_child").text == "+0.3, range [-0.7, +1.3]"
    assert any("may be of a selected run" in note for note in table.notes)
    assert "computed here" in next(c.head for c in table.columns if c.key == "published_gap")


def test_the_papers_footnotes_stand_in_every_format_and_its_gpu_only_where_it_is_claimed(
    tmp_path: Path,
) -> None:
    make_run(tmp_path, "snas", 0, **PAPER)
    table = tables(tmp_path)[0]
    assert not any("TITAN" in column.head for column in table.columns)
    for written in (markdown([table]), latex(table), " ".join(table.notes)):
        assert "obtained by the SNAS authors" in written and "TITAN Xp" in written
        assert "is not necessary" in written
    (three,) = tables(tmp_path, "3")
    assert "parameters are approximate" in markdown([three])


def test_settings_are_compared_once_for_all_seeds_and_seeds_of_tables_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real = context.from_toml
    monkeypatch.setattr(context, "from_toml", lambda text: calls.append(text) or real(text))
    context._changes.cache_clear()
    for seed in range(4):
        make_run(tmp_path, "snas", seed, **PAPER)
    make_run(tmp_path, "darts", 0, **PAPER, settings=("search.alpha.lr=0.03",))
    notes = [note for table in tables(tmp_path) for note in table.notes]
    assert any("search.alpha.lr=0.03" in note for note in notes)
    assert len(calls) == 2
    text = "seed = 7  # x\n\n[data.fake]\nseed = 8  # y\n"
    assert context.without_seed(text) == text.replace("= 7", "= 0")
    assert context.without_seed("[data.fake]\nseed = 8  # y\n") == "[data.fake]\nseed = 8  # y\n"
