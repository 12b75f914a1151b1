"""Slurm through submitit: one job for each run, requeued on preemption or timeout.

A preempted run writes a checkpoint on SIGTERM; submitit submits it again and it continues.
``cluster="local"`` runs the same jobs as processes on this machine, for trying a sweep out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import submitit

from nasbench_snas.executors.task import Outcome, Task, run_command


class _Run:
    """A picklable job that can be submitted again."""

    def __call__(self, command: tuple[str, ...]) -> tuple[int, str]:
        """Run the command to its end."""
        return run_command(command)

    def checkpoint(self, command: tuple[str, ...]) -> Any:
        """Return the submission that continues this one after preemption."""
        return submitit.helpers.DelayedSubmission(self, command)


class SlurmExecutor:
    """Submits every task as a job and waits for all of them.

    Args:
        gpus_per_run: GPUs of a job.
        cluster: ``slurm``, ``local`` or ``debug``; empty: what submitit finds.
        folder: For the jobs' logs.
        poll_seconds: Time between looks at the jobs.
        parameters: Further parameters of submitit, for example ``slurm_partition`` or
            ``timeout_min``.
    """

    def __init__(
        self,
        gpus_per_run: float = 1,
        cluster: str = "",
        folder: str = "slurm-logs",
        poll_seconds: float = 2.0,
        **parameters: Any,
    ) -> None:
        self._executor = submitit.AutoExecutor(folder=Path(folder), cluster=cluster or None)
        settings = {"timeout_min": 24 * 60, **parameters}
        if self._executor.cluster == "slurm":
            settings.setdefault("gpus_per_node", int(gpus_per_run))
        self._executor.update_parameters(**settings)
        self._poll = poll_seconds

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Run all tasks; see :class:`nasbench_snas.executors.Executor`."""
        jobs = {task: self._executor.submit(_Run(), task.command) for task in tasks}
        while jobs:
            for task, job in list(jobs.items()):
                if job.done():
                    del jobs[task]
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
