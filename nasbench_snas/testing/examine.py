"""Examines an estimator's gradient on one bench by the strongest means that its declaration allows.

In this order, each apart for alpha, theta and the value:

1. a formula of the draw: draw by draw, exact to rounding;
2. where a draw depends on the drawn architectures only (found out by comparing it with other noise
   that selects the same ones): the exact mean, by enumeration of all ``K^(E n)`` tuples;
3. otherwise Hotelling's T² on the mean of as many draws as the estimator's own variance asks for to
   reject an error of 3 per cent (a factor of 0.97, or one wrong coordinate) with probability 0.99.

A declaration is refused if the draws set to zero, negated, or with their edges exchanged would pass
as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator
from nasbench_snas.errors import DataError
from nasbench_snas.stats import Hotelling, required_draws
from nasbench_snas.stats.interval import FloatArray
from nasbench_snas.testing.bench import Bench, RecordingLoss
from nasbench_snas.testing.claims import Draw, Point, claim_of
from nasbench_snas.testing.diagnosis import diagnose
from nasbench_snas.testing.exact import (
    SELECT,
    exact_moments,
)
from nasbench_snas.testing.proofs import Draws, draw, exact, joint_test

FALSE_ALARM = 1e-5
ERROR = 0.03  # of the exact gradient's length, that is to be rejected
POWER = 0.99
MOST_TUPLES = 7_000  # of architectures, that are enumerated
PILOT = 2_000  # draws after which the number needed is known
SEEN = 1e-6  # share of an error that may lie in directions without variance
LEAST_DELTA = 1e-6  # Mahalanobis length below which no number of draws shows an error
EXACT = 1e-8  # relative difference of exact means that counts as rounding
SAME = 128  # draws that a formula is compared with
MOST_SAME = 16_384  # the same, of estimators whose draws are zero more often than not


@dataclass(frozen=True)
class Finding:
    """What an examination found.

    Attributes:
        how: By which means, in words.
        excludes: Relative error of the alpha-gradient that would have been found with probability
            0.99; 0 if exact to rounding.
        draws: Draws made (or tuples enumerated).
        problem: What is wrong, empty if nothing is.
    """

    how: str
    excludes: float
    draws: int
    problem: str = ""


def point_of(bench: Bench, replicates: int, noise: Any, t: float) -> Point:
    """Return where a formula is to be evaluated on a bench."""
    loss = bench.loss.replicate(replicates).viewed_by(bench.estimator.needs_all_operations)
    return Point(bench.estimator, loss, bench.dist.replicate(replicates), noise, t)


def shape_of(bench: Bench) -> tuple[int, ...]:
    """Return ``(E, K)`` where the gradient is that of logits, else ``(d,)``."""
    parameters = list(bench.dist.parameters())
    if len(parameters) == 1 and isinstance(bench.dist, Categorical):
        return (bench.dist.num_edges, bench.dist.num_operations)
    return (sum(p.numel() for p in parameters),)


def by_formula(bench: Bench, t: float = 0.0, seed: int = 0) -> Finding:
    """Compare draws with the declared formula, for alpha, theta and the value."""
    claim, count = claim_of(bench.estimator, "draw"), SAME
    noise = bench.noise(count, seed=seed)
    alpha, theta, value = bench.draws(noise, count)
    while bench.estimator.has_alpha_gradient and count < MOST_SAME and _mostly_zero(alpha):
        count *= 8
        noise = bench.noise(count, seed=seed)
        alpha, theta, value = bench.draws(noise, count)
    point = point_of(bench, count, noise, t)
    seen = RecordingLoss(point.loss)
    with torch.enable_grad():
        bench.estimator.surrogate(seen, bench.dist.replicate(count), noise)
    stated = claim(replace(point, seen=seen.seen[0] if seen.seen else None))
    stated = stated if isinstance(stated, Draw) else Draw(*stated)
    how, problems = f"{count} draws, one by one, against the formula", []
    if stated.gradient is not None:
        right = stated.gradient.reshape(count, -1)
        for word, wrong in tampered(alpha, shape_of(bench)):
            if _relative(wrong, right) <= stated.tolerance:
                problems.append(f"the formula is no declaration: a gradient that is {word} fits it")
        if not problems and _relative(alpha, right) > stated.tolerance:
            problems.append(f"alpha-gradient: {_compare(alpha, right, shape_of(bench))}")
    if stated.weights is not None:
        losses = point.loss(stated.weights.detach())
        share = 1 / losses.shape[1] if stated.share is None else stated.share
        losses = (share * losses).sum(dim=1)
        (slope,) = torch.autograd.grad(losses.sum(), point.loss.theta)
        if bench.estimator.has_theta_gradient and _relative(theta, slope) > stated.tolerance:
            problems.append(f"theta-gradient: {_compare(theta, slope, ())}")
        if _relative(value, losses.detach()) > stated.tolerance:
            problems.append("value: it is not the mean loss at the formula's weights")
        if bench.estimator.search_view != "hard":
            own = bench.estimator.weights(bench.dist.replicate(count), noise).detach()
            if own.shape != stated.weights.shape or _relative(own, stated.weights) > 1e-7:
                problems.append("weights() differs from the formula's weights")
    return Finding(
        how,
        stated.tolerance if stated.gradient is not None else math.inf,
        count,
        "; ".join(problems),
    )


def _mostly_zero(draws: Tensor) -> bool:
    """Return whether fewer than ten of the draws ``(R, d)`` have a gradient."""
    return int(draws.any(dim=1).sum()) < 10


def tampered(draws: Tensor, shape: tuple[int, ...]) -> list[tuple[str, Tensor]]:
    """Return draws ``(R, d)`` set to zero, negated, and with exchanged edges if there are any."""
    found = [("zero", torch.zeros_like(draws)), ("negated", -draws)]
    if len(shape) == 2 and shape[0] > 1:
        rolled = draws.reshape(-1, *shape).roll(1, dims=1).reshape(draws.shape)
        found.append(("edge-permuted", rolled))
    return found


def depends_on_samples_only(bench: Bench) -> bool:
    """Return whether draws are the same for other noise that selects the same architectures."""
    cls = type(bench.estimator)
    if cls.noise is not Estimator.noise:
        return False
    noise = bench.noise(256, "same")
    if not isinstance(noise, Tensor) or noise.shape[-2:] != (
        bench.dist.num_edges,
        bench.dist.num_operations,
    ):
        return False
    selected = SELECT * bench.dist.replicate(256).hard(noise)
    pairs = zip(bench.draws(noise, 256), bench.draws(selected, 256), strict=True)
    return all(torch.allclose(a, b, rtol=1e-7, atol=1e-9 * float(a.abs().max())) for a, b in pairs)


def target_of(bench: Bench) -> tuple[Tensor, Tensor, float]:
    """Return what an unbiased estimator's alpha-gradient, theta-gradient and value should be."""
    right = exact(bench)
    claim = claim_of(bench.estimator, "objective")
    if claim is None:
        return right.alpha, right.theta, right.value
    loss = bench.loss.viewed_by(True)
    objective = claim(Point(bench.estimator, loss, bench.dist))
    leaves = list(bench.dist.parameters())
    grads = torch.autograd.grad(objective, leaves, allow_unused=True)
    pairs = zip(leaves, grads, strict=True)
    flat = [(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs]
    return torch.cat(flat), right.theta, right.value


def tuples(bench: Bench) -> int:
    """Return the number of tuples of architectures that an exact mean takes."""
    count: int = bench.dist.num_operations ** (bench.dist.num_edges * bench.estimator.n)
    return count


def by_mean(bench: Bench, cap: int, *, theta: bool = True, target: Tensor | None = None) -> Finding:
    """Compare the mean draw with the exact gradient, exactly where possible.

    Args:
        bench: Where.
        cap: Most draws.
        theta: Whether theta and the value are compared as well.
        target: Mean alpha-gradient; None: that of the expected discrete loss, or of the objective
            that the estimator declares.
    """
    alpha, of_theta, value = target_of(bench)
    right = alpha if target is None else target
    theta = theta and bench.estimator.has_theta_gradient
    if tuples(bench) <= MOST_TUPLES and depends_on_samples_only(bench):
        found = exact_moments(bench.estimator, bench.loss, bench.dist)
        problem = _exact_problem(found.alpha, right, shape_of(bench), "alpha-gradient")
        if theta and not problem:
            problem = _exact_problem(found.theta, of_theta, (), "theta-gradient")
        if theta and not problem and abs(found.value - value) > EXACT * (1 + abs(value)):
            problem = f"value: its mean is {found.value:.6g}, E[L] is {value:.6g}"
        how = f"exact mean over {tuples(bench)} tuples of architectures"
        return Finding(how, EXACT, tuples(bench), problem)
    return _by_draws(bench, right, of_theta if theta else None, value if theta else None, cap)


def _by_draws(
    bench: Bench, right: Tensor, theta: Tensor | None, value: float | None, cap: int
) -> Finding:
    pilot = draw(bench, PILOT, replicates=PILOT)
    if len(pilot.alpha) < PILOT:  # nothing is random
        mean = torch.from_numpy(pilot.alpha.mean(axis=0))
        problem = _exact_problem(mean, right, shape_of(bench), "alpha-gradient")
        if theta is not None and not problem:
            mean = torch.from_numpy(pilot.theta.mean(axis=0))
            problem = _exact_problem(mean, theta, (), "theta-gradient")
        return Finding("deterministic: compared exactly", EXACT, len(pilot.alpha), problem)
    needed = draws_needed(pilot.alpha, right.numpy(), shape_of(bench))
    count = int(min(max(needed, PILOT), cap))
    draws = draw(bench, count, seed=1, replicates=4_000)
    excluded = ERROR * math.sqrt(needed / count) if math.isfinite(needed) else math.inf
    how = f"Hotelling's T² on {count} draws"
    problem = _test_problem(draws.alpha, right, shape_of(bench), "alpha-gradient")
    if not problem and count >= needed:
        for word, wrong in tampered(torch.from_numpy(draws.alpha), shape_of(bench)):
            if passes(wrong.numpy(), right):
                problem = f"no power: a gradient that is {word} passes, too ({count} draws)"
    if not problem and theta is not None:
        problem = _test_problem(draws.theta, theta, (), "theta-gradient")
    if not problem and value is not None:
        problem = _value_problem(draws, value)
    return Finding(how, excluded, count, problem)


def passes(draws: FloatArray, right: Tensor) -> bool:
    """Return whether the mean of draws ``(N, d)`` may be ``right``."""
    return joint_test(draws, right).p > FALSE_ALARM


def draws_needed(pilot: FloatArray, right: FloatArray, shape: tuple[int, ...]) -> float:
    """Return the draws that reject a factor of 0.97 and one wrong coordinate with power 0.99.

    The Mahalanobis length of either error, from the covariance of ``pilot`` ``(N, d)``; for one
    wrong coordinate that of the coordinate in which it is hardest to see. Errors in a direction
    without variance are seen at once. Infinite where no number of draws would do.
    """
    size = float(np.linalg.norm(right))
    if size == 0:
        return math.inf
    covariance = np.atleast_2d(np.cov(pilot.T))
    values, vectors = np.linalg.eigh(covariance)
    keep = values > 1e-9 * values[-1]
    errors = [ERROR * right]
    if len(shape) == 2:
        for index in range(len(right)):
            unit = np.zeros(shape)
            edge, operation = divmod(index, shape[1])
            unit[edge] = -1 / shape[1]
            unit[edge, operation] += 1
            errors.append(ERROR * size * unit.ravel() / np.linalg.norm(unit))
    lengths = []
    for error in errors:
        inside = vectors[:, keep].T @ error
        if float(inside @ inside) > (1 - SEEN) * float(error @ error):
            lengths.append(float((inside**2 / values[keep]).sum()))
    if not lengths:
        return 0.0
    delta, rank = math.sqrt(min(lengths)), int(keep.sum())
    return required_draws(delta, rank, FALSE_ALARM, POWER) if delta > LEAST_DELTA else math.inf


def _exact_problem(got: Tensor, right: Tensor, shape: tuple[int, ...], what: str) -> str:
    size = max(float(right.norm()), float(got.norm()), 1e-12)
    if float((got - right).norm()) <= EXACT * size:
        return ""
    return f"{what}: {diagnose(got.numpy(), right.detach().numpy(), shape)}; its mean is exact"


def _test_problem(draws: FloatArray, right: Tensor, shape: tuple[int, ...], what: str) -> str:
    try:
        result: Hotelling = joint_test(draws, right)
    except DataError as error:
        return f"{what}: {error}"
    if result.p > FALSE_ALARM:
        return ""
    spread = draws.std(axis=0, ddof=1) / math.sqrt(len(draws))
    words = diagnose(draws.mean(axis=0), right.detach().numpy(), shape, spread)
    return (
        f"{what}: {words}; p = 1e{result.log10_p:.1f} (T² = {result.statistic:.1f} in "
        f"{result.directions} directions, {result.n} draws, {result.fixed_off} fixed ones off)"
    )


def _value_problem(draws: Draws, value: float) -> str:
    error = float(draws.value.std(ddof=1)) / len(draws.value) ** 0.5
    shift = float(draws.value.mean()) - value
    if abs(shift) <= 4.42 * error + 1e-9 * (1 + abs(value)):
        return ""
    return f"value: its mean is off by {shift:.3g}, {abs(shift) / max(error, 1e-300):.1f} errors"


def _relative(got: Tensor, right: Tensor) -> float:
    """Return the length of the difference over that of ``right``, and NaN as infinity."""
    size = float(right.norm())
    gap = float((got - right).norm())
    if not math.isfinite(gap):
        return math.inf
    return gap / size if size else (math.inf if gap else 0.0)


def _compare(got: Tensor, right: Tensor, shape: tuple[int, ...]) -> str:
    """Say how draws ``(R, d)`` differ, by all of them at once where edges are the same."""
    mean: Callable[[Tensor], FloatArray] = lambda x: np.asarray(x.detach().double().numpy())  # noqa: E731
    if len(shape) == 2:
        stacked, goal = mean(got), mean(right)
        scale = float((stacked * goal).sum() / max(float((goal * goal).sum()), 1e-300))
        left = np.linalg.norm(stacked - scale * goal)
        if left < 0.3 * np.linalg.norm(stacked - goal):
            return diagnose(stacked.ravel(), goal.ravel(), ())
        return diagnose(stacked.mean(axis=0), goal.mean(axis=0), shape)
    return diagnose(mean(got).ravel(), mean(right).ravel(), ())


__all__ = [
    "ERROR",
    "FALSE_ALARM",
    "Finding",
    "by_formula",
    "by_mean",
    "depends_on_samples_only",
    "draws_needed",
    "passes",
    "point_of",
    "shape_of",
    "tampered",
    "tuples",
]
