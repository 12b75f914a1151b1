"""Sweeps: the product of estimators, spaces, constraints and seeds, planned, executed, continued.

A sweep has no state of its own: its runs do. Planning it again skips what is done, continues what
was interrupted and retries what crashed, so that nothing is lost when the sweep or a worker is
killed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_snas.errors import DataError, ExitCode, MissingDependencyError, NasbenchError
from nasbench_snas.executors import Executor, Outcome, Task
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.index import index_row
from nasbench_snas.runs.progress import duration
from nasbench_snas.search.estimate import Times, told
from nasbench_snas.search.plan import PlannedRun, as_begun, plan_run
from nasbench_snas.settings.parameters import config_error
from nasbench_snas.settings.toml import read_toml

_REFUSED = (ExitCode.USAGE, ExitCode.MISSING)
"""Exit codes of what would be refused again: settings; data, package or hardware."""


class SweepSettings(BaseModel):
    """What a sweep runs; also the layout of its TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    estimators: tuple[str, ...] = Field(min_length=1, description="Names of estimators.")
    spaces: tuple[str, ...] = Field(default=("darts-cnn",), min_length=1)
    constraints: tuple[str, ...] = Field(default=("none",), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    preset: str = "smoke"
    set: tuple[str, ...] = Field(default=(), description="Settings KEY=VALUE for all runs.")


def load_sweep(file: Path) -> SweepSettings:
    """Return the sweep in a TOML file; seeds may be a list or a text like ``0-9``.

    Raises:
        ConfigError: The file cannot be read, or a value is wrong.
    """
    from nasbench_snas.settings.seed_list import parse_seeds

    values = read_toml(file)
    if isinstance(values.get("seeds"), str):
        values["seeds"] = parse_seeds(values["seeds"])
    try:
        return SweepSettings(**values)
    except ValidationError as error:
        raise config_error(error, file.name) from error


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        plan: The resolved run.
        folder: Its folder.
        status: ``new``, or the status of what is there.
        epochs_done: Finished epochs of what is there.
    """

    plan: PlannedRun
    folder: RunFolder
    status: str
    epochs_done: int

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do; a diverged run is a result and is not repeated."""
        return self.status in ("done", "diverged")

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return self.plan.config.search.epochs

    @property
    def share_left(self) -> float:
        """What is left of the work, between 0 and 1."""
        return max(1 - self.epochs_done / self.epochs, 0.0)


def plan_sweep(registry: Registry, settings: SweepSettings, root: Path) -> list[SweepRun]:
    """Return all runs of a sweep in order, the seeds innermost; what is named twice runs once."""
    runs: dict[str, SweepRun] = {}
    product = itertools.product(
        settings.estimators, settings.spaces, settings.constraints, settings.seeds
    )
    for estimator, space, constraint, seed in product:
        plan = plan_run(
            registry,
            estimator,
            space,
            preset=settings.preset,
            constraint=constraint,
            seed=seed,
            assignments=settings.set,
        )
        plan = as_begun(registry, root, plan)
        folder = RunFolder(root / plan.run_id)
        status, done = "new", 0
        if folder.config_file.exists():
            row = index_row(folder)
            status, done = row["status"], row.get("epochs_done") or 0
        runs.setdefault(plan.run_id, SweepRun(plan, folder, status, done))
    return list(runs.values())


def check_sweep(
    registry: Registry, runs: list[SweepRun], *, device: str = "cpu", here: bool
) -> tuple[str, ...]:
    """Build what the runs that are left would build, the first seed of each kind.

    Args:
        registry: Where estimators and spaces come from.
        runs: The plan.
        device: Where they are built.
        here: Whether they run on this machine. Elsewhere what is missing here is not an error.

    Returns:
        What could not be checked here.

    Raises:
        NasbenchError: What a run would be refused for.
    """
    from nasbench_snas.search.ready import check_ready, unlike

    unchecked: dict[str, None] = {}
    for plan in unlike(run.plan for run in runs if not run.is_done):
        try:
            check_ready(plan.config, registry, device)
        except (DataError, MissingDependencyError) as error:
            if here:
                raise
            unchecked[error.what] = None
        except NasbenchError as error:
            raise type(error)(f"{plan.run_id}: {error.what}", error.why, error.fix) from error
    return tuple(unchecked)


def arguments_of(
    run: SweepRun,
    settings: SweepSettings,
    root: Path,
    extra: Iterable[str],
    told: Iterable[str] = (),
) -> Task:
    """Return the task of one run: the arguments of ``nasbench`` that run or continue it.

    Args:
        run: The run.
        settings: The sweep's settings.
        root: The run store.
        extra: Options of ``nasbench``.
        told: Options of ``nasbench run`` that are no settings: device, tracker …
    """
    config = run.plan.config
    arguments = ["-q", *extra, "--root", str(root), "run"]
    arguments += ["--estimator", config.estimator.name, "--space", config.space.name]
    arguments += ["--preset", config.preset, "--constraint", config.constraint]
    arguments += ["--seed", str(config.seed)]
    for assignment in settings.set:
        arguments += ["--set", assignment]
    arguments += told
    if run.status == "truncated":
        arguments += ["--resume", "auto"]
    return Task(run.plan.run_id, run.folder.path, tuple(arguments))


def summary(runs: list[SweepRun], times: Times | None) -> str:
    """Return one line: how many runs are done, to continue and new, and the expected time.

    Args:
        runs: The plan.
        times: What finished runs took; None: nothing is known.
    """
    diverged = sum(run.status == "diverged" for run in runs)
    left = [run for run in runs if not run.is_done]
    new = sum(run.status == "new" for run in left)
    text = f"{len(runs)} runs: {len(runs) - len(left)} done"
    text += f" ({diverged} of them diverged)" if diverged else ""
    text += f", {len(left) - new} begun, {new} new."
    if not left:
        return text
    found = [(run, times.expected(run.plan) if times else None) for run in left]
    known = [(run, guess) for run, guess in found if guess is not None]
    unknown = len(left) - len(known)
    if known:
        seconds = sum(guess.seconds * run.share_left for run, guess in known)
        sources = dict.fromkeys(m for _, guess in known for m in guess.sources)
        text += f"  About {duration(seconds)} of work ({told(sources)})"
        text += f", {seconds / 86_400:.3g} {times.days}" if times else ""
        text += f", and {unknown} runs of unknown time." if unknown else "."
    else:
        text += "  Of unknown time."
    return text


@dataclass
class SweepReport:
    """What a sweep did.

    Attributes:
        succeeded: Runs that finished now.
        failed: Outcomes of runs that failed, after all retries.
    """

    succeeded: list[str] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)


def execute(
    executor: Executor,
    tasks: list[Task],
    *,
    retries: int = 1,
    fail_fast: bool = False,
    progress: Callable[[Outcome, str], None] = lambda outcome, state: None,
    report: SweepReport | None = None,
) -> SweepReport:
    """Run tasks, retry those that crashed, go on when one fails.

    A run that diverged is a result: it counts as failed and is not retried. Nor is one that was
    refused for its settings (code 2), or for data, a package or hardware that is missing (3).

    Args:
        executor: Where they run.
        tasks: What to run.
        retries: How often a crashed task is started again.
        fail_fast: Stop at the first failure.
        progress: Called with each outcome and ``done``, ``retried`` or ``failed``.
        report: Is filled as outcomes are known, for whoever looks at it when this is stopped.
    """
    report, waiting = SweepReport() if report is None else report, list(tasks)
    for attempt in range(retries + 1):
        again: list[Task] = []
        for outcome in executor.run(waiting):
            if outcome.code == 0:
                report.succeeded.append(outcome.task.name)
                progress(outcome, "done")
            elif attempt < retries and not fail_fast and not _is_final(outcome):
                again.append(outcome.task)
                progress(outcome, "retried")
            else:
                report.failed.append(outcome)
                progress(outcome, "failed")
                if fail_fast:
                    return report
        waiting = again
        if not waiting:
            break
    return report


def _is_final(outcome: Outcome) -> bool:
    """Whether a run would fail in the same way again: it diverged, or was refused."""
    if outcome.code in _REFUSED:
        return True
    status: dict[str, Any] = RunFolder(outcome.task.folder).status()
    return status.get("status") == "diverged"
