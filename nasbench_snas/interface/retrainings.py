"""A retraining as a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.interface.calls import running
from nasbench_snas.interface.given import Given, assignments
from nasbench_snas.interface.progress import Progress
from nasbench_snas.interface.results import RetrainResult, SearchResult
from nasbench_snas.interface.stores import is_temporary, store_of
from nasbench_snas.outside import file_name
from nasbench_snas.retrain.plan import (
    Target,
    default_preset,
    find_target,
    plan_retraining,
    search_target,
)
from nasbench_snas.retrain.runner import retrain_folder, run_retraining
from nasbench_snas.runs.folder import RunFolder

_RERUN = ("none", "failed", "all")


def retrain(
    architecture: SearchResult | Genotype | str | Path,
    *,
    preset: str | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    root: str | Path | None = None,
    plugins: Sequence[type | str | Path] = (),
    device: str = "auto",
    kernels: str = "auto",
    allow_over_budget: bool = False,
    max_epochs: int | None = None,
    max_seconds: float | None = None,
    rerun: str = "none",
    progress: Progress = None,
) -> RetrainResult:
    """Train the network of an architecture from scratch and measure its test error.

    It is ``nasbench retrain``. The error is that of the last epoch, never of the best.

    Args:
        architecture: The result of a search, a genotype, or a text: the name of a run in ``root``,
            a name of the zoo (``snas-mild``), a file, ``FILE:NAME``, or the genotype itself.
        preset: ``smoke``, ``small``, ``paper`` or ``imagenet``; None: that of the search,
            else ``smoke``.
        seed: Seed of the retraining.
        settings: What is changed of the preset, as ``{"training.epochs": 5}`` or nested.
        config: A TOML file of settings.
        root: The run store. None: that of the search, if a result is given; else a temporary one.
        plugins: As of :func:`nasbench_snas.search`.
        device: As of :func:`nasbench_snas.search`.
        kernels: ``auto``, ``reference`` or ``cpu``.
        allow_over_budget: Whether a network above the limit of multiply-adds is trained.
        max_epochs: Stop after so many epochs; the result is truncated.
        max_seconds: Stop after so many seconds of training; likewise.
        rerun: Which retrainings that ended are made anew: ``none``, ``failed`` or ``all``.
        progress: As of :func:`nasbench_snas.search`.

    Returns:
        The result; its numbers, cells and network.

    Raises:
        CheckpointError: The folder is in use or damaged, or the search has not finished.
        ConfigError: A setting is wrong, or the network is above the limit.
        DataError: The images are missing.
        DivergedError: The loss became NaN or infinite.
        GenotypeError: ``architecture`` is neither a run nor a genotype.
        InterruptedRunError: Ctrl-C or SIGTERM, after a checkpoint; the same call continues.
    """
    if rerun not in _RERUN:
        raise ConfigError(f"rerun={rerun!r} is unknown.", suggest(str(rerun), _RERUN))
    given = Given(plugins)
    changed = given.settings(settings)
    if root is None and isinstance(architecture, SearchResult):
        root = architecture.folder.parent
    store = store_of(root, given.sources)
    target = _target(architecture, store)
    plan = plan_retraining(
        given.registry,
        target,
        preset=preset or default_preset(target),
        seed=seed,
        file=None if config is None else Path(config),
        assignments=assignments(changed),
    )
    folder = retrain_folder(store, plan.config)
    repeat = rerun == "all" or (rerun == "failed" and folder.ended_badly)
    if not is_temporary(store):
        given.check_stored(folder, 'or repeat the run: rerun="all"', anew=repeat)
    if not repeat and folder.result() is not None and folder.status().get("status") == "done":
        return RetrainResult.read(folder.path)
    with running(
        store,
        folder.run_id,
        plan.config.training.epochs,
        device=device,
        progress=progress,
        kernels=kernels,
        resume=not repeat,
        max_epochs=max_epochs,
        max_seconds=max_seconds,
        sources=plan.sources,
    ) as options:
        run_retraining(
            plan.config,
            given.registry,
            folder,
            options,
            parent=plan.parent,
            allow_over_budget=allow_over_budget,
        )
    return RetrainResult.read(folder.path)


def _target(architecture: SearchResult | Genotype | str | Path, store: Path) -> Target:
    if isinstance(architecture, SearchResult):
        return search_target(RunFolder(architecture.folder))
    if isinstance(architecture, Genotype):
        return Target(file_name(architecture.name, "genotype", longest=80), architecture)
    return find_target(store, str(architecture))
