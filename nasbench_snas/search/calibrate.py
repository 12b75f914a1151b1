"""Finding eta: the weight of the resource term that brings the expected cost to a wanted share.

No eta was ever published for the paper's mild, moderate and aggressive constraints. A level is
defined here by what it leaves: the share of the uniform distribution's expected cost at the end of
a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nasbench_snas.cost.control import Calibration, calibrate_eta, eta_for_ratio
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search

LEVELS = {"mild": 0.65, "moderate": 0.3, "aggressive": 0.2}
"""Share of the uniform expected cost that each level leaves at the end of a search."""


def expected_share(search: Search) -> float:
    """Return the expected cost now, in multiples of the uniform distribution's."""
    probs = search.dist.marginals(search.generators["report"])[0]
    return search.resource.expected(probs) / search.resource.expected(
        probs.new_full(probs.shape, 1 / probs.shape[-1])
    )


def share_after_search(
    registry: Registry, estimator: str, space: str, preset: str, assignments: tuple[str, ...]
) -> Callable[[float], float]:
    """Return a function that runs a whole search with a given eta and measures the share left."""

    def measure(eta: float) -> float:
        plan = plan_run(
            registry, estimator, space, preset=preset, assignments=[*assignments, f"cost.eta={eta}"]
        )
        search = Search(plan.config, registry)
        while search.step < search.total_steps:
            search.one_step()
            if search.epoch_finished:
                search.epoch += 1
        return expected_share(search)

    return measure


def calibrate(
    registry: Registry,
    estimator: str,
    space: str,
    *,
    preset: str,
    share: float,
    tolerance: float = 0.1,
    max_trials: int = 8,
    start: float = 1.0,
    assignments: tuple[str, ...] = (),
    progress: Callable[[float, float], None] = lambda eta, value: None,
) -> Calibration:
    """Return the eta for which a search ends at ``share`` of the uniform expected cost.

    Args:
        registry: Where plug-ins come from.
        estimator: Estimator of the trial searches.
        space: Space of the trial searches.
        preset: Preset of the trial searches.
        share: Wanted share.
        tolerance: Relative distance from it that is good enough.
        max_trials: Largest number of searches.
        start: First eta.
        assignments: Further settings, ``KEY=VALUE``.
        progress: Called after every trial with eta and the share it gave.
    """
    measure = share_after_search(registry, estimator, space, preset, assignments)

    def reported(eta: float) -> float:
        value = measure(eta)
        progress(eta, value)
        return value

    return calibrate_eta(reported, share, start=start, tolerance=tolerance, max_trials=max_trials)


def ratio_at_start(
    registry: Registry,
    estimator: str,
    space: str,
    *,
    preset: str,
    ratio: float,
    assignments: tuple[str, ...] = (),
) -> float:
    """Return the eta whose penalty is ``ratio`` times the cross-entropy of a uniform prediction."""
    plan = plan_run(registry, estimator, space, preset=preset, assignments=assignments)
    search = Search(plan.config, registry)
    probs = search.dist.marginals(search.generators["report"])[0]
    loss = math.log(search.splits.num_classes)
    return eta_for_ratio(loss, search.resource.expected(probs), ratio)
