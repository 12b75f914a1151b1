"""The resource constraint: ``E[C(Z)]`` and its gradients (SNAS eqs. 9-11, section 2.4).

The objective is ``E[L(Z)] + eta E[C(Z)]`` (eq. 9). ``C`` is linear in ``Z`` (eq. 10)::

    C(Z) = sum_ij Z_ij^T C(O_ij)

so its expectation is ``sum_ij p_ij^T C(O_ij)``: exact and differentiable, in one line. The paper
calls it "non-trivial to calculate" and uses policy gradients (eq. 11); both other forms exist here
to be compared with it: ``pathwise`` puts the relaxed sample into eq. 10, ``score`` is eq. 11 with
each edge credited with its own cost, and a baseline.

Symbols: ``E`` edges, ``K`` operations, ``table``: the costs ``C(O_ij)``, shape ``(E, K, 3)``
(parameters, FLOPs, memory access; see :mod:`nasbench_snas.cost.table`), ``unit``: one cost for each
operation, shape ``(E, K)``, the weighted combination of the three (or a criterion of one's own,
:mod:`nasbench_snas.cost.own`).

Normalisation: each criterion is divided by its value for the uniform distribution over operations
(``mean``, default) or by that of the most expensive architecture (``maximum``). With ``mean`` and
weights that sum to one, ``C = 1`` for an undecided search: eta is the penalty at the start, in nats
beside the cross-entropy, and carries over between networks of any size. The weights of the three
criteria are scaled to sum to one.

Deviations: the released code penalises ``0.43 (2 size + flops / 4000 + mac / 100)`` or the mean
logarithm of the three on each edge, divided by the number of cells of the type; these are the
penalties ``released-linear`` and ``released-log``. The latter is not linear in ``Z``: what
``exact`` returns for it is the penalty of the mean, not the mean penalty.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import score_term
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.network import outside_parts
from nasbench_snas.cost.own import OwnCost
from nasbench_snas.cost.settings import CostSettings, CostTarget, Normalisation, Penalty
from nasbench_snas.cost.table import CRITERIA, cost_table, mean_cost, position_table
from nasbench_snas.errors import ConfigError
from nasbench_snas.supernet.skeleton import positions


# Implements SNAS (11).
def expected_cost(probs: Tensor, table: Tensor) -> Tensor:
    """Return ``E[C(Z)]`` of a factorised distribution exactly, criterion by criterion.

    Args:
        probs: Probabilities, shape ``(..., E, K)``.
        table: Shape ``(E, K, 3)``.

    Returns:
        Shape ``(..., 3)``, differentiable with respect to ``probs``.
    """
    return torch.einsum("...ek,ekc->...c", probs, table.to(probs))


# Implements SNAS (10).
def sample_cost(z: Tensor, table: Tensor) -> Tensor:
    """Return ``C(Z)`` of sampled weights (eq. 10), criterion by criterion.

    The formula is that of :func:`expected_cost`: ``C`` is linear. With relaxed ``z`` the gradient
    is the reparameterised one.

    Args:
        z: Weights, shape ``(..., E, K)``.
        table: Shape ``(E, K, 3)``.
    """
    return expected_cost(z, table)


# Implements SNAS (11).
def score_cost(
    edge_costs: Tensor,
    log_prob: Tensor,
    baseline: Tensor | float = 0.0,
    *,
    local: bool = True,
) -> Tensor:
    """Return ``C(Z)`` with the score-function gradient of its expectation (eq. 11).

    Args:
        edge_costs: Cost of what each edge chose in a sample, shape ``(..., E)``.
        log_prob: ``log p`` of each decision, shape ``(..., E)``, graph attached.
        baseline: Subtracted from each edge's cost (local) or from the total; it may depend on the
            distribution, never on the sample. Broadcastable to ``(..., E)`` or ``(...)``.
        local: Credit every decision with its own edge's cost, the paper's local decomposition,
            valid when the decisions are independent; otherwise with the total (controllers).

    Returns:
        Shape ``(...)``: the value is ``C(Z)``, the backward pass the score estimate.
    """
    costs = edge_costs.detach()
    whole = costs.sum(dim=-1)
    if local:
        return whole + score_term(costs - baseline, log_prob).sum(dim=-1)
    return whole + score_term(whole - baseline, log_prob.sum(dim=-1))


def combine(
    table: Tensor,
    weights: tuple[float, ...],
    normalise: Normalisation = "mean",
    mean: Tensor | None = None,
) -> Tensor:
    """Return one cost for each operation: the weighted, normalised sum of the criteria.

    Args:
        table: Shape ``(E, K, criteria)``.
        weights: Relative weights of the criteria (parameters, FLOPs and memory access, or one of
            one's own); scaled to sum to one.
        normalise: See the module's docstring. A criterion that is zero everywhere is left out.
        mean: Mean cost of each edge, shape ``(E, criteria)``; None: over all ``K`` operations.

    Returns:
        ``unit``: shape ``(E, K)``.

    Raises:
        ConfigError: All weights are zero.
    """
    if sum(weights) <= 0:
        raise ConfigError("all weights of the cost criteria are zero.", fix="Give one of them.")
    scale = torch.ones(table.shape[-1], dtype=table.dtype)
    if normalise == "mean":
        scale = (table.mean(dim=1) if mean is None else mean).sum(dim=0)
    elif normalise == "maximum":
        scale = table.amax(dim=1).sum(dim=0)
    share = torch.tensor(weights, dtype=table.dtype) * (scale > 0)
    share = share / share.sum().clamp_min(torch.finfo(table.dtype).tiny)
    result: Tensor = (table * (share / scale.clamp_min(torch.finfo(table.dtype).tiny))).sum(dim=-1)
    return result


def released_edge_penalty(weights: Tensor, table: Tensor, penalty: Penalty) -> Tensor:
    """Return the released code's penalty of each edge of one cell.

    Args:
        weights: Probabilities or samples, shape ``(..., edges, K)``.
        table: The cell's costs, shape ``(edges, K, 3)``.
        penalty: ``released-linear``: ``0.43 (2 size + flops / 4000 + mac / 100)``;
            ``released-log``: the mean of the three logarithms, sums below one counted as one.

    Returns:
        Shape ``(..., edges)``.
    """
    sums = torch.einsum("...ek,ekc->...ec", weights, table.to(weights))
    if penalty == "released-log":
        return sums.clamp_min(1.0).log().mean(dim=-1)
    scale = torch.tensor([2.0, 1 / 4000, 1 / 100], dtype=sums.dtype, device=sums.device)
    return 0.43 * (sums * scale).sum(dim=-1)


class CostModel:
    """The cost of one space under given settings.

    Args:
        space: The space.
        settings: The settings.
        own: The costs by a criterion of one's own, in place of the paper's three; or None.
    """

    def __init__(self, space: Space, settings: CostSettings, own: OwnCost | None = None) -> None:
        self.space, self.settings, self.own = space, settings, own
        self.table = cost_table(space, settings.convention)
        weights: tuple[float, ...]
        if own is None:
            table, weights = self.table, settings.relative
        else:
            table, weights = own.table[..., None], (1.0,)
        self.unit = combine(table, weights, settings.normalise, mean_cost(space, table))
        self.outside = outside_parts(space)
        self._moved: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}
        self._cells = [
            (space.rows[p.cell.name], position_table(space, p, settings.convention))
            for p in positions(space)
        ]

    def edge_costs(self, weights: Tensor) -> Tensor:
        """Return the penalty of every edge, shape ``(..., E)``, for ``weights`` ``(..., E, K)``."""
        if self.settings.penalty == "normalised":
            return (weights * self._like(self.unit, weights)).sum(dim=-1)
        parts = []
        for cell in self.space.cells:
            rows = self.space.rows[cell.name]
            tables = [self._like(table, weights) for own, table in self._cells if own == rows]
            each = [
                released_edge_penalty(weights[..., rows, :], table, self.settings.penalty)
                for table in tables
            ]
            parts.append(torch.stack(each).mean(dim=0))
        return torch.cat(parts, dim=-1)

    def _like(self, table: Tensor, weights: Tensor) -> Tensor:
        """Return a table on the device and in the type of ``weights``; copied there once."""
        key = (id(table), weights.device, weights.dtype)
        if key not in self._moved:
            self._moved[key] = table.to(weights)
        return self._moved[key]

    def _uniform(self, like: Tensor) -> Tensor:
        """Return the weights of an undecided choice, of the shape of ``like``, ``(..., E, K)``."""
        if not self.space.absent:
            return torch.full_like(like, 1 / self.space.num_operations)
        return like.new_tensor(self.space.uniform).expand_as(like)

    def cost(self, weights: Tensor) -> Tensor:
        """Return the penalty ``C``, shape ``(...)``, for ``weights`` of shape ``(..., E, K)``."""
        return self.edge_costs(weights).sum(dim=-1)

    def totals(self, weights: Tensor) -> Tensor:
        """Return the cost of the whole network, outside parts included, shape ``(..., 3)``.

        Last axis :data:`nasbench_snas.cost.table.CRITERIA`, in scalars, operations and elements.
        """
        fixed = [sum(getattr(cost, name) for cost in self.outside.values()) for name in CRITERIA]
        return expected_cost(weights, self.table) + weights.new_tensor(fixed)

    def measure(self, weights: Tensor, target: CostTarget) -> Tensor:
        """Return the quantity that ``target`` speaks of, shape ``(...)``."""
        if target.criterion == "share":
            uniform = self._uniform(weights)
            return self.cost(weights) / self.cost(uniform)
        if self.own is not None and target.criterion == self.own.name:
            return self.own.total(weights)
        return self.totals(weights)[..., CRITERIA.index(target.criterion)]

    def penalty(
        self,
        *,
        probs: Tensor | None = None,
        z: Tensor | None = None,
        log_prob: Tensor | None = None,
        baseline: Tensor | float | None = None,
        local: bool = True,
    ) -> Tensor:
        """Return ``E[C]`` with the gradient that the settings ask for (without eta).

        Args:
            probs: For ``exact``: probabilities, shape ``(..., E, K)``, graph attached.
            z: For ``pathwise``: relaxed weights; for ``score``: one-hot samples; ``(..., E, K)``.
            log_prob: For ``score``: shape ``(..., E)``, graph attached.
            baseline: For ``score``; by default the cost of each edge (of the whole) under a uniform
                choice.
            local: For ``score``; see :func:`score_cost`.

        Returns:
            Shape ``(...)``.

        Raises:
            ConfigError: What the chosen gradient needs is not given.
        """
        kind = self.settings.gradient
        if kind == "exact" and probs is not None:
            return self.cost(probs)
        if kind == "pathwise" and z is not None:
            return self.cost(z)
        if kind == "score" and z is not None and log_prob is not None:
            if baseline is None:
                uniform = self._uniform(z)
                baseline = self.edge_costs(uniform) if local else self.cost(uniform)
            return score_cost(self.edge_costs(z), log_prob, baseline, local=local)
        raise ConfigError(
            f"the cost gradient {kind!r} is not possible with this distribution.",
            "exact needs the probabilities of independent decisions, pathwise relaxed weights, "
            "score samples and their log-probabilities.",
            "Choose another --cost-gradient.",
        )
