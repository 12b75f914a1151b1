"""Whole jobs of several processes: one writes, a lost one ends the job, any number resumes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


launching = load("launching")

RETRAIN = [
    "retrain",
    "snas-mild",
    "--set=data.max_train_images=64",
    "--set=network.channels=2",
    "--set=training.epochs=2",
    "--set=checkpoint_seconds=0",
]
SEARCH = [
    "run",
    "--estimator=snas",
    "--space=darts-cnn",
    "--set=data.max_train_images=80",
    "--set=search.epochs=2",
    "--set=space.channels=2",
    "--set=space.nodes=1",
    "--set=child.samples=1",
    "--set=checkpoint_seconds=0",
]


def job(root: Path, arguments: list[str], size: int = 2) -> list[int]:
    started = launching.start(
        [str(HERE / "job.py"), f"--root={root}", *arguments], size, root.parent
    )
    return list(launching.finish(started, root.parent))


def only(root: Path, pattern: str) -> Path:
    (folder,) = (f.parent for f in root.glob(f"{pattern}/config.toml"))
    return folder


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "pattern"), [(RETRAIN, "_retrain/*"), (SEARCH, "snas-*")])
def test_a_killed_process_ends_the_job_and_one_process_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], pattern: str
) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    monkeypatch.setenv("KILL_AT", "1:3")
    codes = job(root, arguments)
    monkeypatch.delenv("KILL_AT")
    assert codes == [1, -9], launching.logs(tmp_path)
    folder = only(root, pattern)
    status = read(folder, "status.json")
    assert status["status"] == "interrupted"
    assert "a process of the job is gone" in status["reason"]
    assert "Traceback" not in (tmp_path / "rank0.log").read_text()
    assert read(folder, "env.json")[0]["processes"] == 2
    alone = CliRunner().invoke(nasbench, [f"--root={root}", *arguments])
    assert alone.exit_code == 0, alone.output
    (change,) = events(folder, "processes")
    assert "continued with 1 processes instead of 2" in change["note"]
    assert [event["epoch"] for event in events(folder, "epoch")] == [1, 2]
    result = read(folder, "result.json")
    assert (result["n_devices"], result["truncated"]) == (1, False)


@pytest.mark.slow
def test_torchrun_starts_a_retraining_that_one_process_shows_and_writes(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--master-port={launching.free_port()}",
        "-m",
        "nasbench_snas",
        f"--root={root}",
        *RETRAIN,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test error, last epoch") == 1
    assert "2 processes, batch norms local" in done.stdout
    folder = only(root, "_retrain/*")
    assert read(folder, "result.json")["n_devices"] == 2
    assert len(read(folder, "env.json")) == 1
    assert len(events(folder, "epoch")) == 2
