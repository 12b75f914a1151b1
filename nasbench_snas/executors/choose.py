"""The executor of a name; its module, and with it its package, is imported only then."""

from __future__ import annotations

from typing import Any

from nasbench_snas.errors import ConfigError, MissingDependencyError, suggest
from nasbench_snas.executors.task import EXECUTORS, Executor


def make_executor(
    name: str, *, jobs: int, gpus_per_run: float, options: dict[str, Any]
) -> Executor:
    """Return the executor called ``name``.

    Args:
        name: One of :data:`EXECUTORS`.
        jobs: Runs at the same time (local, Ray).
        gpus_per_run: GPUs of a run, where there are any.
        options: Further settings, from ``--executor-config``.

    Raises:
        ConfigError: There is no such executor, or an option is unknown.
        MissingDependencyError: Its package is not installed.
    """
    if name not in EXECUTORS:
        raise ConfigError(f"unknown executor {name!r}.", suggest(name, EXECUTORS))
    try:
        if name == "local":
            from nasbench_snas.executors.local import LocalExecutor

            return LocalExecutor(jobs=jobs, gpus_per_run=gpus_per_run, **options)
        if name == "print":
            from nasbench_snas.executors.printer import PrintExecutor

            return PrintExecutor(**options)
        if name == "ray":
            from nasbench_snas.executors.on_ray import RayExecutor

            return RayExecutor(jobs=jobs, gpus_per_run=gpus_per_run, **options)
        from nasbench_snas.executors.slurm import SlurmExecutor

        return SlurmExecutor(jobs=jobs, gpus_per_run=gpus_per_run, **options)
    except TypeError as error:
        raise ConfigError(f"executor {name!r}: {error}.") from error
    except ImportError as error:
        raise MissingDependencyError(
            f"executor {name!r} needs the package {error.name!r}.",
            fix=f"pip install 'nasbench-snas[{name}]'",
        ) from error
