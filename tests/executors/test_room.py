"""Executors give each run the GPUs that it asks for, or say that there are too few."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError, MissingDependencyError
from nasbench_snas.executors import make_executor


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_more_gpus_than_there_are_is_an_error_and_no_endless_wait(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {}
    if name == "slurm":
        pytest.importorskip("submitit")
        options = {"cluster": "local", "folder": str(tmp_path / "logs")}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(MissingDependencyError, match="needs 2 GPUs, this machine has 1"):
        make_executor(name, jobs=0, gpus_per_run=2, options=options)


@pytest.mark.parametrize(("jobs", "gpus"), [(0, math.nan), (0, math.inf), (-1, 1.0), (0, -1.0)])
@pytest.mark.parametrize("name", ["local", "slurm"])
def test_numbers_that_mean_nothing_are_refused(
    name: str, jobs: int, gpus: float, tmp_path: Path
) -> None:
    if name == "slurm":
        pytest.importorskip("submitit")
    options = {"folder": str(tmp_path / "logs")} if name == "slurm" else {}
    with pytest.raises(ConfigError, match="0 or more"):
        make_executor(name, jobs=jobs, gpus_per_run=gpus, options=options)


@pytest.mark.parametrize(
    "words", [("--retries", "-1"), ("--gpus-per-run", "-1"), ("--executor", "print")]
)
def test_a_sweep_that_would_run_nothing_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    command = ["--root", str(tmp_path), "sweep", "--estimators", "snas", "--on-finish", "true"]
    result = CliRunner().invoke(nasbench, [*command, *words])
    assert result.exit_code == 2, result.output
