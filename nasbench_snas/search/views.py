"""Views of a parent network: which architecture weights it is validated with, and derivation.

Six views, all without retraining: a ``soft`` sample at the current temperature, a ``hard``
sample, the ``mean`` (probabilities), ``argmax`` over all operations including ``none``, ``top2``
(DARTS, arXiv:1806.09055, section 2.4: the two strongest edges of each node by their best operation
other than ``none``), and what another rule derives, where that is the rule (see
:mod:`nasbench_snas.search.rules`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Estimator
from nasbench_snas.architecture.space import Space
from nasbench_snas.search.topology import strongest

ViewName = Literal["soft", "hard", "mean", "argmax", "top2"]
VIEWS: tuple[ViewName, ...] = ("soft", "hard", "mean", "argmax", "top2")
SAMPLED = ("soft", "hard")


@torch.no_grad()
def view_weights(
    view: ViewName,
    space: Space,
    estimator: Estimator,
    dist: Distribution,
    generator: torch.Generator,
) -> Tensor | None:
    """Return the weights of one view, shape ``(E, K)``, or None if the distribution has no such
    view.

    A soft sample is what the estimator itself trains with if it declares a soft search view, else
    the distribution's relaxed sample at the estimator's temperature (1 without one).

    Args:
        view: The view.
        space: The space.
        estimator: For its weights and temperature.
        dist: The distribution.
        generator: Source of the sample.
    """
    if view == estimator.search_view and view != "hard":
        noise = estimator.noise(dist, 1, generator)
        return estimator.weights(dist, noise)[0, 0]
    if view == "soft":
        tau = estimator.progress_values().get("temperature", 1.0)
        soft = dist.soft(dist.noise(1, 1, generator), tau)
        return None if soft is None else soft[0, 0]
    if view == "hard":
        return dist.hard(dist.noise(1, 1, generator))[0, 0]
    if view == "mean":
        return dist.marginals(generator)[0]
    if view == "argmax":
        return dist.mode()[0]
    return strongest(space, dist.strengths(generator)[0])


def spread(space: Space, probs: Tensor) -> dict[str, Any]:
    """Return how far a distribution is from a decision: entropies in nats, largest probabilities.

    Args:
        space: The space.
        probs: Shape ``(E, K)``.
    """
    entropy = torch.special.entr(probs).sum(dim=-1)
    return {
        "entropy": float(entropy.mean()),
        **{f"entropy_{name}": float(entropy[rows].mean()) for name, rows in space.rows.items()},
        "entropy_edges": [float(e) for e in entropy],
        "max_prob": float(probs.max(dim=-1).values.mean()),
    }
