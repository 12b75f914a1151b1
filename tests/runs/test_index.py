"""Listing a run store: cached, rebuilt, honest about runs that died."""

from __future__ import annotations

import json
from pathlib import Path

from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.index import read_index


def make(root: Path, name: str, status: str, result: dict[str, object] | None = None) -> RunFolder:
    folder = RunFolder(root / name)
    folder.path.mkdir(parents=True)
    folder.config_file.write_text("[search]\nepochs = 5\n")
    folder.set_status(status)  # type: ignore[arg-type]
    if result is not None:
        (folder.path / "result.json").write_text(json.dumps(result))
    return folder


def test_a_run_that_says_running_without_a_living_process_is_stale(tmp_path: Path) -> None:
    folder = make(tmp_path, "a", "running")
    folder.append_event({"kind": "epoch", "epoch": 3})
    (folder.path / "lock.json").write_text('{"pid": 1, "boot_id": "another"}')
    (row,) = read_index(tmp_path)
    assert (row["status"], row["epochs_done"], row["epochs_planned"]) == ("stale", 3, 5)
    assert "nasbench run --resume a" in row["note"]
    with folder.locked():
        (row,) = read_index(tmp_path)
        assert row["status"] == "running"


def test_the_index_is_derived_and_survives_its_own_damage(tmp_path: Path) -> None:
    make(tmp_path, "a", "done", {"search_valid_acc": 50.0, "epochs_done": 5, "epochs_planned": 5})
    rows = read_index(tmp_path)
    index = tmp_path / "index.jsonl"
    assert index.is_file()
    assert read_index(tmp_path) == rows
    index.write_text("nonsense\nmore\n")
    assert read_index(tmp_path) == rows
    make(tmp_path, "b", "failed")
    assert {row["run_id"] for row in read_index(tmp_path)} == {"a", "b"}


def test_a_changed_status_is_read_again(tmp_path: Path) -> None:
    folder = make(tmp_path, "a", "interrupted")
    assert read_index(tmp_path)[0]["status"] == "interrupted"
    (folder.path / "result.json").write_text('{"search_valid_acc": 1.0}')
    folder.set_status("done")
    assert read_index(tmp_path)[0]["search_valid_acc"] == 1.0


def test_a_damaged_status_file_is_listed_as_damaged(tmp_path: Path) -> None:
    folder = make(tmp_path, "a", "done")
    (folder.path / "status.json").write_text("{")
    assert read_index(tmp_path)[0]["status"] == "damaged"


def test_retrainings_and_studies_are_listed_with_their_stage(tmp_path: Path) -> None:
    make(tmp_path, "a", "done", {"search_valid_acc": 50.0})
    retrained = make(tmp_path / "_retrain", "a-r0", "interrupted")
    retrained.config_file.write_text("[training]\nepochs = 7\n[network]\n")
    retrained.append_event({"kind": "epoch", "epoch": 2})
    make(tmp_path / "_gradients", "toy-1", "truncated")
    rows = {row["run_id"]: row for row in read_index(tmp_path)}
    assert {name: row["stage"] for name, row in rows.items()} == {
        "a": "search",
        "a-r0": "retrain",
        "toy-1": "gradients",
    }
    assert (rows["a-r0"]["epochs_done"], rows["a-r0"]["epochs_planned"]) == (2, 7)
    assert rows["a-r0"]["note"] == "nasbench retrain --resume a-r0"
    assert rows["toy-1"]["note"] == "the same command continues it"


def test_a_run_killed_between_its_result_and_its_status_is_stale(tmp_path: Path) -> None:
    make(tmp_path, "a", "running", {"search_valid_acc": 50.0})
    assert read_index(tmp_path)[0]["status"] == "stale"
