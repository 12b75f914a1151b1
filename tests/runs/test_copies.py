"""A copied or renamed folder is the same replicate, not another seed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nasbench_snas.errors import DataError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder, write_json
from nasbench_snas.runs.results import load_rows
from nasbench_snas.search.plan import plan_run
from nasbench_snas.settings.toml import to_toml


def make(root: Path, seed: int = 0, *, finished: bool = True) -> RunFolder:
    plan = plan_run(Registry(), "snas", "snas-unit", seed=seed)
    folder = RunFolder(root / plan.run_id)
    folder.path.mkdir(parents=True)
    folder.config_file.write_text(to_toml(plan.config, plan.sources))
    if finished:
        hashed = plan.run_id.rpartition("-")[2]
        result = {"schema_version": 2, "run_id": plan.run_id, "stage": "search", "seed": seed}
        write_json(folder.path / "result.json", {**result, "config_hash": hashed, "macs": 1.0})
    folder.set_status("done" if finished else "failed")
    return folder


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("name", ["a-copy", "z-copy"])
def test_a_copied_run_counts_once(tmp_path: Path, name: str, finished: bool) -> None:
    folder = make(tmp_path, finished=finished)
    make(tmp_path, seed=1, finished=finished)
    shutil.copytree(folder.path, tmp_path / name)
    rows = load_rows(tmp_path)
    assert sorted(row["seed"] for row in rows) == [0, 1]


def test_a_renamed_run_is_still_there(tmp_path: Path) -> None:
    make(tmp_path).path.rename(tmp_path / "renamed")
    assert len(load_rows(tmp_path)) == 1


def test_a_copy_in_another_store_under_another_name_counts_once(tmp_path: Path) -> None:
    folder = make(tmp_path / "one")
    shutil.copytree(folder.path, tmp_path / "two" / "other-name")
    assert len(load_rows([tmp_path / "one", tmp_path / "two"])) == 1


def test_copies_with_other_results_are_an_error_that_names_both(tmp_path: Path) -> None:
    folder = make(tmp_path)
    copied = tmp_path / "copied"
    shutil.copytree(folder.path, copied)
    result = json.loads((copied / "result.json").read_text())
    write_json(copied / "result.json", {**result, "macs": 2.0})
    with pytest.raises(DataError) as error:
        load_rows(tmp_path)
    assert folder.run_id in str(error.value) and "copied" in str(error.value)


def test_of_a_finished_and_an_unfinished_copy_the_finished_one_counts(tmp_path: Path) -> None:
    folder = make(tmp_path, finished=False)
    shutil.copytree(folder.path, tmp_path / "moved")
    write_json(
        tmp_path / "moved" / "result.json", {"schema_version": 2, "config_hash": folder.run_id[-8:]}
    )
    RunFolder(tmp_path / "moved").set_status("done")
    (row,) = load_rows(tmp_path)
    assert row["status"] == "done"


def test_runs_of_two_versions_of_an_estimator_are_two_runs(tmp_path: Path) -> None:
    folder = make(tmp_path, finished=False)
    newer = tmp_path / f"{folder.run_id[:-8]}{'0' * 8}"
    shutil.copytree(folder.path, newer)
    assert len(load_rows(tmp_path)) == 2
