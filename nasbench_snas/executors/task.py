"""Tasks, their outcomes, and the choice of an executor by name."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nasbench_snas.executors.interpreter import SAFE, safe_environment
from nasbench_snas.runs.folder import RunFolder

EXECUTORS = ("local", "print", "ray", "slurm")
"""Names that ``--executor`` accepts."""


@dataclass(frozen=True)
class Task:
    """One run as a command.

    Attributes:
        name: The run id.
        folder: The run's folder.
        arguments: Arguments of ``nasbench`` that run (or continue) it.
    """

    name: str
    folder: Path
    arguments: tuple[str, ...]

    @property
    def command(self) -> tuple[str, ...]:
        """The whole command, with this interpreter."""
        return (*SAFE, "-m", "nasbench_snas", *self.arguments)


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: The task.
        code: Exit code; 0 is success, negative a signal.
        message: Its last error, with the lines that say why and how to mend it.
    """

    task: Task
    code: int
    message: str = ""


class Executor(Protocol):
    """Runs tasks somewhere."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Run all tasks and yield each outcome as it is known, in any order."""


def wait_until_free(folder: Path, poll_seconds: float = 0.5) -> None:
    """Wait while a process is working on the run of ``folder``.

    A worker that was killed leaves its process alive, and its successor is sent the same task.
    """
    while RunFolder(folder).is_locked():
        time.sleep(poll_seconds)


def start(command: tuple[str, ...], gpus: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """Start ``command`` with its error output kept for :func:`finish`, on ``gpus`` if given."""
    chosen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    return subprocess.Popen(
        command,
        env={**safe_environment(), **chosen},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for a started command; return its exit code and the last error of its output."""
    _, errors = process.communicate()
    return process.returncode, last_error(errors)


def last_error(text: bytes) -> str:
    """Return the last error in ``text``: a line ``Error: …`` with the indented lines below it.

    Those say why, and how to mend it. Without such a line: the last non-empty one.
    """
    lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line.startswith("Error:")]
    if not starts:
        return (lines or [""])[-1].strip()
    error = [lines[starts[-1]].strip()]
    for line in lines[starts[-1] + 1 :]:
        if not line.startswith("  "):
            break
        error.append(line.rstrip())
    return "\n".join(error)
