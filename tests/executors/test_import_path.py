"""No Python that a sweep or a build starts imports a stranger's file from the current folder."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from nasbench_snas.executors import Task, make_executor
from nasbench_snas.executors.local import LocalExecutor
from nasbench_snas.executors.printer import PrintExecutor
from nasbench_snas.executors.task import finish, start
from nasbench_snas.kernels.cpu import build

PLANTED = "import pathlib; pathlib.Path({mark!r}).write_text('imported')\nraise SystemExit(9)\n"
NAMES = ("sklearn", "torch", "click", "cloudpickle", "pydantic", "filelock", "numpy")


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that exists as soon as one of the planted modules of the current folder runs."""
    here = tmp_path / "here"
    here.mkdir()
    mark = tmp_path / "mark"
    for name in NAMES:
        (here / f"{name}.py").write_text(PLANTED.format(mark=str(mark)))
    monkeypatch.chdir(here)
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "cache"))
    return mark


def help_task(folder: Path) -> Task:
    return Task("help", folder, ("doctor",))


def test_a_local_worker_does_not_import_from_the_current_folder(mark: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(jobs=1, threads=1, poll_seconds=0.05)
    (outcome,) = executor.run([help_task(tmp_path / "run")])
    assert outcome.code == 0, outcome.message
    assert not mark.exists()


def test_a_command_of_ray_and_slurm_does_not_import_from_the_current_folder(
    mark: Path, tmp_path: Path
) -> None:
    code, message = finish(start(help_task(tmp_path / "run").command))
    assert code == 0, message
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is missing")
def test_a_job_of_slurm_does_not_import_from_the_current_folder(mark: Path, tmp_path: Path) -> None:
    before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    options = {"cluster": "local", "folder": str(tmp_path / "logs"), "poll_seconds": 0.1}
    executor = make_executor("slurm", jobs=1, gpus_per_run=0, options=options)
    (outcome,) = executor.run([help_task(tmp_path / "run")])
    assert outcome.code == 0, outcome.message
    assert not mark.exists()
    assert {name: os.environ.get(name) for name in before} == before


def test_the_printed_command_is_the_installed_script(capsys: pytest.CaptureFixture[str]) -> None:
    list(PrintExecutor().run([help_task(Path("run"))]))
    assert capsys.readouterr().out == "nasbench doctor\n"


def test_the_background_build_does_not_import_from_the_current_folder(
    mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    monkeypatch.setattr(build, "missing_compiler", lambda: "")
    popen = lambda command, **options: commands.append((command, options))  # noqa: E731
    monkeypatch.setattr(build.subprocess, "Popen", popen)
    build.build_in_background()
    (((command), options),) = commands
    monkeypatch.undo()
    monkeypatch.chdir(mark.parent / "here")
    command = [*command[:-1], "import json, sys, torch; print(json.dumps(sys.path))"]
    options = {**options, "stdout": build.subprocess.PIPE, "stderr": None}
    with build.subprocess.Popen(command, **options) as process:
        path = json.loads(process.communicate()[0])
    assert "" not in path and os.getcwd() not in path and not mark.exists()
