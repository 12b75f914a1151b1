"""Processes on this machine, with threads and GPUs shared out between them."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from nasbench_snas.errors import ConfigError
from nasbench_snas.executors.interpreter import safe_environment
from nasbench_snas.executors.task import Outcome, Task, last_error
from nasbench_snas.runs.folder import RunFolder


@dataclass
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    gpus: tuple[str, ...]


class LocalExecutor:
    """Runs tasks as processes, ``jobs`` at a time.

    Each process gets its share of the processor threads, and GPUs of its own where there are
    enough. A run that another process is working on (a sweep that was killed leaves its workers
    alive) is waited for and not started twice. When the executor is closed early, its processes
    are asked to stop (they write a checkpoint).

    Args:
        jobs: Processes at the same time; 0: one for each GPU, or one.
        gpus_per_run: GPUs of a process.
        threads: Threads of a process; 0: an equal share of the processors.
        poll_seconds: Time between looks at the processes.
    """

    def __init__(
        self,
        jobs: int = 0,
        gpus_per_run: float = 1,
        threads: int = 0,
        poll_seconds: float = 0.2,
    ) -> None:
        if jobs < 0 or threads < 0 or gpus_per_run < 0:
            raise ConfigError("jobs, threads and gpus_per_run must not be negative.")
        self._free_gpus = list(visible_gpus())
        self._gpus_per_run = max(int(gpus_per_run), 1) if self._free_gpus else 0
        by_gpu = len(self._free_gpus) // self._gpus_per_run if self._gpus_per_run else 1
        self.jobs = jobs or max(by_gpu, 1)
        self.threads = threads or max((os.cpu_count() or 1) // self.jobs, 1)
        self._poll = poll_seconds

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Run all tasks; see :class:`nasbench_snas.executors.Executor`."""
        waiting, running = deque(tasks), list[_Running]()
        try:
            while waiting or running:
                self._start(waiting, running)
                for item in [r for r in running if r.process.poll() is not None]:
                    running.remove(item)
                    yield self._finished(item)
                if running or waiting:
                    time.sleep(self._poll)
        finally:
            for item in running:
                item.process.terminate()
            for item in running:
                item.process.wait()
                item.errors.close()

    def _start(self, waiting: deque[Task], running: list[_Running]) -> None:
        for _ in range(len(waiting)):
            if len(running) >= self.jobs or len(self._free_gpus) < self._gpus_per_run:
                return
            task = waiting.popleft()
            if RunFolder(task.folder).is_locked():
                waiting.append(task)  # somebody else is at it: look again later
                continue
            gpus = tuple(self._free_gpus[: self._gpus_per_run])
            del self._free_gpus[: self._gpus_per_run]
            errors = tempfile.TemporaryFile()
            process = subprocess.Popen(
                task.command,
                env=self._environment(gpus),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
            running.append(_Running(task, process, errors, gpus))

    def _environment(self, gpus: tuple[str, ...]) -> dict[str, str]:
        threads = str(self.threads)
        extra = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if gpus:
            extra["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        return {**safe_environment(), **extra}

    def _finished(self, item: _Running) -> Outcome:
        item.errors.seek(0)
        message = last_error(item.errors.read())
        item.errors.close()
        self._free_gpus.extend(item.gpus)
        return Outcome(item.task, item.process.returncode, message)


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, without initialising CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name for name in chosen.split(",") if name not in ("", "-1"))
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    lines = [line for line in listing.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(index) for index in range(len(lines)))
