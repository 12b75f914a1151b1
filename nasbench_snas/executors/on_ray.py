"""Ray: an existing cluster (``address``), or a local one that is started for the sweep."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ray

from nasbench_snas.errors import ConfigError
from nasbench_snas.executors.task import Outcome, Task, finish, start, wait_until_free


def _run(command: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """Run one task on a worker."""
    wait_until_free(folder)
    return finish(start(command))


class RayExecutor:
    """Runs every task as a Ray task; the run store must be on a file system that all nodes share.

    A task whose worker dies is started again by Ray, and continues from its checkpoint.

    Args:
        jobs: Tasks at the same time on a local cluster; 0: as many as there are processors.
        gpus_per_run: GPUs of a task, where the cluster has any.
        address: Of an existing cluster; empty: $RAY_ADDRESS, or start a local one.
        cpus_per_run: Processors of a task.
        max_retries: How often Ray restarts a task whose worker died.
    """

    def __init__(
        self,
        jobs: int = 0,
        gpus_per_run: float = 1,
        address: str = "",
        cpus_per_run: float = 1,
        max_retries: int = 3,
    ) -> None:
        self._jobs, self._gpus = jobs, gpus_per_run
        self._address = address or os.environ.get("RAY_ADDRESS", "")
        self._cpus, self._retries = cpus_per_run, max_retries

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Run all tasks; see :class:`nasbench_snas.executors.Executor`."""
        started = not ray.is_initialized()
        if started:
            self._initialise()
        try:
            yield from self._run(list(tasks))
        finally:
            if started:
                ray.shutdown()

    def _initialise(self) -> None:
        if not self._address:
            settings: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
            ray.init(address="local", num_cpus=self._jobs or None, **settings)
            return
        try:
            ray.init(address=self._address, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise ConfigError(
                f"cannot reach a Ray cluster at {self._address!r}: {error}",
                fix="Start one with `ray start --head`, or leave address out for a local one.",
            ) from error

    def _run(self, tasks: list[Task]) -> Iterator[Outcome]:
        gpus = self._gpus if ray.cluster_resources().get("GPU", 0) else 0
        remote = ray.remote(_run).options(
            num_cpus=self._cpus, num_gpus=gpus, max_retries=self._retries
        )
        pending = {remote.remote(task.command, task.folder): task for task in tasks}
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1)
            for reference in ready:
                task = pending.pop(reference)
                try:
                    code, message = ray.get(reference)
                except ray.exceptions.RayError as error:
                    code, message = 1, f"{type(error).__name__}: {error}".splitlines()[0]
                yield Outcome(task, code, message)
