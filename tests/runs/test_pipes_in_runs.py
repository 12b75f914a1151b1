"""A pipe in a run folder is refused in words: nothing waits for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nasbench_snas.errors import CheckpointError
from nasbench_snas.runs.checkpoint import load_checkpoint
from nasbench_snas.runs.folder import RunFolder, find_run, read_events, read_json
from nasbench_snas.runs.index import index_row
from nasbench_snas.runs.rows import RowLoader
from nasbench_snas.runs.start import RunOptions, run_job

FILES = ("status.json", "result.json", "events.jsonl", "env.json", "checkpoints/last.pt")


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Kill the test where it waits."""

    def stop(signum: int, frame: object) -> None:
        raise TimeoutError("it waited for a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    path = tmp_path / "runs" / "x"
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.toml").write_text("preset = 'smoke'\n")
    return RunFolder(path)


@pytest.mark.parametrize("name", FILES)
def test_whoever_finds_a_run_with_a_pipe_is_told(folder: RunFolder, name: str) -> None:
    os.mkfifo(folder.path / name)
    with pytest.raises(CheckpointError, match=r"no plain file") as caught:
        find_run(folder.path.parent, "x")
    assert name in str(caught.value)
    assert index_row(folder)["status"] == "damaged"
    (row,) = RowLoader().rows("search", folder)
    assert row["status"] == "damaged" and "no plain file" in str(row["reason"])


def test_a_run_whose_log_is_a_pipe_is_not_continued(folder: RunFolder) -> None:
    os.mkfifo(folder.path / "run.log")
    job = SimpleNamespace(make=lambda world: None)
    with pytest.raises(CheckpointError, match=r"run\.log is no plain file"):
        run_job(job, folder, RunOptions(device="cpu"))  # type: ignore[arg-type]


def test_no_reader_of_a_file_waits(folder: RunFolder) -> None:
    pipe = folder.path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match="no plain file"):
        read_json(pipe)
    with pytest.raises(CheckpointError, match="no plain file"):
        list(read_events(pipe))
    with pytest.raises(CheckpointError, match="no plain file"):
        load_checkpoint(pipe, config_hash="x")
