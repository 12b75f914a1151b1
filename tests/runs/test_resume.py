"""Exact resume: killed at any moment and continued, a run equals one that never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SETTINGS = [
    "data.dataset=fake",
    "data.fake.channels=1",
    "search.epochs=4",
    "search.batch_size=16",
    "space.nodes=1",
    "space.cells=2",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=32",
    "checkpoint_seconds=0",
]
CHILD = """
import os, signal, sys
from nasbench_snas.search import search as module
from nasbench_snas.runs import folder as run_folder

die = sys.argv.pop(1)
if die.startswith("step"):
    steps = module.Search.one_step
    def one_step(self):
        steps(self)
        if self.step == int(die[4:]):
            os.kill(os.getpid(), signal.SIGKILL)
    module.Search.one_step = one_step
elif die.startswith("write"):
    count, replace = [0], os.replace
    def half_written(source, target):
        count[0] += str(target).endswith("last.pt")
        if count[0] == int(die[5:]):
            os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
    run_folder.os.replace = half_written
elif die.startswith("event"):
    append = run_folder.RunFolder.append_event
    def torn(self, event, *, sync=False):
        append(self, event, sync=sync)
        if event["kind"] == "epoch" and event["epoch"] == int(die[5:]):
            os.truncate(self.events_file, self.events_size() - 7)
            os.kill(os.getpid(), signal.SIGKILL)
    run_folder.RunFolder.append_event = torn
elif die.startswith("term"):
    steps = module.Search.one_step
    def one_step(self):
        if self.step == int(die[4:]):
            os.kill(os.getpid(), signal.SIGTERM)
        steps(self)
    module.Search.one_step = one_step
from nasbench_snas.cli.main import main
main(sys.argv[1:])
"""
TIMES = ("t", "seconds", "images_per_s", "peak_memory", "elapsed")


def run(root: Path, die: str, *, estimator: str, level: str) -> subprocess.CompletedProcess[str]:
    arguments = ["--root", str(root), "run", "-e", estimator, "-s", "darts-cnn", "--level", level]
    images = 96 if level == "joint" else 192  # four steps an epoch
    for setting in [*SETTINGS, f"data.fake.train_images={images}"]:
        arguments += ["--set", setting]
    return subprocess.run(
        [sys.executable, "-c", CHILD, die, *arguments, "--kernels", "reference"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def metrics(root: Path) -> tuple[list[dict[str, object]], np.ndarray, dict[str, object]]:
    (folder,) = [p for p in root.iterdir() if p.is_dir()]
    lines = (folder / "events.jsonl").read_text().splitlines()
    events = [{k: v for k, v in json.loads(x).items() if k not in TIMES} for x in lines]
    with np.load(folder / "alpha.npz") as arrays:
        alpha = arrays["probs"]
    result = json.loads((folder / "result.json").read_text())
    kept = ("child_matrix", "genotype", "search_valid_acc", "child_valid_acc", "config_hash")
    return events, alpha, {key: result[key] for key in kept}


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "level"), [("snas", "joint"), ("enas-ppo", "bilevel")])
def test_resume_after_sigkill_is_bit_equal(tmp_path: Path, estimator: str, level: str) -> None:
    whole = run(tmp_path / "whole", "never", estimator=estimator, level=level)
    assert whole.returncode == 0, whole.stderr
    deaths = ["step1", "write2", "event2", "step10", "term13", "write2"]
    for death in deaths:
        result = run(tmp_path / "broken", death, estimator=estimator, level=level)
        expected = 143 if death.startswith("term") else -signal.SIGKILL
        assert result.returncode == expected, (death, result.returncode, result.stderr)
    last = run(tmp_path / "broken", "never", estimator=estimator, level=level)
    assert last.returncode == 0, last.stderr
    events, alpha, result_values = metrics(tmp_path / "whole")
    broken_events, broken_alpha, broken_values = metrics(tmp_path / "broken")
    assert len(events) == 4
    assert broken_events == events
    assert np.array_equal(broken_alpha, alpha)
    assert broken_values == result_values


def test_a_finished_run_is_not_repeated_and_a_changed_folder_is_refused(tmp_path: Path) -> None:
    first = run(tmp_path, "never", estimator="random", level="joint")
    assert first.returncode == 0, first.stderr
    (folder,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    second = run(tmp_path, "never", estimator="random", level="joint")
    assert second.returncode == 0
    assert "finished before" in second.stdout
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("epochs = 4", "epochs = 5"))
    (folder / "status.json").write_text('{"status": "interrupted"}')
    third = run(tmp_path, "never", estimator="random", level="joint")
    assert third.returncode == 1
    assert "config.toml is not what the run was made with" in third.stderr
    assert "Traceback" not in third.stderr


def test_divergence_stops_the_run_and_says_where(tmp_path: Path) -> None:
    arguments = ["--root", str(tmp_path), "run", "-e", "darts", "-s", "darts-cnn"]
    extra = ["data.fake.train_images=96", "search.theta.lr=1e30", "search.theta.clip=0"]
    for setting in [*SETTINGS, *extra]:
        arguments += ["--set", setting]
    result = subprocess.run(
        [sys.executable, "-m", "nasbench_snas", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "diverged" in result.stderr
    (folder,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    status = json.loads((folder / "status.json").read_text())
    assert status["status"] == "diverged"
    assert "epoch 1" in status["reason"]
