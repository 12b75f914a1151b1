"""Exact gradients and moments by enumeration of all architectures, and gradient draws.

``J = sum_Z p(Z) L(Z)`` over all ``K^E`` one-hot architectures, for any distribution that has a
log-probability; its gradient with respect to the distribution's parameters ("alpha") and theta is
what every unbiased estimator is proved against. Estimators whose draw depends on the drawn
architectures only have exact moments as well: no Monte-Carlo error is left. Vectors are flat: the
distribution's parameters in the order of ``parameters()``, and theta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Estimator, Loss
from nasbench_snas.errors import ConfigError
from nasbench_snas.testing.losses import ToyLoss

MOST_ARCHITECTURES = 1_000_000
SELECT = 1e6  # added to the perturbed logits of a wanted operation: far above any other


def enumerate_architectures(
    num_edges: int, num_operations: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return all ``K^E`` architectures as one-hot weights, shape ``(K^E, E, K)``.

    Raises:
        ConfigError: There are more than a million.
    """
    if num_operations**num_edges > MOST_ARCHITECTURES:
        raise ConfigError(
            f"{num_operations}^{num_edges} architectures are too many to enumerate.",
            f"At most {MOST_ARCHITECTURES} are.",
            "Use fewer edges or operations.",
        )
    choices = torch.cartesian_prod(*[torch.arange(num_operations)] * num_edges)
    return torch.eye(num_operations, dtype=dtype)[choices.view(-1, num_edges)]


def exact_objective(loss: Loss, dist: Distribution) -> Tensor:
    """Return ``J = E[L(Z)]`` with its graph, shape ``(R,)``."""
    z = enumerate_architectures(dist.num_edges, dist.num_operations, dist.dtype)
    z = z.expand(dist.replicates, *z.shape)
    return (dist.log_prob(z).sum(dim=-1).exp() * loss(z)).sum(dim=-1)


@dataclass(frozen=True)
class ExactGradient:
    """The objective and its gradient at a point.

    Attributes:
        value: ``J``.
        alpha: With respect to the distribution's parameters, shape ``(d,)``.
        theta: With respect to theta, shape ``(P,)``; empty if no theta was given.
    """

    value: float
    alpha: Tensor
    theta: Tensor


def exact_gradient(
    loss: Loss, dist: Distribution, theta: Sequence[Tensor] | None = None
) -> ExactGradient:
    """Return the exact gradient of ``J`` by enumeration.

    Args:
        loss: The objective.
        dist: The distribution, with one replicate.
        theta: Parameters of the loss; by default ``loss.theta`` if it exists.
    """
    if theta is None:
        theta = [loss.theta] if hasattr(loss, "theta") else []
    alpha = list(dist.parameters())
    value = exact_objective(loss, dist).sum()
    grads = torch.autograd.grad(value, [*alpha, *theta], allow_unused=True)
    flat = [
        torch.zeros_like(p).flatten() if g is None else g.flatten()
        for p, g in zip([*alpha, *theta], grads, strict=True)
    ]
    empty = value.new_zeros(0)
    return ExactGradient(
        float(value.detach()),
        torch.cat(flat[: len(alpha)]),
        torch.cat([empty, *flat[len(alpha) :]]),
    )


@contextmanager
def frozen(estimator: Estimator) -> Iterator[None]:
    """Put the estimator into evaluation mode within the block: its state does not change."""
    training = estimator.training
    estimator.eval()
    try:
        yield
    finally:
        estimator.train(training)


def gradients_of_noise(
    estimator: Estimator, loss: ToyLoss, dist: Distribution, noise: Any, replicates: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient draws that belong to given noise, from one backward pass.

    Args:
        estimator: The estimator, in the mode that is wanted.
        loss: The objective; copies of its theta are used.
        dist: The distribution; copies of its parameters are used.
        noise: As returned by ``estimator.noise``, for ``replicates`` draws.
        replicates: ``R``.

    Returns:
        Draws of the gradient for the distribution's parameters, ``(R, d)``, and theta, ``(R, P)``.
    """
    copies = dist.replicate(replicates)
    objective = loss.replicate(replicates).viewed_by(estimator.needs_all_operations)
    alpha = list(copies.parameters())
    total = estimator.surrogate(objective, copies, noise).sum()
    return _flat_gradients(total, alpha, objective.theta, replicates)


def draw_gradients(
    estimator: Estimator,
    loss: ToyLoss,
    dist: Distribution,
    draws: int,
    generator: torch.Generator,
    *,
    of: Literal["alpha", "theta"] = "alpha",
    replicates: int = 512,
) -> npt.NDArray[np.float64]:
    """Return independent draws of an estimator's gradient at one point, with its state frozen.

    The same generator state and ``replicates`` give the same draws, whether of alpha or theta.

    Args:
        estimator: The estimator; it is in evaluation mode meanwhile.
        loss: The objective.
        dist: The distribution, with one replicate.
        draws: ``N``.
        generator: Source of the noise.
        of: Which gradient.
        replicates: Draws for one backward pass.

    Returns:
        Shape ``(N, d)``, or ``(N, P)`` for theta.
    """
    parts = []
    with frozen(estimator):
        for start in range(0, draws, replicates):
            count = min(replicates, draws - start)
            noise = estimator.noise(dist.replicate(count), count, generator)
            alpha, theta = gradients_of_noise(estimator, loss, dist, noise, count)
            parts.append(alpha if of == "alpha" else theta)
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float64)


@dataclass(frozen=True)
class ExactMoments:
    """Moments of one gradient draw without Monte-Carlo error.

    Attributes:
        alpha: Mean of the gradient for the distribution's parameters, shape ``(d,)``.
        covariance: Its covariance, shape ``(d, d)``.
        theta: Mean of the gradient for theta, shape ``(P,)``.
        value: Mean of the surrogate's value.
    """

    alpha: Tensor
    covariance: Tensor
    theta: Tensor
    value: float


def exact_moments(
    estimator: Estimator,
    loss: ToyLoss,
    dist: Distribution,
    noise_of: Callable[[Tensor], Iterable[tuple[float, Any]]] | None = None,
    *,
    replicates: int = 2048,
) -> ExactMoments:
    """Return the moments of an estimator whose draws depend on the drawn architectures only.

    All ``n``-tuples of architectures are visited, ``K^(E n)``, with their probabilities.

    Args:
        estimator: The estimator; it is in evaluation mode meanwhile.
        loss: The objective.
        dist: The distribution, with one replicate.
        noise_of: Given architectures, shape ``(R, n, E, K)``, yields pairs of probability and
            noise: for estimators with further, finitely many, random choices. By default the
            estimator's noise is the distribution's.
        replicates: Tuples for one backward pass.
    """
    singles = enumerate_architectures(dist.num_edges, dist.num_operations, dist.dtype)
    with torch.no_grad():
        log_prob = dist.log_prob(singles[None]).sum(dim=-1)[0]
    index = torch.cartesian_prod(*[torch.arange(len(singles))] * estimator.n)
    index = index.view(-1, estimator.n)
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    with frozen(estimator):
        for part in torch.split(index, replicates):
            z, weight = singles[part], log_prob[part].sum(dim=1).exp()
            for chance, noise in [(1.0, SELECT * z)] if noise_of is None else noise_of(z):
                copies = dist.replicate(len(part))
                objective = loss.replicate(len(part)).viewed_by(estimator.needs_all_operations)
                values = estimator.surrogate(objective, copies, noise)
                grads = _flat_gradients(
                    values.sum(), list(copies.parameters()), objective.theta, len(part)
                )
                rows.append((chance * weight, *grads, values.detach()))
    weight, alpha, theta, value = (torch.cat(column) for column in zip(*rows, strict=True))
    mean = weight @ alpha
    centred = alpha - mean
    covariance = (weight[:, None] * centred).T @ centred
    return ExactMoments(mean, covariance, weight @ theta, float(weight @ value))


def gumbel_quadrature(
    dist: Distribution, nodes: int = 64, *, split: bool = True
) -> tuple[Tensor, Tensor]:
    """Return noise and weights that integrate over the Gumbel noise of one edge, two operations.

    Whatever depends on the difference of the two Gumbels only, a logistic variable, is integrated
    by Gauss-Legendre on its quantiles, with nodes of their own on either side of the point where
    the sample changes.

    Args:
        dist: A distribution with one edge, two operations, and ``log_prob``.
        nodes: Nodes on each side.
        split: Whether the two sides are separate; without, the integrand must be smooth.

    Returns:
        Noise, shape ``(R, 1, 1, 2)``, and weights that sum to 1, shape ``(R,)``.

    Raises:
        ConfigError: The distribution has another size.
    """
    if (dist.num_edges, dist.num_operations) != (1, 2):
        raise ConfigError("gumbel_quadrature: expected one edge and two operations.")
    with torch.no_grad():
        second = float(dist.log_prob(torch.tensor([[[[0.0, 1.0]]]], dtype=dist.dtype)).exp())
    points, weights = np.polynomial.legendre.leggauss(nodes)
    ends = [0.0, second, 1.0] if split else [0.0, 1.0]
    quantiles, parts = [], []
    for low, high in zip(ends, ends[1:], strict=False):
        quantiles.append(low + (high - low) * (points + 1) / 2)
        parts.append(weights * (high - low) / 2)
    u = torch.tensor(np.concatenate(quantiles), dtype=dist.dtype)
    noise = torch.stack([u.logit(), torch.zeros_like(u)], dim=-1)[:, None, None]
    return noise, torch.tensor(np.concatenate(parts), dtype=dist.dtype)


def _flat_gradients(
    total: Tensor, alpha: Sequence[Tensor], theta: Tensor, replicates: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``total``, flattened for each replicate; zero where it has none."""
    if not total.requires_grad:
        grads: Sequence[Tensor | None] = [None] * (len(alpha) + 1)
    else:
        grads = torch.autograd.grad(total, [*alpha, theta], allow_unused=True)
    flat = [
        (torch.zeros_like(p) if g is None else g).reshape(replicates, -1)
        for p, g in zip([*alpha, theta], grads, strict=True)
    ]
    return torch.cat(flat[:-1], dim=1), flat[-1]
