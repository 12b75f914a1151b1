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
from nasbench_snas.reports.render.latex import PREAMBLE, document, escape, latex
from nasbench_snas.reports.tables.estimators import _gradient
from nasbench_snas.reports.tables.model import DELTA, MEASURED, MISSING, Table, Value
from nasbench_snas.reports.tables.published import published_table

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
    content |= {"num_classes": 10, "resolution": 32, "changed_settings": []}
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


def test_retrainings_stand_first_beside_what_they_repeat_with_both_counts(tmp_path: Path) -> None:
    names = []
    for seed in range(3):
        folder = make_run(tmp_path, "snas", seed, constraint="moderate", preset="paper")
        names.append(folder.name)
        for repeat in range(2):
            make_retraining(
                tmp_path, folder.name, repeat, 3.0 + seed + 0.1 * repeat, parent=names[-1]
            )
    (table,) = report(tmp_path, "2").tables
    assert table.rows[0][0].text == "snas (joint), constraint moderate"
    assert cell(table, "snas", "published_test_error").text == "2.85 ± 0.02"
    assert [row[0].text for row in table.rows[1:]] == [r.architecture for r in published_table(2)]
    error = cell(table, "snas", "test_err_top1")
    assert cell(table, "snas", "n").text == "3 × 2"
    assert error.numbers["n"] == 3 and error.number == pytest.approx(4.05)
    assert error.numbers["n_retrain"] == 6
    assert cell(table, "snas", "delta_test_err_top1").number == pytest.approx(4.05 - 2.85)
    assert set(names) <= set(error.runs)


def test_selected_cells_and_zoo_genotypes_have_rows_of_their_own(tmp_path: Path) -> None:
    search = make_run(tmp_path, "snas", 0, constraint="mild", preset="paper").name
    make_retraining(tmp_path, search, 0, 3.0, parent=search)
    make_retraining(tmp_path, search, 0, 2.9, parent=search, selection="best of n")
    make_retraining(tmp_path, "darts-v2", 0, 2.8)
    (table,) = report(tmp_path, "2").tables
    ours = [row[0].text for row in table.rows if row[0].runs]
    assert ours == [
        "darts-v2",
        "snas (joint), constraint mild",
        "snas (joint), constraint mild, best of n by search validation",
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


@pytest.mark.parametrize("preset", ["paper", "imagenet"])
def test_retrainings_with_settings_of_their_own_have_no_difference_and_name_them(
    tmp_path: Path, preset: str
) -> None:
    size = {"num_classes": 1000, "resolution": 224} if preset == "imagenet" else {}
    more = {"top1": 28.0, "test_acc_top5": 90.0, **size}
    make_retraining(tmp_path, "snas-mild", 0, 28.0, preset=preset, **more)
    table = "3" if preset == "imagenet" else "2"
    (plain,) = report(tmp_path, table).tables
    theirs = 27.3 if preset == "imagenet" else 2.98
    assert cell(plain, "snas-mild", "delta_test_err_top1").number == pytest.approx(28 - theirs)
    if preset == "imagenet":
        five = cell(plain, "snas-mild", "delta_test_err_top5")
        assert five.number == pytest.approx(10 - 9.2)
    changed = ["training.epochs"]
    make_retraining(tmp_path, "snas-mild", 1, 60.0, preset=preset, **more, changed_settings=changed)
    (other,) = report(tmp_path, table).tables
    assert DELTA not in {column.group for column in other.columns}
    assert any("not the preset's: training.epochs" in note for note in other.notes)


def test_table_three_keeps_unrun_rows_and_gives_no_difference_for_a_proxy(tmp_path: Path) -> None:
    make_retraining(tmp_path, "snas-mild", 0, 40.0, preset="imagenet", num_classes=10, macs=7e8)
    (table,) = report(tmp_path, "3").tables
    assert len(table.rows) == 14 and DELTA not in {c.group for c in table.columns}
    assert "over 600 M" in cell(table, "snas-mild", "macs").text
    assert any("10 classes at 32×32 pixels" in note for note in table.notes)
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
        | {"relative_bias_sq": 4 * b * b}
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


def test_estimators_have_gradient_and_child_side_by_side(tmp_path: Path) -> None:
    make_study(tmp_path)
    for seed in (0, 1):
        make_run(tmp_path, "snas", seed, search=90.0 + seed, child=80.0 + seed)
    make_run(tmp_path, "random", 0, search=30.0, child=20.0)
    (table,) = report(tmp_path, "estimators").tables
    assert [row[0].text.removesuffix(" †") for row in table.rows] == [
        "darts λ=1",
        "random",
        "snas λ=1",
    ]
    assert cell(table, "snas", "relative_bias_sq").number == pytest.approx(0.36)
    assert cell(table, "snas", "relative_variance").number == pytest.approx(16.0)
    assert cell(table, "snas", "relative_mse").number == pytest.approx(0.36 + 16 * 8 / 100)
    assert cell(table, "snas", "child_gap").text == "10.00, 10.00"
    assert cell(table, "random", "relative_mse").text == cell(table, "darts", "n").text == MISSING
    assert cell(table, "random", "child_valid_acc").number == pytest.approx(20.0)


def test_a_negative_estimate_of_a_square_enters_the_error_as_it_is() -> None:
    study = {"run_id": "s", "relative_bias_sq": -0.5, "bias_sq": -1.0, "var_trace": 4.0}
    values = _gradient({**study, "forward_equivalents": 10.0, "cos_to_ref": 1.0})
    assert values[3].number == pytest.approx(-0.5 + 2.0 * 10 / 100)


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
        needs = written.splitlines()[0]
        assert needs == r"% \usepackage{array,booktabs,textcomp}"
        assert needs.removeprefix("% ") in PREAMBLE
        for word in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert written.count(word) == 1
        assert written.count(r"\begin{") == written.count(r"\end{") == 2
        columns = re.search(r"\\begin\{tabular\}\{@\{\}(.*)@\{\}\}", written)
        assert columns is not None
        shape = re.sub(r">\{.*?\}p\{.*?\}", "l", columns[1])
        assert set(shape) <= set("lr")
        body = written.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
        for line in body.strip().splitlines():
            assert len(re.findall(r"(?<!\\)&", line)) == len(shape) - 1
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
