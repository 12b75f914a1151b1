"""Hill climb: a derivation rule that starts from the mode and improves it edge by edge.

From the most probable operations it goes through the edges once, the least decided first, and
keeps the operation on that edge with which the child validates best: ``E (K - 1) + 1``
architectures are compared, with the parent's weights, on images that are set apart for it.

Reference: coordinate-wise local search; compare White, Nolen and Savani 2021, arXiv:2005.02960
(local search over a trained table). Deviation: one round, inherited weights, a fixed order.

    nasbench --plugin examples/plugins/hill_climb.py run -e snas -s snas-unit --derive hill-climb
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import DerivationRule, RuleWork, SearchState, Space


class HillClimb(DerivationRule):
    """One round of coordinate ascent from the mode.

    Args:
        edges: Edges that are tried, the least decided first; 0: all of them.
    """

    name = "hill-climb"
    summary = "the mode, improved edge by edge on images set apart"
    uses_images = True

    def __init__(self, edges: int = 0) -> None:
        self.edges = edges

    def work(self, space: Space, candidates: int) -> RuleWork:
        """Return how many architectures it compares."""
        edges = min(self.edges or space.num_edges, space.num_edges)
        return RuleWork(edges * (space.num_operations + 1))

    def derive(self, state: SearchState) -> Tensor:
        """Return the improved mode, shape ``(E, K)``."""
        operations = torch.eye(state.space.num_operations)
        z = state.dist.mode()[0].float().cpu()
        order = torch.special.entr(state.probs).sum(dim=-1).argsort(descending=True, stable=True)
        for edge in order.tolist()[: self.edges or None]:
            tried = z.repeat(len(operations), 1, 1)
            tried[:, edge] = operations
            tried = torch.cat([z[None], tried])  # of equal ones the first is kept: it stays
            z = tried[int(state.accuracy(tried).argmax())]
        return z
