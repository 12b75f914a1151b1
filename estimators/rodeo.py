"""RODEO: leave-one-out with control variates from a discrete Stein operator.

The Gibbs operator ``(A h)(Z) = 1/E sum_d sum_k p_dk h(Z with Z_d = k) - h(Z)`` has mean zero under
``p``. With a surrogate ``(a, b)_i(Y) = mean_{j != i} H(L_j, <dL/dZ_j, Y - Z_j>)`` that costs no
further evaluation, ``g = 1/n sum_i [(L_i - mean_{j != i} (L_j + (A a_j)(Z_j))) s(Z_i) + (A (b_i
s))(Z_i)]``, ``s = grad log p``. Unbiased for the expected loss whatever ``H`` is; ``H`` is trained
by the gradient of ``|g|^2``, the variance.

Reference: Shi et al. 2022, arXiv:2202.09497, sections 4-5 (Gibbs Stein operator, surrogate from
the other draws' linearisations).
Deviations: ``H`` is a network of one hidden layer (16 units, tanh, PyTorch's own initial weights);
the paper's scales of the two terms are left to it. The paper's experiments are binary: for K
operations the operator's sum runs over all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasbench_snas.api import Categorical, Distribution, Estimator, Loss, Space, score_term
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import seeded_init, stream


class RODEO(Estimator):
    """Leave-one-out with learnt Stein control variates.

    Args:
        n: Architectures per draw, at least 2. Default 4.
        hidden: Units of the surrogate's hidden layer. Default 16.
    """

    name = "rodeo"
    family = "control-variate"
    reference = "shi2022rodeo"
    evaluations = "n K F forward + backward, and n (n - 1) E K passes of a small network"
    bias = "unbiased"
    claims = {"draw": "coupled:rodeo"}
    conformance_variants = ({"hidden": 3},)
    needs_all_operations = True
    tunes_variance = True

    def __init__(self, n: int = 4, hidden: int = 16) -> None:
        super().__init__()
        if n < 2 or hidden < 1:
            raise ConfigError(f"rodeo: n = {n}, hidden = {hidden}; at least 2 and 1 are needed.")
        self.n, self.hidden = n, hidden
        with seeded_init(stream(0, "rodeo")):
            self.network = surrogate_network(hidden)

    def make_distribution(self, space: Space, generator: torch.Generator) -> Distribution:
        """Return the default distribution, and draw the surrogate anew."""
        dist = super().make_distribution(space, generator)
        with seeded_init(generator):  # in single precision: the same whatever the module's is
            drawn = surrogate_network(self.hidden)
        with torch.no_grad():
            for own, new in zip(self.network.parameters(), drawn.parameters(), strict=True):
                own.copy_(new)
        return dist

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the mean loss plus terms of value zero; see :meth:`Estimator.surrogate`."""
        z = dist.hard(noise).requires_grad_()
        losses = loss(z)
        (slope,) = torch.autograd.grad(losses.sum(), z, retain_graph=True)
        z, values, probs = z.detach(), losses.detach(), dist.probs[:, None].detach()
        here, around = self.surrogates(values, slope, z)
        means = (probs[..., None] * around).sum(dim=-2)  # over the operations of the changed edge
        stein = means[..., 0].mean(dim=-1) - here[..., 0]
        lowered = values + stein
        baseline = (lowered.sum(dim=1, keepdim=True) - lowered) / (self.n - 1)
        log_probs, log_prob = dist.log_probs[:, None], dist.log_prob(z)
        # A (b s): unchanged scores of the other edges, and the changed edge's own.
        other = (means[..., 1].sum(dim=-1, keepdim=True) - means[..., 1]) / dist.num_edges
        scores = score_term(other + (values - baseline - here[..., 1])[..., None], log_prob)
        own = score_term(probs * around[..., 1], log_probs).sum(dim=-1) / dist.num_edges
        return (losses + (scores + own).sum(dim=-1)).mean(dim=1)

    def surrogates(self, values: Tensor, slope: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(a, b)`` at each draw and at its neighbours.

        Args:
            values: Losses, shape ``(R, n)``.
            slope: ``dL/dZ``, shape ``(R, n, E, K)``.
            z: Draws, shape ``(R, n, E, K)``.

        Returns:
            Shapes ``(R, n, 2)`` and ``(R, n, E, K, 2)``.
        """
        keep = ~torch.eye(self.n, dtype=torch.bool, device=z.device)
        inner = torch.einsum("rjek,riek->rije", slope, z)
        at_own = torch.einsum("rjek,rjek->rj", slope, z)
        linear = inner.sum(dim=-1) - at_own[:, None]
        steps = slope[:, None] - inner[..., None] + linear[..., None, None]  # (R, n, n, E, K)
        level = values[:, None].expand(linear.shape)
        weight = (keep / (self.n - 1)).to(z.dtype)
        here = torch.einsum("ij,rijc->ric", weight, self.network_of(level, linear))
        level = level[..., None, None].expand(steps.shape)
        around = torch.einsum("ij,rijekc->riekc", weight, self.network_of(level, steps))
        return here, around

    def network_of(self, level: Tensor, linear: Tensor) -> Tensor:
        """Return ``H(level, linear)``, two values for each entry."""
        dtype = self.network[2].bias.dtype
        out: Tensor = self.network(torch.stack([level, linear], dim=-1).to(dtype))  # type: ignore[arg-type]
        return out.to(level.dtype)


def surrogate_network(hidden: int) -> nn.Sequential:
    """Return ``H`` in single precision on the CPU, with PyTorch's own initial weights."""
    first = nn.Linear(2, hidden, device="cpu", dtype=torch.float32)
    return nn.Sequential(first, nn.Tanh(), nn.Linear(hidden, 2, device="cpu", dtype=torch.float32))
