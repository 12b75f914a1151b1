"""Executors give each run the GPUs that it asks for, or say that there are too few."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_snas.errors import MissingDependencyError
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
