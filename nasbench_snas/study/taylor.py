"""How far eq. (7) of SNAS is from an identity, and the Taylor remainder that it leaves out.

Eq. (6)/(27) is the pathwise gradient of the concrete relaxation, ``J(y) h / lambda`` with ``h =
dL/dy``. Eq. (7) (arXiv:1812.09926, section 2.3 and Appendix D) says that it equals in expectation a
policy gradient with credit ``R_ij``: ``grad log p(y_e) (h_e . y_e)``. What holds exactly is
``E[eq. 6] - E[eq. 7] = grad E[T_e]`` on every edge, with the remainder of Appendix E's first-order
expansion, ``T_e = L(y) - L(y with edge e at zero) - h_e . y_e``: the derivation freezes ``h`` as a
function of the noise and later as a function of ``y``. Both sides use the same noise here.

The score of the concrete density by the logits is ``1 - K exp(-G_k) / sum_j exp(-G_j)``, free of
temperature and logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.api import Loss
from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.stats.interval import FloatArray, Interval
from nasbench_snas.stats.jackknife import (
    jackknife_interval,
    jackknife_variance,
    leave_one_out,
    pooled,
)
from nasbench_snas.stats.moments import GradientMoments, IndexArray


@dataclass(frozen=True)
class Gap:
    """The gap of eq. (7) at one temperature.

    Attributes:
        tau: Temperature.
        squared: ``|E rhs - E lhs|² / |E lhs|²``, debiased; may be negative.
        relative: Its root, 0 where the estimate is negative.
        standard_error: Of ``relative``, by the delta method; of ``squared`` where it is 0.
        cosine: Of the two expectations, de-noised.
    """

    tau: float
    squared: Interval
    relative: float
    standard_error: float
    cosine: float


# Implements SNAS (6, 7, 28).
def both_sides(
    loss: Loss, dist: Categorical, tau: float, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return draws of eq. (6) and of eq. (7), and the credits ``h . y``.

    Args:
        loss: The objective.
        dist: The distribution, one replicate.
        tau: Temperature.
        noise: Gumbel, shape ``(N, 1, E, K)``.

    Returns:
        Shapes ``(N, E K)``, ``(N, E K)`` and ``(N, E)``.
    """
    with torch.no_grad():
        y = ((dist.log_probs[:, None] + noise) / tau).softmax(dim=-1)
    y.requires_grad_()
    with torch.enable_grad():
        (h,) = torch.autograd.grad(loss(y).sum(), y)
    y = y.detach()
    credit = (h * y).sum(dim=-1, keepdim=True)
    lhs = y * (h - credit) / tau
    rhs = concrete_score(noise) * credit
    return lhs.flatten(1), rhs.flatten(1), credit[:, 0, :, 0]


def concrete_score(noise: Tensor) -> Tensor:
    """Return the score of the concrete density by the logits, shape of ``noise`` ``(…, K)``."""
    return 1 - noise.shape[-1] * (-noise).softmax(dim=-1)


def remainders(loss: Loss, dist: Categorical, tau: float, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Taylor remainder and the exact credit of every edge.

    Returns:
        ``T_e`` and ``L(y) - L(y with edge e at zero)``, both ``(N, E)``; arguments as in
        :func:`both_sides`.
    """
    credit = both_sides(loss, dist, tau, noise)[2]
    with torch.no_grad():
        y = ((dist.log_probs[:, None] + noise) / tau).softmax(dim=-1)
        edges = y.shape[-2]
        keep = 1 - torch.eye(edges, dtype=y.dtype)
        exact = loss(y) - loss(y * keep[:, :, None])
    return exact - credit, exact


def eq7_gap(
    loss: Loss,
    dist: Categorical,
    tau: float,
    draws: int,
    generator: torch.Generator,
    *,
    replicates: int = 64,
    confidence: float = 0.95,
) -> Gap:
    """Estimate the gap of eq. (7) from paired draws; arguments as in :func:`eq7_gaps`."""
    return eq7_gaps(
        loss, dist, tau, draws, generator, replicates=replicates, confidence=confidence
    )["all"]


def eq7_gaps(
    loss: Loss,
    dist: Categorical,
    tau: float,
    draws: int,
    generator: torch.Generator,
    *,
    replicates: int = 64,
    columns: Mapping[str, list[int]] | None = None,
    confidence: float = 0.95,
) -> dict[str, Gap]:
    """Estimate the gap of eq. (7), on all coordinates and on those of some operations.

    Args:
        loss: The objective.
        dist: The distribution, one replicate.
        tau: Temperature.
        draws: ``N``, at least 100.
        generator: Source of the noise.
        replicates: Draws of a pass.
        columns: Operations whose coordinates make a group, by the group's name.
        confidence: Nominal coverage.

    Returns:
        The gap of ``all`` coordinates and of each group.
    """
    edges, operations = dist.num_edges, dist.num_operations
    grid = np.arange(edges * operations).reshape(edges, operations)
    groups = {"all": grid.ravel()} | {n: grid[:, k].ravel() for n, k in (columns or {}).items()}
    sides = [GradientMoments(edges * operations) for _ in range(3)]
    for start in range(0, draws, replicates):
        noise = dist.noise(min(replicates, draws - start), 1, generator)
        lhs, rhs, _ = both_sides(loss, dist, tau, noise)
        for moments, rows in zip(sides, (lhs, rhs, rhs - lhs), strict=True):
            moments.update(rows.numpy())
    return {name: _gap(sides, index, tau, confidence) for name, index in groups.items()}


def _gap(sides: list[GradientMoments], index: IndexArray, tau: float, confidence: float) -> Gap:
    full = _ratios([pooled(m, index) for m in sides])
    jackknifed = _ratios([leave_one_out(m, index) for m in sides])
    counts = sides[0].count.astype(np.float64)
    estimate = float(full[0][0])
    variance = jackknife_variance(estimate, jackknifed[0], counts)
    squared = jackknife_interval(estimate, variance, sides[0].n, sides[0].n_blocks, confidence)
    relative = math.sqrt(max(estimate, 0.0))
    error = squared.standard_error / (2 * relative) if relative > 0 else squared.standard_error
    return Gap(tau, squared, relative, error, float(full[1][0]))


def _ratios(
    moments: list[tuple[FloatArray, FloatArray, FloatArray]],
) -> tuple[FloatArray, FloatArray]:
    """Return squared relative gap and cosine for (each leave-out of) left, right, difference."""
    squares = []
    for count, mean, deviations in moments:
        noise = deviations.sum(axis=1) / ((count - 1) * count)
        squares.append(np.square(mean).sum(axis=1) - noise)
    left, right, difference = squares
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (left + right - difference) / (2 * np.sqrt(left * right))
        return difference / left, cosine


def hard_gap(probs: Tensor, credits_: Tensor, choices: Tensor, marginals: Tensor) -> Tensor:
    """Return the exact expectation of eq. (7) at temperature 0 (the gradient of DSNAS).

    Args:
        probs: Probabilities of all architectures, shape ``(A,)``.
        credits_: ``h = dL/dZ`` at each, shape ``(A, E, K)``.
        choices: Chosen operations, shape ``(A, E)``.
        marginals: ``p``, shape ``(E, K)``.

    Returns:
        ``E[(D_e - p_e) (h_e . D_e)]``, shape ``(E K,)``.
    """
    chosen = credits_.gather(2, choices[..., None])[..., 0]
    one = torch.nn.functional.one_hot(choices, marginals.shape[1]).to(probs.dtype)
    return torch.einsum("a,ae,aek->ek", probs, chosen, one - marginals).flatten()
