"""A run folder that an earlier version left stays what it was: same identity, state and result.

``before/stopped`` was written by commit 031991d and stopped after the first of two epochs::

    OMP_NUM_THREADS=1 nasbench run -e snas -s snas-unit --kernels reference \
        --set search.epochs=2 --max-epochs 1

(torch 2.14.1; host, commit's branch and the list of packages are left out). The files beside it
say how the same version finished it.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.load import load_search
from nasbench_snas.search.plan import load_config

BEFORE = Path(__file__).parent / "before"
RUN = "snas-snas-unit-smoke-s0-5973ec39"
COMMAND = ["run", "-e", "snas", "-s", "snas-unit", "--kernels", "reference"]
COMMAND += ["--set", "search.epochs=2"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(BEFORE / "stopped", tmp_path / RUN)
    return tmp_path


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves of nested containers by their path."""
    if isinstance(value, dict):
        parts = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {name: value}
    return {k: v for key, item in parts for k, v in flat(item, f"{name}/{key}").items()}


def test_its_hash_is_recomputed_equal(root: Path) -> None:
    version = Registry().estimator("snas").version
    assert load_config(root / RUN / "config.toml").digest(version) == "5973ec39"


def test_its_checkpoint_loads_tensor_for_tensor(root: Path) -> None:
    content = torch.load(root / RUN / "checkpoints" / "last.pt", weights_only=True)
    stored = content["state"]["search"]
    loaded = load_search(RunFolder(root / RUN), Registry()).state_dict()
    before, now = flat(stored), flat(loaded)
    tensors = {key for key, value in before.items() if isinstance(value, torch.Tensor)}
    assert len(tensors) > 50
    assert tensors <= set(now)
    for key in tensors:
        assert torch.equal(before[key], now[key]), key


@pytest.mark.slow
def test_it_is_finished_as_the_version_that_began_it_would_have(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    try:
        result = CliRunner().invoke(nasbench, ["-q", "--root", str(root), *COMMAND])
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    assert [folder.name for folder in root.iterdir() if folder.name.startswith("snas-")] == [RUN]
    lines = (root / RUN / "events.jsonl").read_text().splitlines()
    events = [event for line in lines if "epoch" in (event := json.loads(line))]  # or a note
    expected = [json.loads(line) for line in (BEFORE / "finished-events.jsonl").open()]
    assert [event["epoch"] for event in events] == [1, 2]
    for now, before in zip(events, expected, strict=True):
        for key in ("train_loss", "search_loss", "entropy", "search_acc"):
            assert now[key] == pytest.approx(before[key], rel=1e-5), key
    found = json.loads((root / RUN / "result.json").read_text())
    del found["genotype"]["space"]  # said since
    for key, value in json.loads((BEFORE / "finished-result.json").read_text()).items():
        assert found[key] == (pytest.approx(value) if isinstance(value, float) else value), key
    out = root / "report"
    arguments = ["report", "--table", "1", "--format", "csv", "--figure", "none", "--out", str(out)]
    assert CliRunner().invoke(nasbench, ["--root", str(root), *arguments]).exit_code == 0
    (table,) = (f for f in (out / "tables").glob("table1-smoke-*.csv") if "matrix" not in f.name)
    row = next(csv.DictReader(table.open()))
    for key, value in json.loads((BEFORE / "finished-row.json").read_text()).items():
        assert row[key] == value or float(row[key]) == pytest.approx(float(value)), key
