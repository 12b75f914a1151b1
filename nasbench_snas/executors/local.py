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
from nasbench_snas.executors.room import Room
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

    Raises:
        ConfigError: A number is negative.
        MissingDependencyError: A run needs more GPUs than there are.
    """

    def __init__(
        self,
        jobs: int = 0,
        gpus_per_run: float = 1,
        threads: int = 0,
        poll_seconds: float = 0.2,
    ) -> None:
        if threads < 0:
            raise ConfigError("threads must not be negative.")
        self._room = Room(jobs, gpus_per_run)
        self.jobs = self._room.jobs
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
            if self._room.is_full(len(running)):
                return
            task = waiting.popleft()
            if RunFolder(task.folder).is_locked():
                waiting.append(task)  # somebody else is at it: look again later
                continue
            gpus = self._room.take()
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
        self._room.give_back(item.gpus)
        return Outcome(item.task, item.process.returncode, message)
