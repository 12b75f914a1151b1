"""PC-DARTS: softmax attention on a part of the channels, with normalised edges.

``Z_e = b_e softmax(alpha_e)``, where ``b = softmax(beta)`` over the edges that enter the same node,
without noise. The parent sends ``1 / partial_channels`` of the channels through the operations; the
others bypass them, weighted by ``sum_k Z_ek = b_e``. Biased for the expected loss of discrete
architectures, as DARTS is.

Reference: Xu et al. 2020, arXiv:1907.05737, section 3.
Deviations: the discrete law, for marginals, entropy and hard samples, is ``softmax(alpha)``; the
child ranks edges by ``b_e softmax(alpha_e)``, as in the released code. That alpha rests in the
first epochs while theta warms up is a setting of the run.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Pathwise, Space
from nasbench_snas.errors import ConfigError


class EdgeNormalised(Categorical):
    """Categorical on operations with weights of the edges.

    Args:
        logits: ``alpha``, shape ``(E, K)`` or ``(R, E, K)``.
        edge_logits: ``beta``, shape ``(E,)`` or ``(R, E)``.
        nodes: The node that each edge enters, shape ``(E,)``; edges of one node share a number.
    """

    nodes: Tensor

    def __init__(self, logits: Tensor, edge_logits: Tensor, nodes: Tensor) -> None:
        super().__init__(logits)
        self.beta = torch.nn.Parameter(
            edge_logits.detach().reshape(-1, logits.shape[-2]).clone(),
        )
        self.register_buffer("nodes", nodes.clone(), persistent=False)

    @property
    def edge_weights(self) -> Tensor:
        """``b``, shape ``(R, E)``: sums to one over the edges of each node."""
        apart = self.nodes[:, None] != self.nodes
        rivals = self.beta[:, None].masked_fill(apart, -torch.inf)
        return (self.beta - rivals.logsumexp(dim=-1)).exp()

    def strengths(self, generator: torch.Generator) -> Tensor:
        """Return ``b softmax(alpha)``; see :meth:`Distribution.strengths`."""
        return (self.edge_weights[..., None] * self.probs).detach()

    def replicate(self, replicates: int) -> Self:
        """Return ``R`` copies of the first replicate; see :meth:`Distribution.replicate`."""
        alpha = self.alpha.detach()[:1].expand(replicates, -1, -1)
        return type(self)(alpha, self.beta.detach()[:1].expand(replicates, -1), self.nodes)


class PCDARTS(Pathwise):
    """Deterministic attention over operations and edges.

    Args:
        partial_channels: The parent runs ``1 / partial_channels`` of the channels. Default 4.
    """

    name = "pc-darts"
    reference = "xu2020pcdarts"
    evaluations = "K F forward + backward, on a part of the channels"
    bias = "biased"
    claims = {"draw": "pc_darts"}
    search_view = "soft"
    expected_failed_checks = {
        "weights_are_one_hot_or_on_the_simplex": "rows sum to the weight of their edge"
    }
    derive_rule = "top2"

    def __init__(self, partial_channels: int = 4) -> None:
        super().__init__()
        if partial_channels < 1:
            raise ConfigError(f"pc-darts: partial_channels must be positive: {partial_channels}.")
        self.partial_channels = partial_channels

    def make_distribution(self, space: Space, generator: torch.Generator) -> EdgeNormalised:
        """Return logits of operations and edges ``N(0, 1e-3)``."""
        logits = torch.randn((space.num_edges, space.num_operations), generator=generator)
        targets = [(cell.name, target) for cell in space.cells for _, target in cell.edges]
        numbers = {node: number for number, node in enumerate(dict.fromkeys(targets))}
        nodes = torch.tensor([numbers[node] for node in targets])
        edge_logits = torch.randn(space.num_edges, generator=generator)
        return EdgeNormalised(1e-3 * logits, 1e-3 * edge_logits, nodes)

    def noise(self, dist: EdgeNormalised, replicates: int, generator: torch.Generator) -> None:
        """Return None: nothing is drawn."""

    def relax(self, dist: EdgeNormalised, noise: None) -> Tensor:
        """Return ``b softmax(alpha)``, shape ``(R, 1, E, K)``."""
        return (dist.edge_weights[..., None] * dist.probs)[:, None]
