"""Perturbation-based selection: what the parent cannot do without stays (DARTS-PT).

With ``A(W)`` the accuracy of the parent with operation weights ``W`` on the selection images, and
``W - (e, k)`` the weights with the entry of operation ``k`` on edge ``e`` set to zero, edges are
taken in random order, and on each

    k*_e = argmin_k A(W - (e, k)),    W_e := one-hot(k*_e),

after which the parent is trained for some steps at the new ``W``. Then nodes with more inputs than
they keep are taken in random order: of the edges ``e`` into a node those with the smallest
``A(W - e)`` stay, ``W - e`` having row ``e`` at zero, and the parent is trained again.

Reference: Wang et al. 2021, arXiv:2108.04392, section 4 and algorithm 1. ``W`` begins with the
distribution's probabilities, DARTS' softmax of alpha, whatever the estimator trained with.

Deviations: training between decisions takes ``tune_steps`` steps (the paper: epochs; the released
code: 5), of the weights alone, at a tenth of the search's learning rate as in the released code,
which trains alpha, too; the weights are put back afterwards, so the child inherits those of the
search. Edges of all cell types are in one random order (the released code: one edge of each type
at a time). Edges of a node are measured once and ranked, as in the algorithm of the paper (the
released code removes them one by one). Of equal accuracies the more probable operation stays.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nasbench_snas.api import RULES, DerivationRule, RuleWork, SearchState
from nasbench_snas.architecture.space import Space
from nasbench_snas.search.topology import check_count, choosable, input_edges


class Perturbation(DerivationRule):
    """On every edge the operation whose removal costs most accuracy; likewise the input edges.

    Args:
        edges_per_node: Input edges that each node keeps; ``none`` is then never chosen. 0: all
            edges are kept, and ``none`` may be chosen.
        tune_steps: Steps of training between two decisions; 0: the parent is not trained.
    """

    name = "perturbation"
    summary = RULES[name]
    reference = "wang2021rethinking"
    uses_images = True

    def __init__(self, edges_per_node: int = 2, tune_steps: int = 20) -> None:
        self.edges_per_node = check_count("edges_per_node", edges_per_node, 0, "0 keeps all edges.")
        self.tune_steps = check_count("tune_steps", tune_steps, 0, "0 trains nothing.")

    def work(self, space: Space, candidates: int) -> RuleWork:
        """Return how often the parent is measured, and for how many steps it is trained."""
        nodes = self._contested(space)
        edges = int(choosable(space, none=not self.edges_per_node).sum())
        decisions = space.num_edges + len(nodes)
        return RuleWork(edges + sum(map(len, nodes)), self.tune_steps * (decisions - 1))

    def derive(self, state: SearchState) -> Tensor:
        """Return the kept operations, shape ``(E, K)``."""
        space = state.space
        probs = state.probs.detach().float().cpu()
        ranked = probs.masked_fill(~choosable(space, none=not self.edges_per_node), -math.inf)
        weights = probs.clone()
        edges, nodes = _shuffled(space.num_edges, state), self._contested(space)
        order = _shuffled(len(nodes), state)
        left = len(edges) + len(nodes)
        for edge in edges:
            choice = _operation(state, weights, edge, ranked[edge])
            weights[edge] = 0.0
            weights[edge, choice] = 1.0
            left -= 1
            self._tune(state, weights, left)
        strength = (weights * probs).sum(dim=-1)
        for number in order:
            for edge in _dropped(state, weights, nodes[number], strength, self.edges_per_node):
                weights[edge] = 0.0
            left -= 1
            self._tune(state, weights, left)
        return weights

    def _contested(self, space: Space) -> list[list[int]]:
        """Return the edges into each node that has more of them than it keeps."""
        keep = self.edges_per_node
        return [rows for rows in input_edges(space) if keep and len(rows) > keep]

    def _tune(self, state: SearchState, weights: Tensor, left: int) -> None:
        if left and not state.time_is_up:
            state.tune(weights, self.tune_steps)


def _shuffled(count: int, state: SearchState) -> list[int]:
    generator = state.generator
    order: list[int] = torch.randperm(count, generator=generator, device=generator.device).tolist()
    return order


def _operation(state: SearchState, weights: Tensor, edge: int, ranked: Tensor) -> int:
    """Return the operation of an edge without which the parent is worst.

    Args:
        state: Measures.
        weights: The parent's weights, shape ``(E, K)``.
        edge: The edge.
        ranked: What equal ones are told apart by, shape ``(K,)``; minus infinity: not a candidate.
    """
    candidates = [k for k, value in enumerate(ranked.tolist()) if value > -math.inf]
    removed = weights.repeat(len(candidates), 1, 1)
    for row, operation in enumerate(candidates):
        removed[row, edge, operation] = 0.0
    return candidates[_worst_first(state, removed, ranked[candidates])[0]]


def _dropped(
    state: SearchState, weights: Tensor, rows: list[int], strength: Tensor, keep: int
) -> list[int]:
    """Return the edges into a node that the parent can do without."""
    removed = weights.repeat(len(rows), 1, 1)
    for number, edge in enumerate(rows):
        removed[number, edge] = 0.0
    return [rows[number] for number in _worst_first(state, removed, strength[rows])[keep:]]


def _worst_first(state: SearchState, removed: Tensor, strength: Tensor) -> list[int]:
    """Return the order of ``removed`` ``(n, E, K)``: the least accurate first, then the stronger.

    Where the time of the run is up, the strengths alone decide; what could not be measured is last.
    """
    if state.time_is_up:
        accuracy = [0.0] * len(removed)
    else:
        measured = state.accuracy(removed).tolist()
        accuracy = [value if math.isfinite(value) else math.inf for value in measured]
    keys = list(zip(accuracy, (-strength).tolist(), strict=True))
    return sorted(range(len(removed)), key=lambda number: keys[number])
