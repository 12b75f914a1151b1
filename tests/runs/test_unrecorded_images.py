"""Runs of earlier versions, which recorded no images: kept, continued, and reported apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.index import read_index
from nasbench_snas.runs.results import load_rows
from nasbench_snas.runs.schema import NOT_RECORDED
from nasbench_snas.search.plan import PlannedRun, as_begun, complete, plan_run
from nasbench_snas.search.runner import RunOptions, run_search

WHOLE = "child.selection_fraction=0"  # earlier versions selected by no images of their own
WORDS = ("search.epochs=2", "data.max_train_images=64", "search.batch_size=16", WHOLE)


def plans() -> tuple[PlannedRun, PlannedRun]:
    """Return a plan of today and the same as an earlier version made it."""
    new = plan_run(Registry(), "snas", "snas-unit", assignments=WORDS)
    data = new.config.data.model_copy(update={"content": None})
    return new, complete(Registry(), new.config.model_copy(update={"data": data}), new.sources)


def run(root: Path, plan: PlannedRun, epochs: int) -> None:
    options = RunOptions(kernels="reference", max_epochs=epochs)
    run_search(plan.config, Registry(), RunFolder(root / plan.run_id), options)


def test_a_recorded_name_of_before_is_still_computed() -> None:
    plan = plan_run(Registry(), "snas", "snas-unit", assignments=["search.epochs=2", WHOLE])
    data = plan.config.data.model_copy(update={"content": None})
    before = complete(Registry(), plan.config.model_copy(update={"data": data}), {})
    assert before.run_id == "snas-snas-unit-smoke-s0-5973ec39" != plan.run_id


def test_an_unfinished_run_of_before_is_continued_under_its_name_and_reported_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new, old = plans()
    run(tmp_path, old, 1)
    chosen = as_begun(Registry(), tmp_path, new)
    assert chosen.run_id == old.run_id and NOT_RECORDED in caplog.text
    run(tmp_path, chosen, 2)
    assert as_begun(Registry(), tmp_path, new).run_id == new.run_id, "a finished one is not taken"
    run(tmp_path, new, 2)
    rows = {row["run_id"]: row for row in load_rows(tmp_path)}
    assert rows[old.run_id]["images"] == NOT_RECORDED
    assert rows[new.run_id]["images"] == new.config.data.content
    for column in ("setting", "comparison", "unconstrained_setting"):
        assert rows[old.run_id][column] != rows[new.run_id][column]
    assert rows[old.run_id]["child_valid_acc"] == rows[new.run_id]["child_valid_acc"]
    notes = {row["run_id"]: row["note"] for row in read_index(tmp_path)}
    assert notes == {old.run_id: NOT_RECORDED, new.run_id: ""}
