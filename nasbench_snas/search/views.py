"""Views of a parent network: which architecture weights it is validated with, and derivation.

Six views, all without retraining: a ``soft`` sample at the current temperature, a ``hard``
sample, the ``mean`` (probabilities), ``argmax`` over all operations including ``none``, ``top2``
(DARTS, arXiv:1806.09055, section 2.4: the two strongest edges of each node by their best operation
other than ``none``), and ``best-of-N``, where that is the rule (see
:mod:`nasbench_snas.search.selection`).
"""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Estimator
from nasbench_snas.architecture.space import Space

ViewName = Literal["soft", "hard", "mean", "argmax", "top2"]
SELECTED: Final = "best-of-N"
VIEWS: tuple[ViewName, ...] = ("soft", "hard", "mean", "argmax", "top2")
SAMPLED = ("soft", "hard")


def top2(space: Space, probs: Tensor, edges_per_node: int = 2) -> Tensor:
    """Return DARTS' derivation: one-hot rows on the kept edges, zero rows elsewhere.

    Args:
        space: The space.
        probs: Probability of each operation, shape ``(E, K)``.
        edges_per_node: Incoming edges that each node keeps.

    Returns:
        Weights, shape ``(E, K)``.
    """
    allowed = probs.clone()
    if "none" in space.operations:
        allowed[:, space.operations.index("none")] = -1.0
    strength, choice = allowed.max(dim=-1)
    weights = torch.zeros_like(probs)
    for cell in space.cells:
        first = space.rows[cell.name].start
        for node in range(cell.num_inputs, cell.num_inputs + cell.num_nodes):
            rows = [first + e for e, (_, target) in enumerate(cell.edges) if target == node]
            kept = sorted(rows, key=lambda row: (-float(strength[row]), row))[:edges_per_node]
            for row in kept:
                weights[row, choice[row]] = 1.0
    return weights


def derive(
    rule: Literal["argmax", "top2"], space: Space, dist: Distribution, generator: torch.Generator
) -> Tensor:
    """Return the derived architecture of the first replicate, shape ``(E, K)``.

    Args:
        rule: ``argmax``: the distribution's mode, ``none`` included; ``top2``: see :func:`top2`.
        space: The space.
        dist: The distribution.
        generator: For distributions whose marginals are estimated.
    """
    if rule == "argmax":
        return dist.mode()[0]
    return top2(space, dist.strengths(generator)[0])


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
    return derive(view, space, dist, generator)
