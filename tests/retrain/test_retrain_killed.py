"""A retraining that is killed continues as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nasbench_snas.registry import Registry
from nasbench_snas.retrain.runner import retrain_folder, run_retraining
from nasbench_snas.runs.binding import named_hash
from nasbench_snas.runs.checkpoint import load_checkpoint
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.runs.start import InterruptedRunError

TIMES = ("t", "seconds", "images_per_s", "peak_memory", "elapsed")


def measured(folder: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k not in TIMES} for e in folder.events()]


def stored(folder: RunFolder) -> dict[str, Any]:
    digest = named_hash(folder.run_id)
    return load_checkpoint(folder.checkpoint_file, config_hash=digest)["retrain"]


def network(folder: RunFolder) -> dict[str, torch.Tensor]:
    state = stored(folder)
    return {**state["network"], **{f"momentum.{k}": v for k, v in state["momenta"].items()}}


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
def test_resume_after_sigkill_is_bit_equal(
    tiny: Any, tmp_path: Path, checkpoint_seconds: float
) -> None:
    config = tiny(**{"training.epochs": 3, "checkpoint_seconds": checkpoint_seconds})
    script = str(Path(__file__).with_name("killed.py"))
    ended = subprocess.run(
        [sys.executable, script, str(tmp_path / "a"), "5", config.model_dump_json()], timeout=240
    )
    assert ended.returncode == -signal.SIGKILL
    killed, whole = retrain_folder(tmp_path / "a", config), retrain_folder(tmp_path / "b", config)
    stopped_at = stored(killed)["step"]
    assert stopped_at == (5 if checkpoint_seconds == 0 else 3)
    first = run_retraining(config, Registry(), killed, RunOptions())
    second = run_retraining(config, Registry(), whole, RunOptions())
    assert measured(killed) == measured(whole)
    one, other = network(killed), network(whole)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    for key in ("test_err_top1", "test_loss", "params", "steps", "epochs_done"):
        assert first[key] == second[key]


def test_a_signal_leaves_a_checkpoint_and_a_time_limit_a_truncated_result(
    tiny: Any, tmp_path: Path
) -> None:
    config = tiny(**{"training.epochs": 3})
    folder = retrain_folder(tmp_path, config)

    def interrupt(event: dict[str, Any]) -> None:
        if event.get("step") == 4:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(InterruptedRunError) as caught:
        run_retraining(config, Registry(), folder, RunOptions(listeners=(interrupt,)))
    assert caught.value.exit_code == 143
    assert folder.status()["status"] == "interrupted"
    result = run_retraining(config, Registry(), folder, RunOptions(max_epochs=2))
    assert result["truncated"] and result["epochs_done"] == 2
    assert folder.status()["status"] == "truncated"
    final = run_retraining(config, Registry(), folder, RunOptions())
    assert not final["truncated"] and folder.status()["status"] == "done"
    assert [e["epoch"] for e in folder.events()] == [1, 2, 3]
