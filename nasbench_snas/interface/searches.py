"""A search as a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.interface.calls import running
from nasbench_snas.interface.given import EstimatorLike, Given, SpaceLike, assignments
from nasbench_snas.interface.progress import Progress
from nasbench_snas.interface.results import SearchResult
from nasbench_snas.interface.stores import store_of
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.plugins import check_plugins
from nasbench_snas.search.plan import as_begun, must_repeat, plan_run
from nasbench_snas.search.runner import run_search

_RERUN = ("none", "failed", "stale", "all")


def search(
    estimator: EstimatorLike,
    space: SpaceLike = "darts-cnn",
    *,
    preset: str = "smoke",
    seed: int = 0,
    constraint: str = "none",
    settings: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    root: str | Path | None = None,
    plugins: Sequence[type | str | Path] = (),
    device: str = "auto",
    kernels: str = "auto",
    max_epochs: int | None = None,
    max_seconds: float | None = None,
    rerun: str = "none",
    progress: Progress = None,
) -> SearchResult:
    """Search an architecture, derive the child, validate it without retraining.

    It is ``nasbench run``: the same settings are the same run, in the same folder. A finished run
    is returned, an interrupted one is continued, bit for bit.

    Args:
        estimator: A name of ``nasbench ls estimators``, a subclass of
            :class:`nasbench_snas.api.Estimator`, or an object of one: then with its settings (a
            search trains an estimator of its own, which begins anew).
        space: A name of ``nasbench ls spaces``, a subclass of
            :class:`nasbench_snas.api.SpaceFamily`, or an object of one.
        preset: ``smoke`` (digits, half a minute), ``small`` or ``paper``.
        seed: Seed of everything that is random.
        constraint: Level of resource constraint: ``none``, ``mild``, ``moderate``, ``aggressive``.
        settings: What is changed of the preset, as ``{"search.epochs": 5}`` or nested;
            ``nasbench config schema`` lists all. They win over ``config``. A class stands for its
            name: ``{"data.dataset": MyImages}``.
        config: A TOML file of settings.
        root: The run store. None: a temporary one, which ends with this process.
        plugins: Further classes of any kind of plug-in, or files or modules as after ``--plugin``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        kernels: Backend of the parent network: ``auto``, ``reference``, ``cpu`` or ``triton``.
        max_epochs: Stop after so many epochs; the result is truncated.
        max_seconds: Stop after so many seconds of training; likewise.
        rerun: Which runs that ended are made anew: ``none``, ``failed``, ``stale`` (made by another
            source of the estimator) or ``all``.
        progress: None: a line in a notebook or on a terminal; True or False; or a function that is
            called with every event.

    Returns:
        The result; its numbers, cells and figures.

    Raises:
        CheckpointError: The folder is in use or damaged, or a class of a notebook has changed since
            the run was made.
        ConfigError: A setting is wrong.
        DataError: The images are missing.
        DivergedError: The loss became NaN or infinite.
        InterruptedRunError: Ctrl-C or SIGTERM, after a checkpoint; the same call continues.
        PluginError: An estimator or space is unknown or broken, or has no text to be recorded.
    """
    if rerun not in _RERUN:
        raise ConfigError(f"rerun={rerun!r} is unknown.", suggest(str(rerun), _RERUN))
    given = Given(plugins)
    chosen, where = given.estimator(estimator), given.space(space)
    changed, registry = given.settings(settings), given.registry
    store = store_of(root, given.sources)
    plan = plan_run(
        registry,
        chosen.name,
        where.name,
        preset=preset,
        constraint=constraint,
        seed=seed,
        file=None if config is None else Path(config),
        assignments=assignments(changed, ("estimator", chosen), ("space", where)),
    )
    plan = as_begun(registry, store, plan)
    folder = RunFolder(store / plan.run_id)
    repeat = must_repeat(registry, folder, plan.config, rerun)
    if root is not None:
        given.check_stored(folder, 'or repeat the run: rerun="all"', anew=repeat)
    if not repeat and folder.result() is not None and folder.status().get("status") == "done":
        check_plugins(folder, registry)
        return SearchResult.read(folder.path)
    with running(
        store,
        plan.run_id,
        plan.config.search.epochs,
        device=device,
        progress=progress,
        kernels=kernels,
        resume=not repeat,
        max_epochs=max_epochs,
        max_seconds=max_seconds,
        sources=plan.sources,
    ) as options:
        run_search(plan.config, registry, folder, options)
    return SearchResult.read(folder.path)
