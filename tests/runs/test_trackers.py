"""Trackers: every epoch's numbers arrive, offline; a missing package is said so."""

from __future__ import annotations

import builtins
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from nasbench_snas.errors import ConfigError, MissingDependencyError
from nasbench_snas.registry import Registry
from nasbench_snas.runs import trackers
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.trackers import open_tracker, scalars
from nasbench_snas.search.plan import plan_run
from nasbench_snas.settings.run import RunConfig

EVENTS: list[dict[str, Any]] = [
    {"kind": "start", "note": "x", "epoch": 0},
    {"kind": "epoch", "epoch": 1, "step": 5, "search_acc": 40.0, "entropy_edges": [1.0]},
    {"kind": "epoch", "epoch": 2, "step": 10, "search_acc": 60.0, "entropy_edges": [0.5]},
    {"kind": "result", "child_valid_acc": 55.0, "truncated": False},
]


def config() -> RunConfig:
    return plan_run(Registry(), "snas", "darts-cnn").config


def test_only_numbers_are_sent() -> None:
    assert scalars(EVENTS[1]) == {"epoch": 1.0, "step": 5.0, "search_acc": 40.0}
    assert scalars(EVENTS[3]) == {"child_valid_acc": 55.0}


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown tracker"):
        open_tracker("mlfloww", RunFolder(tmp_path), config())


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_wandb(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "wandb":
            raise ImportError("no wandb", name="wandb")
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_wandb)
    with pytest.raises(MissingDependencyError, match=r"nasbench-snas\[wandb\]"):
        open_tracker("wandb", RunFolder(tmp_path), config())


def test_a_tracker_that_fails_is_told_once_and_never_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __init__(self, folder: RunFolder, config: RunConfig) -> None: ...

        def __call__(self, event: dict[str, Any]) -> None:
            raise ConnectionError("no network")

    monkeypatch.setattr(trackers, "WandbTracker", Broken)
    monkeypatch.setattr(logging.getLogger("nasbench_snas"), "propagate", True)
    tracker = open_tracker("wandb", RunFolder(tmp_path), config())
    for event in EVENTS:
        tracker(event)
    assert [r.getMessage().count("no network") for r in caplog.records] == [1]


def test_a_tracker_that_cannot_be_opened_is_an_error_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: RunFolder, config: RunConfig) -> None:
        raise RuntimeError("api key not configured")

    monkeypatch.setattr(trackers, "WandbTracker", refuse)
    with pytest.raises(ConfigError, match="api key not configured"):
        open_tracker("wandb", RunFolder(tmp_path), config())


@pytest.mark.slow
def test_tensorboard_receives_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard comes with the extra [tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = open_tracker("tensorboard", RunFolder(tmp_path), config())
    for event in EVENTS:
        tracker(event)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    values = [(item.step, item.value) for item in found.Scalars("search_acc")]
    assert values == [(5, 40.0), (10, 60.0)]


@pytest.mark.slow
def test_wandb_records_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases comes with the extra [wandb]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = open_tracker("wandb", RunFolder(tmp_path), config())
    for event in EVENTS:
        tracker(event)
    (record,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 60
    while b"search_acc" not in record.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.2)
    content = record.read_bytes()
    assert b"search_acc" in content
    assert json.dumps("snas").encode() in content
