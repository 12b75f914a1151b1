"""Slurm through submitit: an array with a job for each run, requeued on preemption or timeout.

Slurm warns a job before its time is up (``slurm_signal_delay_s``), or when it is preempted; the job
stops its run by SIGTERM, which writes a checkpoint, submitit submits the job again and the run
continues. ``submitted.json`` in the folder of the logs remembers which job a run was given, so that
a sweep that is started again waits for what is still in the queue instead of submitting it twice.
``cluster="local"`` runs the same jobs as processes on this machine, for trying a sweep out.
"""

from __future__ import annotations

import getpass
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import submitit

from nasbench_snas.errors import ConfigError, MissingDependencyError, NasbenchError
from nasbench_snas.executors.interpreter import safe_children
from nasbench_snas.executors.room import Room, whole_gpus
from nasbench_snas.executors.task import Outcome, Task, finish, start, wait_until_free
from nasbench_snas.runs.folder import read_object, write_json

_GPU_WORDS = ("gpus", "gres", "tres")


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
        jobs: Jobs at the same time; 0: as many as the cluster lets run, with ``cluster="local"``,
            which has no queue of its own, one for each GPU, or one.
        gpus_per_run: GPUs of a job, unless the parameters ask for GPUs (``slurm_gres`` …).
        cluster: ``slurm``, ``local`` or ``debug``; empty: ``slurm``.
        folder: For the jobs' logs.
        poll_seconds: Time between looks at the jobs.
        max_num_timeout: How often a job may reach its time limit and go on.
        parameters: Further parameters of submitit, for example ``slurm_partition`` or
            ``timeout_min``.

    Raises:
        MissingDependencyError: There is no Slurm on this machine, or (``cluster="local"``) a run
            needs more GPUs than there are.
        ConfigError: A parameter is unknown, or a number negative.
    """

    def __init__(
        self,
        jobs: int = 0,
        gpus_per_run: float = 1,
        cluster: str = "",
        folder: str = "slurm-logs",
        poll_seconds: float = 2.0,
        max_num_timeout: int = 100,
        **parameters: Any,
    ) -> None:
        wanted, gpus = cluster or "slurm", whole_gpus(jobs, gpus_per_run)
        if wanted == "slurm" and submitit.SlurmExecutor.affinity() < 0:
            raise MissingDependencyError(
                "there is no Slurm on this machine: 'srun' is not found.",
                "Without it every run would start here at once.",
                "Start the sweep on a login node, use --executor local, or try it out with "
                "cluster = 'local' in --executor-config.",
            )
        self._executor = submitit.AutoExecutor(
            folder=Path(folder), cluster=wanted, slurm_max_num_timeout=max_num_timeout
        )
        settings = {"timeout_min": 24 * 60, **parameters}
        if self._executor.cluster == "slurm":
            if not any(word in name for name in parameters for word in _GPU_WORDS):
                settings["gpus_per_node"] = gpus
            if jobs:
                settings.setdefault("slurm_array_parallelism", jobs)
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
        if self._executor.cluster == "slurm":
            jobs = {task: (job, ()) for task, job in self._submitted(list(waiting)).items()}
            waiting.clear()
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

    def _submitted(self, tasks: list[Task]) -> dict[Task, Any]:
        """Return the job of each task: the one that is in the queue, or one of a new array."""
        record = Path(self._executor.folder) / "submitted.json"
        given: dict[str, str] = read_object(record) if record.exists() else {}
        known = [task for task in tasks if str(task.folder) in given]
        queued = _queue() if known else set()
        jobs: dict[Task, Any] = {
            task: submitit.SlurmJob(self._executor.folder, given[str(task.folder)], tasks=[0])
            for task in known
            if given[str(task.folder)] in queued
        }
        if new := [task for task in tasks if task not in jobs]:
            commands, folders = [task.command for task in new], [task.folder for task in new]
            with safe_children():
                array = self._executor.map_array(_Run(), commands, folders)
            jobs |= zip(new, array, strict=True)
            given |= {str(task.folder): str(job.job_id) for task, job in jobs.items()}
            write_json(record, given)
        return {task: jobs[task] for task in tasks}

    @staticmethod
    def _outcome(task: Task, job: Any) -> Outcome:
        try:
            code, message = job.result()
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as e:
            code, message = 1, str(e).splitlines()[0]
        return Outcome(task, code, message)


def _queue() -> set[str]:
    """Return the user's jobs that wait or run, members of arrays as ``ID_INDEX``.

    Raises:
        NasbenchError: Slurm does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--format=%i %T", f"--user={getpass.getuser()}"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NasbenchError(
            f"cannot ask Slurm for its queue: {error}.",
            "Some of these runs were submitted before and may still wait there.",
            "Try again later, or remove submitted.json from the folder of the logs.",
        ) from error
    rows = [line.split() for line in told.stdout.splitlines()]
    return {row[0] for row in rows if len(row) == 2 and row[1] != "COMPLETING"}
