"""How far a living run is, as others read it from its folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from nasbench_snas.runs import progress
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.index import index_row


def test_the_time_left_knows_where_this_command_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    folder = RunFolder(tmp_path)
    beat = progress.Beat(folder, first=10, share=0.5)  # stops after 50 of 100 steps
    now[0] += 4.0
    assert beat.step({"step": 12, "total_steps": 100}) == pytest.approx(2 * 38)
    assert progress.progress_of(folder) == {}, "not written so soon"
    now[0] += 4.0
    beat.step({"step": 20, "total_steps": 100, "train_loss": 1.0})
    assert progress.progress_of(folder)["left_s"] == pytest.approx(0.8 * 30)
    assert json.loads((tmp_path / "progress.json").read_text())["train_loss"] == 1.0
    assert beat.step({"step": 60, "total_steps": 100}) == 0.0
    progress.forget_progress(folder)
    assert progress.progress_of(folder) == {}


def test_no_more_time_is_left_than_this_command_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    beat = progress.Beat(RunFolder(tmp_path), first=0, end=130.0)
    now[0] += 10.0
    assert beat.step({"step": 10, "total_steps": 20}) == pytest.approx(10.0)
    assert beat.step({"step": 10, "total_steps": 1000}) == pytest.approx(20.0)
    now[0] += 25.0
    assert beat.step({"step": 35, "total_steps": 1000}) == 0.0


@pytest.mark.parametrize("text", ["", "[1]", '{"step": 1}', '{"step": "x", "total_steps": 0}'])
def test_a_damaged_record_is_no_progress(text: str, tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert progress.progress_of(RunFolder(tmp_path)) == {}


def test_a_run_of_another_machine_is_running_while_it_writes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a")
    folder.path.mkdir()
    folder.config_file.write_text('preset = "smoke"\nseed = 3\n[search]\nepochs = 5\n')
    folder.set_status("running")
    (folder.path / "lock.json").write_text('{"host": "elsewhere"}')
    row = index_row(folder)
    assert (row["status"], row["seed"], row["preset"]) == ("running", 3, "smoke")
    old = time.time() - progress.ALIVE_SECONDS - 1
    os.utime(folder.path / "status.json", (old, old))
    assert index_row(folder)["status"] == "stale"
    (folder.path / "progress.json").write_text("{}")
    assert index_row(folder)["status"] == "running"
    (folder.path / "lock.json").unlink()
    assert index_row(folder)["status"] == "stale", "on this machine the lock decides"
