"""Shapley values: the mean contribution of an operation over all orders of removal (Shapley-NAS).

The players are the ``n`` pairs of an edge and an operation (``E K``, where edges have ``K``). A
coalition ``S`` is worth the accuracy ``A(S)`` of the parent on the selection images, with the
weights of all pairs outside ``S`` at zero. The contribution of player ``i`` is

    phi_i = (1 / n!) sum_pi [A(S_pi(i)) - A(S_pi(i) - {i})],

``S_pi(i)`` being what is left when the permutation ``pi`` removes players up to ``i``. It is
estimated by the mean over ``samples`` random permutations, each cut off once the accuracy is below
``threshold`` times that of the whole parent: later removals count as zero (early truncation). The
child has, on the edges with the largest contributions, the operation that contributes most.

Reference: Xiao et al. 2022, arXiv:2206.09811; permutation sampling: Castro et al. 2009; early
truncation: Ghorbani and Zou 2019, arXiv:1904.02868. Without truncation the estimate is unbiased.

Deviations: the paper estimates the values during the search and moves alpha by a running mean of
their standardised values (momentum), then derives from alpha. Here the search is left to the
estimator, the values are estimated once at its end and rank operations themselves: there is nothing
for a momentum to smooth. The parent's weights are the distribution's probabilities. Accuracies are
of the whole selection part (the released code: one batch for each permutation), and the estimate is
the mean (the released code subtracts the standard deviation over permutations).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nasbench_snas.api import RULES, DerivationRule, RuleWork, SearchState
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.search.topology import check_count, choosable, strongest


class Shapley(DerivationRule):
    """The operations with the largest Shapley values of the validation accuracy.

    Args:
        samples: Random permutations.
        threshold: A permutation ends where the accuracy is below this share of the whole parent's;
            0: never.
        edges_per_node: Input edges that each node keeps; ``none`` is then never chosen. 0: all
            edges are kept, and ``none`` may be chosen.
    """

    name = "shapley"
    summary = RULES[name]
    reference = "xiao2022shapley"
    uses_images = True

    def __init__(self, samples: int = 10, threshold: float = 0.5, edges_per_node: int = 2) -> None:
        self.samples = check_count("samples", samples, 1, "The values are means over them.")
        self.edges_per_node = check_count("edges_per_node", edges_per_node, 0, "0 keeps all edges.")
        if not 0 <= threshold < 1:
            raise ConfigError(
                f"child.parameters.threshold = {threshold}: expected a share from 0 to below 1.",
                "It is a share of the accuracy of the whole parent.",
                "Set it to 0.5, or to 0 for no truncation.",
            )
        self.threshold = threshold

    def work(self, space: Space, candidates: int) -> RuleWork:
        """Return how often the parent is measured if no permutation is cut off."""
        return RuleWork(1 + self.samples * sum(map(len, space.candidates)))

    def derive(self, state: SearchState) -> Tensor:
        """Return the operations that contribute most, shape ``(E, K)``."""
        weights = state.probs.detach().float().cpu()
        players = choosable(state.space, none=True).flatten().nonzero().flatten()
        generator, count = state.generator, len(players)
        shuffles = [
            torch.randperm(count, generator=generator, device=generator.device).cpu()
            for _ in range(self.samples)
        ]
        orders = players[torch.stack(shuffles)]

        def worth(z: Tensor) -> Tensor:
            if state.time_is_up:
                return torch.full((len(z),), -math.inf)
            return state.accuracy(z)

        values = shapley_values(worth, weights, orders, self.threshold)
        # Values that are equal (such as zero, never reached) are told apart by the probabilities.
        ranked = _ranks(values.flatten(), weights.double().flatten()).view_as(values)
        return strongest(state.space, ranked, self.edges_per_node).float()


def shapley_values(
    worth: Callable[[Tensor], Tensor], weights: Tensor, orders: Tensor, threshold: float = 0.0
) -> Tensor:
    """Return the mean contribution of every entry of ``weights`` over given orders of removal.

    Over all ``n!`` orders it is the Shapley value. Permutations advance side by side, one removal
    at a time, so that none is measured beyond its end.

    Args:
        worth: Returns the worth of weights ``(s, E, K)``, shape ``(s,)``; a value that is not
            finite (the time of the run is up) ends the permutation.
        weights: All entries present, shape ``(E, K)``.
        orders: Permutations of the entries that count, by their number in ``weights``, shape
            ``(samples, at most E K)``.
        threshold: Share of the whole's worth below which a permutation ends.

    Returns:
        Shape ``(E, K)``, float64; entries never removed before an end count as zero there.
    """
    samples, players = orders.shape
    total = torch.zeros(weights.numel(), dtype=torch.float64)
    whole = float(worth(weights[None])[0])
    current = [whole] * samples
    left = weights.flatten().repeat(samples, 1)
    active = list(range(samples)) if math.isfinite(whole) else []
    for place in range(players):
        if not active:
            break
        for sample in active:
            left[sample, orders[sample, place]] = 0.0
        found = worth(left[active].view(-1, *weights.shape)).tolist()
        ended = set()
        for sample, value in zip(active, found, strict=True):
            if not math.isfinite(value):
                ended.add(sample)
                continue
            total[orders[sample, place]] += current[sample] - value
            current[sample] = value
            if value < threshold * whole:
                ended.add(sample)
        active = [sample for sample in active if sample not in ended]
    return (total / samples).view(weights.shape)


def _ranks(values: Tensor, ties: Tensor) -> Tensor:
    """Return the ranks of ``values``, equal ones ranked by ``ties``, both ``(n,)``; float64."""
    pairs = list(zip(values.tolist(), ties.tolist(), strict=True))
    order = sorted(range(len(pairs)), key=lambda number: (pairs[number], -number))
    ranks = torch.empty(len(pairs), dtype=torch.float64)
    ranks[order] = torch.arange(len(pairs), dtype=torch.float64)
    return ranks
