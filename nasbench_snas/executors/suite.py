"""Suites: a sweep of searches over several spaces, then retrainings of the cells that they found.

``darts-bench`` is DARTS-Bench-Suite (Jha et al. 2025, arXiv:2507.16533): nine spaces, several seeds
of each search, and nine retrainings of each derived cell: learning rate .025, .1, .01 by weight
decay 1e-4, 3e-4, 1e-3, in the search's channels and cells, without an auxiliary head. As there, the
cell that is retrained is the best of the seeds by search validation (``best``); ``each`` retrains
every seed's. With preset ``paper``: searches of 100 epochs with half of the training images for
alpha, batches of 96 images (64 in the deep network), retrainings of 300 epochs in batches of 512.
With ``smoke``: searches of 5 epochs on 600 of the digits.
Settings are those of the released code (https://github.com/automl/ConfigurableOptimizer,
``scripts/benchsuite_experiments``). Other presets run the same plan at their own sizes.

Deviations: the best seed is that of the highest search validation accuracy (published: the lowest
validation loss); every estimator has the published settings of DARTS (there GDAS runs 300 epochs in
larger batches, DrNAS has other learning rates); path dropout grows from 0.

A suite has no state of its own: like a sweep it is planned again from its runs' folders.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.executors import Task
from nasbench_snas.executors.sweep import SweepRun, SweepSettings, arguments_of, plan_sweep
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.plan import Target, best_of, plan_retraining, search_target
from nasbench_snas.retrain.runner import retrain_folder
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.settings.retrain import retrain_presets

Cells = Literal["best", "each"]
_NETWORKS = ("wide", "deep", "single-cell")
_SETS = ("", "-no-skip", "-all-skip")
SPACES = tuple(f"darts-bench-{network}{own}" for network in _NETWORKS for own in _SETS)
"""The nine spaces."""
LEARNING_RATES = (0.025, 0.1, 0.01)
WEIGHT_DECAYS = (1e-4, 3e-4, 1e-3)
SETTINGS = tuple(itertools.product(LEARNING_RATES, WEIGHT_DECAYS))
"""Learning rate and weight decay of each of the nine retrainings of a cell."""
_SEARCH = ("search.level=bilevel", "child.rule=top2")
_SEARCH_AT = {
    "paper": ("search.epochs=100",),
    "smoke": ("search.epochs=5", "search.batch_size=64", "data.max_train_images=600"),
}
_RETRAIN_AT = {
    "paper": ("training.epochs=300", "training.batch_size=512", "training.drop_path=0.3")
}
"""Settings of searches and retrainings besides, by preset."""
SUITES = {"darts-bench": SPACES}
"""Suites by name, with their spaces."""


def check_suite(name: str, preset: str, spaces: Iterable[str]) -> None:
    """Raise a :class:`ConfigError` unless there is such a suite with these spaces and preset."""
    if name not in SUITES:
        raise ConfigError(f"unknown suite {name!r}.", suggest(name, SUITES))
    for space in spaces:
        if space not in SUITES[name]:
            raise ConfigError(
                f"space {space!r} is not of the suite {name!r}.", suggest(space, SUITES[name])
            )
    if preset not in retrain_presets():
        raise ConfigError(
            f"preset {preset!r} has no retraining of that name.",
            f"A suite needs one: {', '.join(retrain_presets())}.",
        )


@dataclass(frozen=True)
class Retraining:
    """One retraining of a suite.

    Attributes:
        name: Its run id.
        folder: Its folder.
        status: ``new``, or the status of what is there.
        task: The command that runs or continues it.
    """

    name: str
    folder: RunFolder
    status: str
    task: Task

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do; one that diverged is a result."""
        return self.status in ("done", "diverged")


@dataclass(frozen=True)
class Suite:
    """A suite's searches, with the settings that each was planned with.

    Attributes:
        settings: Settings of each search of a space, by space.
        runs: The searches, the seeds innermost.
        cells: Which cells are retrained.
        assignments: Settings KEY=VALUE of all retrainings.
    """

    settings: dict[str, SweepSettings]
    runs: tuple[SweepRun, ...]
    cells: Cells = "best"
    assignments: tuple[str, ...] = ()

    @property
    def groups(self) -> list[list[SweepRun]]:
        """The searches that differ in nothing but the seed."""
        found: dict[tuple[str, ...], list[SweepRun]] = {}
        for run in self.runs:
            config = run.plan.config
            key = (config.space.name, config.estimator.name, config.constraint)
            found.setdefault(key, []).append(run)
        return list(found.values())

    @property
    def num_cells(self) -> int:
        """Cells that are retrained if every search gives one."""
        return len(self.groups) if self.cells == "best" else len(self.runs)

    @property
    def num_retrainings(self) -> int:
        """Retrainings of the whole suite if every search gives a cell."""
        return self.num_cells * len(SETTINGS)


def plan_suite(
    registry: Registry,
    settings: SweepSettings,
    root: Path,
    *,
    cells: Cells = "best",
    assignments: Sequence[str] = (),
) -> Suite:
    """Return the searches of a suite.

    Args:
        registry: Where estimators and spaces come from.
        settings: Estimators, spaces, constraints, seeds, preset and settings of the user, which
            override the suite's.
        root: The run store.
        cells: ``best`` or ``each``; see the module's docstring.
        assignments: Settings KEY=VALUE of all retrainings.
    """
    of_space, runs = {}, []
    for space in settings.spaces:
        own = [*_SEARCH, *_SEARCH_AT.get(settings.preset, ())]
        if settings.preset == "paper":
            own += [f"search.batch_size={64 if space.startswith('darts-bench-deep') else 96}"]
        merged = (*_without(own, settings.set), *settings.set)
        of_space[space] = settings.model_copy(update={"spaces": (space,), "set": merged})
        runs += plan_sweep(registry, of_space[space], root)
    return Suite(of_space, tuple(runs), cells, tuple(assignments))


def search_tasks(suite: Suite, root: Path, extra: Iterable[str], told: Iterable[str]) -> list[Task]:
    """Return the tasks of the searches that are left; see :func:`arguments_of`."""
    extra, told = tuple(extra), tuple(told)
    return [
        arguments_of(run, suite.settings[run.plan.config.space.name], root, extra, told)
        for run in suite.runs
        if not run.is_done
    ]


def plan_retrainings(
    registry: Registry, suite: Suite, root: Path, extra: Iterable[str] = (), device: str = "auto"
) -> tuple[list[Retraining], list[str]]:
    """Return the retrainings of all cells that are known now, and what has none, in words.

    Args:
        registry: Where spaces come from.
        suite: Its searches; the folders are looked at again.
        root: The run store.
        extra: Options of ``nasbench``.
        device: Where the retrainings run.
    """
    found, without, extra = [], [], tuple(extra)
    for group in suite.groups:
        folders = [run.folder for run in group]
        states = [str(folder.status().get("status", "new")) for folder in folders]
        finished = [f for f, state in zip(folders, states, strict=True) if state == "done"]
        waiting = [state for state in states if state not in ("done", "diverged", "failed")]
        label = f"{group[0].plan.config.estimator.name} in {group[0].plan.config.space.name}"
        if not finished or (waiting and suite.cells == "best"):
            why = f"{len(waiting)} of {len(group)} searches are not finished"
            without.append(f"{label}: {why if waiting else 'no search has finished'}")
            continue
        targets = (
            [(best_of(folders), ("--best-of", ",".join(f.run_id for f in folders)))]
            if suite.cells == "best"
            else [(search_target(folder), (folder.run_id,)) for folder in finished]
        )
        for target, words in targets:
            found += _nine(registry, suite, group[0], target, words, root, extra, device)
    return found, without


def _nine(
    registry: Registry,
    suite: Suite,
    search: SweepRun,
    target: Target,
    words: tuple[str, ...],
    root: Path,
    extra: tuple[str, ...],
    device: str,
) -> list[Retraining]:
    """Return the nine retrainings of one cell."""
    config = search.plan.config
    sizes = config.space.parameters
    common = [
        "network.skeleton=cifar",
        "network.auxiliary=0.0",
        f"network.channels={sizes['channels']}",
        f"network.cells={sizes['cells']}",
        *_RETRAIN_AT.get(config.preset, ()),
    ]
    result = []
    for rate, decay in SETTINGS:
        own = [*common, f"training.lr={rate}", f"training.weight_decay={decay}"]
        settings = (*_without(own, suite.assignments), *suite.assignments)
        plan = plan_retraining(registry, target, preset=config.preset, assignments=settings)
        folder = retrain_folder(root, plan.config)
        arguments = ["-q", *extra, "--root", str(root), "retrain", *words, "-p", config.preset]
        for assignment in settings:
            arguments += ["--set", assignment]
        arguments += ["--device", device] if device != "auto" else []
        status = str(folder.status().get("status", "new"))
        task = Task(folder.run_id, folder.path, tuple(arguments))
        result.append(Retraining(folder.run_id, folder, status, task))
    return result


def _without(own: Iterable[str], given: Iterable[str]) -> list[str]:
    """Return the assignments of ``own`` whose key is not among those of ``given``."""
    keys = {assignment.partition("=")[0].strip() for assignment in given}
    return [assignment for assignment in own if assignment.partition("=")[0] not in keys]
