"""Bias, variance and error of gradient estimates on a landscape, against the exact gradient.

The points are the same for all: those of the exact gradient's own course from the start of seed 0,
where the expected regret first falls to given shares of what it was at the start. Schedules
(temperatures) stand at the same share of their way at each point. Squared lengths are in units of
the exact gradient's; the squared bias has the noise of the mean taken off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Distribution, Estimator
from nasbench_snas.oracle.draws import alpha_draws, warm_up
from nasbench_snas.seeding import stream
from nasbench_snas.stats.gradient_summary import Reference, summarise_gradient
from nasbench_snas.stats.moments import GradientMoments
from nasbench_snas.truth.course import ReplicateAdam, starting_distribution
from nasbench_snas.truth.landscape import Landscape
from nasbench_snas.truth.objective import TableObjective, contract, exact_gradient
from nasbench_snas.truth.seedwise import ExactContraction

SHARES = (1.0, 0.5, 0.1, 0.01)
"""Of the expected regret at the start."""
_CHUNK, _WARM_UP, _MOST_STEPS = 250, 64, 5000


@dataclass(frozen=True)
class Point:
    """Where gradients are drawn.

    Attributes:
        share: Of the expected regret at the start.
        logits: Shape ``(E, K)``, float64.
        value: Expected loss.
        gradient: Its exact gradient, ``(E, K)``.
        progress: Where schedules stand, 0 to 1.
    """

    share: float
    logits: Tensor
    value: float
    gradient: Tensor
    progress: float


def exact_points(landscape: Landscape, rate: float) -> list[Point]:
    """Return the points of the exact gradient's course.

    Args:
        landscape: The table.
        rate: Adam's learning rate.
    """
    table = landscape.table
    estimator, lowest = ExactContraction(table), float(table.min())
    dist = starting_distribution(estimator, landscape.space, [0])
    adam, first = ReplicateAdam(estimator, dist, [rate]), math.nan
    points: list[Point] = []
    for _ in range(_MOST_STEPS):
        logits = next(dist.parameters()).detach().clone()
        value, gradient = exact_gradient(table, logits)
        regret = float(value) - lowest
        first = regret if math.isnan(first) else first
        while len(points) < len(SHARES) and regret <= SHARES[len(points)] * first:
            progress = len(points) / (len(SHARES) - 1)
            share = SHARES[len(points)]
            points.append(Point(share, logits[0], float(value), gradient[0], progress))
        if len(points) == len(SHARES):
            break
        adam.step(contract(table, next(dist.parameters()).softmax(dim=-1)).sum())
    return points


def gradient_quality(landscape: Landscape, name: str, points: list[Point]) -> list[dict[str, Any]]:
    """Return bias, variance and error of ``name`` at the points; nothing if it has no gradient.

    Left out are also distributions other than the factorised categorical of the points.
    """
    rows = []
    for number, point in enumerate(points):
        estimator = landscape.maker(name, {}, by_seed=False)()
        start = estimator.make_distribution(landscape.space, stream(0, "alpha-init"))
        if not estimator.has_alpha_gradient or type(start) is not Categorical:
            return []
        estimator.set_progress(point.progress)
        rows.append(_row(landscape, estimator, point, stream(number, f"quality/{name}")))
    return rows


def _row(
    landscape: Landscape, estimator: Estimator, point: Point, generator: torch.Generator
) -> dict[str, Any]:
    asked = 0

    def count(index: Tensor, extension: bool) -> None:
        nonlocal asked
        asked += index.numel()

    dist: Distribution = Categorical(point.logits)
    loss = TableObjective(
        landscape.table, all_operations=estimator.needs_all_operations, looked_up=count
    )
    if estimator.state_dict():  # a state of its own: one for all draws, brought to this point
        warm_up(estimator, loss, dist, _WARM_UP, generator)
    moments = GradientMoments(point.gradient.numel(), direction=point.gradient.flatten().numpy())
    total = landscape.settings.draws
    asked = 0
    for begun in range(0, total, _CHUNK):
        draws = alpha_draws(estimator, loss, dist, min(_CHUNK, total - begun), generator)
        moments.update(draws.numpy())
    found = summarise_gradient(moments, Reference.exact(point.gradient.flatten().numpy()))
    bias = found.relative_bias_sq
    return {
        "share": point.share,
        "draws": total,
        "queries_per_draw": asked / total,
        "bias_sq": bias.estimate,
        "bias_sq_low": bias.low,
        "bias_sq_high": bias.high,
        "variance": found.relative_trace.estimate,
        "mse": found.relative_mse.estimate,
        "cosine": found.cosine.estimate,
    }
