"""Tables 2 and 3, constraints, timing, gradient studies, LaTeX."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from report_runs import make_run

from nasbench_snas.reports.build import Report, ReportOptions, build_report
from nasbench_snas.reports.published import published_table
from nasbench_snas.reports.render_latex import document, escape, latex
from nasbench_snas.reports.tables import DELTA, MEASURED, Table, Value

RETRAIN = """name = "{name}"
parent = "{parent}"
genotype = "{{}}"
preset = "{preset}"
stage = "retrain"
seed = {seed}
selection = "{selection}"

[data]
dataset = "cifar10"
"""


def make_retraining(
    root: Path,
    name: str,
    seed: int,
    error: float,
    *,
    parent: str = "",
    preset: str = "paper",
    selection: str = "each seed",
    **result: Any,
) -> str:
    folder = root / "_retrain" / f"{name}-r{seed}-{selection.replace(' ', '')}"
    folder.mkdir(parents=True)
    text = RETRAIN.format(name=name, parent=parent, preset=preset, seed=seed, selection=selection)
    (folder / "config.toml").write_text(text)
    (folder / "status.json").write_text(json.dumps({"status": "done", "updated": 1.0}))
    content = {"schema_version": 1, "test_acc_top1": 100 - error, "params": 2.8e6, "macs": 4.4e8}
    (folder / "result.json").write_text(json.dumps(content | result))
    return folder.name


def report(root: Path, table: str, **options: Any) -> Report:
    return build_report([root], ReportOptions(tables=(table,), **options))


def cell(table: Table, row: str, column: str) -> Value:
    keys = [c.key for c in table.columns]
    return next(r[keys.index(column)] for r in table.rows if row in r[0].text)


def test_table_two_shows_every_published_row_and_the_constructed_networks(tmp_path: Path) -> None:
    make_run(tmp_path)
    (table,) = report(tmp_path, "2").tables
    assert [row[0].text for row in table.rows] == [r.architecture for r in published_table(2)]
    mild, moderate = "+ mild constraint", "+ moderate constraint"
    assert cell(table, mild, "published_test_error").text == "2.98"
    assert cell(table, moderate, "published_test_error").text == "2.85 ± 0.02"
    assert cell(table, moderate, "constructed_params_m").number == pytest.approx(2.847358)
    assert cell(table, moderate, "constructed_agreement").text == "match"
    assert MEASURED not in {column.group for column in table.columns}


def test_retrainings_stand_under_the_row_they_repeat_with_both_counts(tmp_path: Path) -> None:
    names = []
    for seed in range(3):
        folder = make_run(tmp_path, "snas", seed, constraint="moderate", preset="paper")
        names.append(folder.name)
        for repeat in range(2):
            make_retraining(
                tmp_path, folder.name, repeat, 3.0 + seed + 0.1 * repeat, parent=names[-1]
            )
    (table,) = report(tmp_path, "2").tables
    at = [row[0].text for row in table.rows].index("↳ snas (joint), constraint moderate")
    assert "moderate constraint" in table.rows[at - 1][0].text
    error = cell(table, "↳ snas", "test_err_top1")
    assert cell(table, "↳ snas", "n").text == "3 × 2"
    assert error.numbers["n"] == 3 and error.number == pytest.approx(4.05)
    assert error.numbers["two_level_low"] is not None
    assert cell(table, "↳ snas", "delta_test_err_top1").number == pytest.approx(4.05 - 2.85)
    assert set(names) <= set(error.runs)


def test_selected_cells_and_zoo_genotypes_have_rows_of_their_own(tmp_path: Path) -> None:
    search = make_run(tmp_path, "snas", 0, constraint="mild", preset="paper").name
    make_retraining(tmp_path, search, 0, 3.0, parent=search)
    make_retraining(tmp_path, search, 0, 2.9, parent=search, selection="best of n")
    make_retraining(tmp_path, "darts-v2", 0, 2.8)
    (table,) = report(tmp_path, "2").tables
    ours = [row[0].text for row in table.rows if row[0].text.startswith("↳")]
    assert ours == [
        "↳ darts-v2",
        "↳ snas (joint), constraint mild",
        "↳ snas (joint), constraint mild, best of n by search validation",
    ]
    assert cell(table, "best of n", "test_err_top1").number == pytest.approx(2.9)


def test_small_retrainings_share_no_table_with_paper_ones_and_have_no_difference(
    tmp_path: Path,
) -> None:
    make_retraining(tmp_path, "darts-v2", 0, 2.8)
    make_retraining(tmp_path, "darts-v2", 1, 30.0, preset="smoke")
    tables = report(tmp_path, "2").tables
    assert [table.provisional for table in tables] == [False, True]
    assert DELTA not in {column.group for column in tables[1].columns}


def test_table_three_keeps_unrun_rows_and_gives_no_difference_for_a_proxy(tmp_path: Path) -> None:
    make_retraining(tmp_path, "snas-mild", 0, 40.0, preset="imagenet", num_classes=10, macs=7e8)
    (table,) = report(tmp_path, "3").tables
    assert len(table.rows) == 14 and DELTA not in {c.group for c in table.columns}
    assert "over 600 M" in cell(table, "↳ snas-mild", "macs").text
    assert cell(table, "SNAS (mild", "published_top5_error").text == "9.2"


def test_constraint_table_orders_levels_and_counts_edges_with_none(tmp_path: Path) -> None:
    for drop, level in enumerate(("none", "mild", "moderate", "aggressive")):
        for seed in range(2):
            make_run(tmp_path, "snas", seed, constraint=level, drop=drop)
    make_run(tmp_path, "darts", 0)
    (table,) = report(tmp_path, "constraints").tables
    snas = [row for row in table.rows if row[0].text.startswith("snas")]
    assert [row[1].text for row in snas] == ["none", "mild", "moderate", "aggressive"]
    keys = [column.key for column in table.columns]
    assert [row[keys.index("none_edges")].number for row in snas] == [0, 2, 4, 6]
    assert [row[keys.index("n_nodes_dropped")].number for row in snas] == [0, 0, 2, 2]
    darts = next(row for row in table.rows if row[0].text.startswith("darts"))
    assert darts[keys.index("none_edges")].text == "—"


def test_timing_has_a_row_a_device(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, device="cpu (2 cores)")
    make_run(tmp_path, "snas", 1, device="cpu (64 cores)")
    (table,) = report(tmp_path, "timing").tables
    assert [row[1].text for row in table.rows] == ["cpu (2 cores)", "cpu (64 cores)"]
    assert table.rows[0][4].number == pytest.approx(1000 * 8.0 / 40)


def make_study(root: Path) -> None:
    folder = root / "_gradients" / "snas-unit-0a1b2c3d"
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"status": "done"}))
    row = {"point": "mid", "n_samples": 512, "bias_se": 0.01, "var_trace": 4.0, "var_ci_lo": 3.0}
    row |= {"var_ci_hi": 5.0, "mse": 4.1, "cos_to_ref": 0.9, "ms_per_sample": 2.0}
    row |= {"var_x_time": 0.008, "forward_equivalents": 8.0}
    rows = [
        {**row, "estimator": e, "label": f"{e} λ=1", "coord_set": c, "bias_l2": b}
        | {"bias_sq": b * b, "bias_sq_ci_lo": -0.01, "bias_sq_ci_hi": 0.16}
        for e, b in (("snas", 0.3), ("darts", 0.5))
        for c in ("all", "theta", "edge 0")
    ]
    settings = {"space": {"name": "snas-unit"}, "data": {"dataset": "digits"}, "seed": 0}
    result = {"schema_version": 1, "settings": settings, "rows": rows, "truncated": False}
    (folder / "result.json").write_text(json.dumps(result))


def test_gradient_table_prints_bias_with_its_error_and_never_unbiased(tmp_path: Path) -> None:
    make_study(tmp_path)
    tables = report(tmp_path, "gradients").tables
    assert len(tables) == 2 and all(len(table.rows) == 2 for table in tables)
    table = tables[0]
    assert cell(table, "snas", "bias_l2").text == "0.3 ± 0.01"
    assert cell(table, "snas", "bias_ci").text == "[0, 0.4]"
    assert cell(table, "snas", "bias_over_se").number == pytest.approx(30)
    assert cell(table, "snas", "var_ci").text == "[3, 5]"
    assert "unbiased" not in json.dumps([table.notes, [v.text for r in table.rows for v in r]])


def test_latex_escapes_every_special_character() -> None:
    hostile = r"\input{x} $a_b^c$ 50% & #1 {~} <>|`\"é±Δ→†λ漢[1]--"
    written = escape(hostile)
    assert "U+6F22" in written and "漢" not in written
    stripped = re.sub(
        r"\\[a-zA-Z]+\{\}|\\[{}$&#%_]|\$\\[A-Za-z]+\$|\{\[\}|\{\]\}|-\{\}-", "", written
    )
    assert not re.search(r"[\\$&#%_^~<>|{}\[\]]", stripped)


def test_latex_tables_use_booktabs_and_balance(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    for table in build_report([tmp_path], ReportOptions(tables=("1", "timing"))).tables:
        written = latex(table)
        for word in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert written.count(word) == 1
        assert written.count(r"\begin{") == written.count(r"\end{") == 2
        columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", written)
        assert columns is not None
        body = written.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
        for line in body.strip().splitlines():
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns[1]) - 1
            assert line.endswith(r"\\")


@pytest.mark.slow
def test_latex_document_compiles(tmp_path: Path) -> None:
    engine = shutil.which("pdflatex") or shutil.which("tectonic")
    if engine is None:
        pytest.skip("no TeX engine (pdflatex, tectonic) is installed")
    for seed in range(2):
        make_run(tmp_path, "snas", seed, result={"protocol_note": r"\undefined_$%&# é 漢 <x>"})
    make_run(tmp_path, "random", 0)
    make_study(tmp_path)
    made = build_report([tmp_path], ReportOptions())
    assert {table.key for table in made.tables} >= {"1", "2", "3", "gradients", "timing"}
    (tmp_path / "tables.tex").write_text(document(made.tables), encoding="utf-8")
    command = [engine, "tables.tex"]
    if engine.endswith("pdflatex"):
        command[1:1] = ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
