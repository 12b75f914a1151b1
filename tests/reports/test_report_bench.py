"""The table of the suite darts-bench: mean and best of nine retrainings, n, failures, gaps."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import pytest
from report_runs import make_run

from nasbench_snas.executors.suite import LEARNING_RATES, SPACES, WEIGHT_DECAYS
from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.tables.model import MISSING, Table, Value

NINE = list(product(LEARNING_RATES, WEIGHT_DECAYS))
TEXT = """name = "{parent}"
parent = "{parent}"
genotype = "{{}}"
preset = "smoke"
selection = "{selection}"
candidates = ["{parent}: 50.0000", "other: 49.0000", "third: diverged"]

[data]
dataset = "digits"

[training]
lr = {rate}
weight_decay = {decay}
"""


def retrained(
    root: Path, parent: str, errors: list[float | None], selection: str = "best of n"
) -> None:
    """Write a retraining for each error, in the order of the nine settings; None: it diverged."""
    for number, (error, (rate, decay)) in enumerate(zip(errors, NINE, strict=False)):
        folder = root / "_retrain" / f"{parent}-r0-{number}{selection[0]}"
        folder.mkdir(parents=True)
        words = {"parent": parent, "rate": rate, "decay": decay, "selection": selection}
        (folder / "config.toml").write_text(TEXT.format(**words))
        status = "diverged" if error is None else "done"
        (folder / "status.json").write_text(json.dumps({"status": status, "updated": 1.0}))
        if error is not None:
            content = {"schema_version": 1, "test_acc_top1": 100 - error, "num_classes": 10}
            content |= {"resolution": 8, "changed_settings": []}
            (folder / "result.json").write_text(json.dumps(content))


def table(root: Path) -> Table:
    (found,) = build_report([root], ReportOptions(tables=("darts-bench",))).tables
    return found


def cell(found: Table, benchmark: str, column: str) -> Value:
    place = [c.key for c in found.columns].index(column)
    (row,) = [row for row in found.rows if row[0].text == f"{benchmark} †"]
    return row[place]


def test_mean_and_best_are_over_the_nine_settings_and_n_is_shown(tmp_path: Path) -> None:
    parent = make_run(tmp_path, space="darts-bench-wide").name
    retrained(tmp_path, parent, [20, 30, 40, 10, 50, 20, 30, 40, 30])
    found = table(tmp_path)
    assert cell(found, "wide", "mean").number == pytest.approx(70.0)
    assert cell(found, "wide", "best").number == pytest.approx(90.0)
    assert cell(found, "wide", "which").text == "0.1, 0.0001"
    assert cell(found, "wide", "n").text == "2"  # finished among the three it was chosen from
    assert cell(found, "wide", "settings").text == "9/9"
    assert cell(found, "wide", "selection").text == "best of n"


def test_a_failure_counts_as_guessing_and_an_unfinished_cell_has_no_mean(tmp_path: Path) -> None:
    one = make_run(tmp_path, space="darts-bench-deep-no-skip").name
    retrained(tmp_path, one, [*[10] * 8, None])
    two = make_run(tmp_path, space="darts-bench-deep-all-skip").name
    retrained(tmp_path, two, [10] * 7)
    early = make_run(tmp_path, space="darts-bench-deep").name
    retrained(tmp_path, early, [10] * 9)
    for file in (tmp_path / "_retrain").glob(f"{early}*/result.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "truncated": True}))
    found = table(tmp_path)
    assert not [row for row in found.rows if row[0].text == "deep †"], "stopped early"
    assert cell(found, "deep-no-skip", "mean").number == pytest.approx((8 * 90 + 10) / 9)
    assert cell(found, "deep-no-skip", "best").number == pytest.approx(90)
    assert cell(found, "deep-all-skip", "settings").text == "7/9"
    assert cell(found, "deep-all-skip", "mean").text == MISSING


def test_the_cells_of_each_seed_show_their_scatter(tmp_path: Path) -> None:
    for seed, error in enumerate((10.0, 20.0, 30.0)):
        parent = make_run(tmp_path, seed=seed, space="darts-bench-single-cell").name
        retrained(tmp_path, parent, [*[error] * 8, error - 9], "each seed")
    found = table(tmp_path)
    assert cell(found, "single-cell", "n").text == "3"
    mean = cell(found, "single-cell", "mean")
    assert mean.number == pytest.approx(81.0) and mean.numbers["n"] == 3
    assert cell(found, "single-cell", "best").number == pytest.approx(89.0)


def test_the_mean_over_benchmarks_needs_all_nine(tmp_path: Path) -> None:
    for place, space in enumerate(SPACES):
        retrained(tmp_path, make_run(tmp_path, space=space).name, [10.0 + place] * 9)
        named = [row for row in table(tmp_path).rows if row[0].text.startswith("mean of")]
        assert len(named) == (place == 8)
    assert named[0][5].number == pytest.approx(90 - math.fsum(range(9)) / 9)
    order = [row[0].text.removesuffix(" †") for row in table(tmp_path).rows[:9]]
    assert order == [space.removeprefix("darts-bench-") for space in SPACES]


def test_two_settings_of_an_estimator_have_rows_and_means_of_their_own(tmp_path: Path) -> None:
    """Five benchmarks with one setting and four with another are no nine."""
    for place, space in enumerate(SPACES):
        more = ("estimator.tau_start=2.0",) if place > 4 else ()
        retrained(tmp_path, make_run(tmp_path, space=space, settings=more).name, [10.0] * 9)
    found = table(tmp_path)
    assert [row[0].text for row in found.rows if row[0].text.startswith("mean of")] == []
    names = [row[1].text for row in found.rows]
    assert len(set(names[:5])) == len(set(names[5:])) == 1 and names[0] != names[-1]
    assert names[-1] == "snas (tau_start=2.0) (joint)"
