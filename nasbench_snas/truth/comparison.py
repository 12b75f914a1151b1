"""A whole landscape comparison: every method tuned, run and measured, over several processes.

A method's numbers depend on the settings alone, not on the methods beside it or the processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

from nasbench_snas.compute.threads import threads_for
from nasbench_snas.registry import Registry
from nasbench_snas.truth.course import Purse
from nasbench_snas.truth.landscape import (
    BY_SECONDS,
    SECONDS,
    Landscape,
    LandscapeSettings,
)
from nasbench_snas.truth.published import published
from nasbench_snas.truth.quality import SHARES, exact_points, gradient_quality

Plugins = tuple[tuple[str, ...], tuple[str, ...]]
"""Plug-ins of the command line and of the environment."""
Report = Callable[[str, float], None]
"""Told the name of a method that is finished, and its processor seconds."""


def run_comparison(
    settings: LandscapeSettings,
    plugins: Plugins = ((), ()),
    jobs: int = 1,
    report: Report = lambda name, seconds: None,
) -> dict[str, Any]:
    """Return the result of a comparison as plain values.

    Args:
        settings: What is compared.
        plugins: Where further estimators come from.
        jobs: Methods at the same time, each in a process of its own; 1: none besides this one.
        report: Told of every finished method.

    Raises:
        PluginError: An estimator is unknown.
        ConfigError: One does not fit.
    """
    start = time.perf_counter()
    registry = Registry(plugins=plugins[0], environment_plugins=plugins[1])
    landscape = Landscape(settings, registry, published())
    for name in settings.estimators:  # a wrong name is told before anything is computed
        landscape.maker(name, {})()
    rate = landscape.tune("exact", Purse(settings.budgets))[0].rate
    found: dict[str, dict[str, Any]] = {}
    for part in _parts(settings, plugins, rate, jobs):
        found[part["name"]] = part
        report(part["name"], part["processor_seconds"])
    parts = [found[name] for name in settings.estimators]
    mean = published().mean(settings.dataset)
    return {
        "settings": asdict(settings),
        "table": {
            "lowest_loss": float(landscape.table.min()),
            "mean_loss": float(landscape.table.mean()),
            "best_accuracy": float(mean.max()),
            "mean_seconds": float(landscape.seconds.mean()),
        },
        "points": list(SHARES),
        "budgets": list(settings.budgets),
        "seconds_budgets": list(SECONDS),
        "tuning_queries": settings.tuning_queries,
        "methods": [part["course"] for part in parts],
        "gradients": {part["name"]: part["gradients"] for part in parts if part["gradients"]},
        "by_seconds": [part["by_seconds"] for part in parts if part["by_seconds"]],
        "processor_seconds": {part["name"]: part["processor_seconds"] for part in parts},
        "wall_seconds": time.perf_counter() - start,
        "jobs": jobs,
    }


def _parts(
    settings: LandscapeSettings, plugins: Plugins, rate: float, jobs: int
) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        for name in settings.estimators:
            yield _part(settings, plugins, rate, name)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [
            pool.submit(_part, settings, plugins, rate, name) for name in settings.estimators
        ]
        for future in as_completed(waiting):
            yield future.result()


def _part(settings: LandscapeSettings, plugins: Plugins, rate: float, name: str) -> dict[str, Any]:
    """Return all that is measured of one method."""
    start = time.process_time()
    registry = Registry(plugins=plugins[0], environment_plugins=plugins[1])
    landscape = Landscape(settings, registry, published())
    with threads_for(1):  # results do not depend on the machine, and tensors are small
        course, gradients = landscape.compare(name), []
        if settings.draws:
            gradients = gradient_quality(landscape, name, exact_points(landscape, rate))
        by_seconds = landscape.by_seconds(name) if name in BY_SECONDS else None
    return {
        "name": name,
        "course": course,
        "gradients": gradients,
        "by_seconds": by_seconds,
        "processor_seconds": time.process_time() - start,
    }
