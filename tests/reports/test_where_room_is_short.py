"""Tables where room is short: a terminal of 80 columns, a column of a paper, chosen columns."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import pytest
from report_runs import make_run
from rich.cells import cell_len
from rich.console import Console

from nasbench_snas.errors import ConfigError
from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.render.html import pieces
from nasbench_snas.reports.render.latex import latex, text_width
from nasbench_snas.reports.render.terminal import show
from nasbench_snas.reports.tables import rules
from nasbench_snas.reports.tables.columns import chosen
from nasbench_snas.reports.tables.model import MEASURED, Column, Table, Value


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    for seed, value in enumerate((61.25, 61.75, 61.5)):
        for name in ("snas", "random-sampling"):
            make_run(root, name, seed, search=value, child=value - 0.125)
            make_run(root, name, seed, space="snas-unit", search=value, child=value - 0.125)
    make_run(root, "snas", 3, space="snas-unit", status="diverged", reason="nan")
    return root


def tables(root: Path, **options: object) -> list[Table]:
    return build_report([root], ReportOptions(tables=("1",), **options)).tables  # type: ignore[arg-type]


def printed(found: list[Table], width: int = 80, **options: object) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width), found, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def test_table_one_fits_80_columns_with_own_numbers_first_and_unwrapped(store: Path) -> None:
    written = printed(tables(store))
    assert max(cell_len(line) for line in written.splitlines()) <= 80
    head = written.split("\n\n")[0]
    assert "61.50 [61.25, 61.75]" in head and "0.12 [0.12, 0.12]" in head
    assert head.index("snas †") < written.index("Published")
    assert "m [a, b]: mean of three or four seeds" in head  # the legend
    assert re.search(r"further columns: level, [^.]*child_valid_acc_recalibrated", head)


def test_a_failed_run_shows_in_a_short_cell_and_the_legend_says_how(store: Path) -> None:
    written = printed(tables(store))
    assert re.search(r"snas † +3 of 4 +61\.\d* \[10\.\d*, 61\.\d*\] 1f", written)
    assert "1f, 1c: one run failed, collapsed" in " ".join(written.split())


def test_a_note_of_many_tables_is_printed_once_and_rules_on_demand_only(store: Path) -> None:
    found = tables(store)
    shared = [n for n in found[0].notes if sum(n in t.notes for t in found) > 1]
    assert rules.CELL in shared
    terse, verbose = (" ".join(printed(found, verbose=v).split()) for v in (False, True))
    for rule in (rules.CELL, rules.UNIT):
        assert (terse.count(rule), verbose.count(rule.replace("  ", " "))) == (0, 1)


def test_a_wide_terminal_shows_everything_as_it_is(store: Path) -> None:
    written = printed(tables(store)[:1], width=400)
    assert "further columns" not in written and "mean 61.50, range [61.25, 61.75]" in written


def test_columns_are_chosen_by_name_and_an_unknown_one_is_an_error(store: Path) -> None:
    (table, *_) = tables(store)
    keys = [table.columns[i].key for i in chosen(table, ("child_gap", "failed"))]
    assert keys == ["estimator", "child_gap", "failed"]
    assert len(chosen(table, ("all",))) > len(chosen(table))
    written = printed([table], columns=("failed",))
    assert "0/3" in written and "61.50" not in written
    with pytest.raises(ConfigError, match="Did you mean 'child_gap'"):
        tables(store, columns=("childgap",))


def test_what_does_not_fit_stands_in_blocks_that_repeat_what_a_row_is() -> None:
    columns = (
        Column("name", "Name", numeric=False),
        Column("kind", "Kind", numeric=False),
        *(Column(f"c{i}", f"Number {i}", MEASURED) for i in range(9)),
    )
    rows = tuple(
        (Value(name), Value("inherited"), *[Value("12.34 [12.00, 13.00]")] * 9) for name in "ab"
    )
    written = printed([Table("1", "T", columns, rows)])
    heads = [line for line in written.splitlines() if line.startswith("Name")]
    assert len(heads) == 5 and all("Kind" in head for head in heads)
    assert written.count("12.34 [12.00, 13.00]") == 18
    assert max(map(len, written.splitlines())) <= 80


@pytest.mark.parametrize("names", [("compact",), ("all",)])
def test_latex_fits_two_columns_without_scaling(store: Path, names: tuple[str, ...]) -> None:
    for table in tables(store):
        written = latex(table, names)
        assert "resizebox" not in written and r"\footnotesize" in written
        wide = r"\begin{table*}" in written
        for part in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", written, re.DOTALL):
            rows = [line for line in part.splitlines() if line.endswith(r"\\")]
            cells = [re.sub(r"[{}$]|\\[a-z]+", "", row[:-2]).split("&") for row in rows]
            body = [[cell.strip() for cell in row] for row in cells[-2:]]
            widths = [max(map(text_width, column)) for column in zip(*body, strict=True)]
            assert min(widths[0], 130) + sum(widths[1:]) <= (486 if wide else 234)


def test_latex_has_a_note_below_ten_words_and_all_notes_as_comments(store: Path) -> None:
    for table in tables(store):
        written = latex(table)
        comments = [line[2:] for line in written.splitlines() if line.startswith("% ")]
        assert set(table.notes) <= set(comments)
        for note in re.findall(r"\\scriptsize (.*?)\}\n", written):
            assert len(re.sub(r"\\textdagger\{\}", "†", note).split()) < 10
        caption = re.search(r"\\caption\{(.*)\}", written)
        assert caption is not None and not caption[1].startswith("Table")


def test_a_printed_minus_is_one_and_powers_of_ten_are_set() -> None:
    columns = (Column("name", "Name", numeric=False), Column("x", "x"))
    row = (Value("snas-unit"), Value("-1.5e-05 [-2, 1]"))
    written = latex(Table("1", "T", columns, (row,)))
    assert r"snas-unit & $-$1.5$\times10^{-5}$ {[}$-$2, 1{]} \\" in written


def test_cells_of_a_page_break_between_their_parts_only() -> None:
    cell = "IQM 32, median 34, quartiles [24, 39] (6), 1/6 collapsed; median's 95 % CI [18, 55]"
    assert pieces(cell) == [
        "IQM 32,",
        "median 34,",
        "quartiles [24, 39] (6),",
        "1/6 collapsed;",
        "median's 95 % CI [18, 55]",
    ]


@pytest.mark.parametrize("name", ["darts-s0-18e043b0", "net-1e5", "snas-2e4-v1", "2e3x"])
def test_a_name_that_looks_like_a_power_of_ten_stays_a_name(name: str) -> None:
    table = Table("1", "T", (Column("n", "Name", numeric=False),), ((Value(name),),))
    assert f"{name} \\\\" in latex(table)


@pytest.mark.parametrize("name", ["x" * 120, "日本語" * 12])
def test_a_long_name_is_wrapped_in_its_column(name: str) -> None:
    columns = (Column("a", "Name", numeric=False), Column("n", "n"))
    table = Table("1", "T", columns, ((Value(name), Value("3")),))
    console = Console(file=io.StringIO(), width=40)
    show(console, [table])
    lines = console.file.getvalue().splitlines()
    rule, first = next((a, b) for a, b in itertools.pairwise(lines) if a.startswith("─"))
    assert cell_len(first) == cell_len(rule) and first.endswith("  3")
    assert "".join(re.findall(r"x|[日本語]", "".join(lines))) == name
