"""Slurm through submitit: one job for each run, requeued on preemption or timeout.

A job that is preempted stops its run by SIGTERM, which writes a checkpoint; submitit submits the
job again and the run continues.
``cluster="local"`` runs the same jobs as processes on this machine, for trying a sweep out.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import submitit

from nasbench_snas.errors import ConfigError, MissingDependencyError
from nasbench_snas.executors.interpreter import safe_children
from nasbench_snas.executors.room import Room
from nasbench_snas.executors.task import Outcome, Task, finish, start, wait_until_free


class _Run:
    """A picklable job that can be submitted again."""

    def __init__(self, gpus: tuple[str, ...] = ()) -> None:
        self._gpus = gpus
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, command: tuple[str, ...], folder: Path) -> tuple[int, str]:
        """Run the command to its end."""
        wait_until_free(folder)
        with _blocked(signal.SIGUSR1, signal.SIGUSR2):
            self._process = start(command, self._gpus)
        return finish(self._process)

    def checkpoint(self, command: tuple[str, ...], folder: Path) -> Any:
        """Let the run write its checkpoint; return the submission that continues it."""
        if self._process is not None:
            self._process.terminate()
            wait_until_free(folder)
        return submitit.helpers.DelayedSubmission(_Run(self._gpus), command, folder)


@contextmanager
def _blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Keep signals from the processes that are started meanwhile.

    Slurm warns every process of a job step; the run is to stop by SIGTERM from its job, which
    lets it write a checkpoint.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


class SlurmExecutor:
    """Submits every task as a job and waits for all of them.

    Args:
        jobs: Jobs at the same time with ``cluster="local"``, which has no queue of its own; 0: one
            for each GPU, or one.
        gpus_per_run: GPUs of a job.
        cluster: ``slurm``, ``local`` or ``debug``; empty: ``slurm``.
        folder: For the jobs' logs.
        poll_seconds: Time between looks at the jobs.
        parameters: Further parameters of submitit, for example ``slurm_partition`` or
            ``timeout_min``.

    Raises:
        MissingDependencyError: There is no Slurm on this machine, or (``cluster="local"``) a run
            needs more GPUs than there are.
        ConfigError: A parameter is unknown.
    """

    def __init__(
        self,
        jobs: int = 0,
        gpus_per_run: float = 1,
        cluster: str = "",
        folder: str = "slurm-logs",
        poll_seconds: float = 2.0,
        **parameters: Any,
    ) -> None:
        wanted = cluster or "slurm"
        if wanted == "slurm" and submitit.SlurmExecutor.affinity() < 0:
            raise MissingDependencyError(
                "there is no Slurm on this machine: 'srun' is not found.",
                "Without it every run would start here at once.",
                "Start the sweep on a login node, use --executor local, or try it out with "
                "cluster = 'local' in --executor-config.",
            )
        self._executor = submitit.AutoExecutor(folder=Path(folder), cluster=wanted)
        settings = {"timeout_min": 24 * 60, **parameters}
        if self._executor.cluster == "slurm":
            settings.setdefault("gpus_per_node", int(gpus_per_run))
        try:
            self._executor.update_parameters(**settings)
        except NameError as error:  # submitit's complaint about a name it does not know
            raise ConfigError(f"executor 'slurm': {error}") from error
        self._poll = poll_seconds
        self._room = Room(jobs, gpus_per_run) if self._executor.cluster == "local" else None

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Run all tasks; see :class:`nasbench_snas.executors.Executor`."""
        waiting = deque(tasks)
        jobs: dict[Task, tuple[Any, tuple[str, ...]]] = {}
        while waiting or jobs:
            with safe_children():
                while waiting and not (self._room and self._room.is_full(len(jobs))):
                    gpus = self._room.take() if self._room else ()
                    task = waiting.popleft()
                    job = self._executor.submit(_Run(gpus), task.command, task.folder)
                    jobs[task] = job, gpus
            for task, (job, gpus) in list(jobs.items()):
                if job.done():
                    del jobs[task]
                    if self._room:
                        self._room.give_back(gpus)
                    yield self._outcome(task, job)
            if jobs:
                time.sleep(self._poll)

    @staticmethod
    def _outcome(task: Task, job: Any) -> Outcome:
        try:
            code, message = job.result()
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as e:
            code, message = 1, str(e).splitlines()[0]
        return Outcome(task, code, message)
