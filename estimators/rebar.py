"""REBAR: REINFORCE with the relaxed loss, given the draw, as control variate.

With ``z = log p + G``, ``D = onehot(argmax z)``, ``z~ ~ p(z | D)`` and ``c(z) =
L(softmax(z / tau))``: ``g = (L(D) - eta c(z~)) grad log p(D) + eta grad (c(z) - c(z~))``, the last
gradients by reparameterisation. Unbiased for the expected loss for every eta and tau; both are
tuned by the gradient of ``|g|^2``, the variance. Theta gets ``dL/dtheta`` at ``D`` only.

Reference: Tucker et al. 2017, arXiv:1703.07370, section 3 and appendix.
Deviations: the multi-edge form relaxes all edges together (the paper's layers, one at a time).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nasbench_snas.api import Categorical, Estimator, Loss, gumbel, score_term
from nasbench_snas.errors import ConfigError


class _Graft(torch.autograd.Function):
    """A value whose gradient for ``z`` is ``h``, and nothing else; ``h`` may have a graph."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, z: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        (h,) = ctx.saved_tensors
        return None, grads[0][..., None, None] * h, None


def through_weights(loss: Loss, z: Tensor, second_order: bool) -> Tensor:
    """Return ``L(z)``, shape ``(R, n)``, that has a gradient for ``z`` but none for theta."""
    value = loss(z)
    (h,) = torch.autograd.grad(value.sum(), z, create_graph=second_order)
    grafted: Tensor = _Graft.apply(value.detach(), z, h)
    return grafted


class REBAR(Estimator):
    """Score function with a relaxed control variate.

    Args:
        tau: Temperature of the control variate, the start of its tuning. Default 0.5.
        eta: Weight of the control variate, the start of its tuning. Default 1.0.
        tune: Whether both follow the gradient of the variance (second derivatives of the loss).
            Default True.
        n: Architectures per draw. Default 1.
    """

    name = "rebar"
    family = "control-variate"
    reference = "tucker2017rebar"
    evaluations = "(1 + 2 K) F forward + backward; second order while tuning"
    bias = "unbiased"
    claims = {"draw": "score:rebar", "noise": ("gumbel", "exponential")}
    conformance_variants = ({"tune": False, "eta": 0.6},)

    def __init__(self, tau: float = 0.5, eta: float = 1.0, tune: bool = True, n: int = 1) -> None:
        super().__init__()
        if tau <= 0:
            raise ConfigError(f"rebar: tau must be positive, got {tau}.")
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)), requires_grad=tune)
        self.eta = nn.Parameter(torch.tensor(float(eta)), requires_grad=tune)
        self.tunes_variance = self.needs_double_backward = tune
        self.n = n

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return Gumbel and exponential noise, both ``(R, n, E, K)``."""
        first: Tensor = dist.noise(replicates, self.n, generator)
        return first, (-gumbel(tuple(first.shape), generator, dist.dtype)).exp()

    def surrogate(self, loss: Loss, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss at D plus terms of value zero; see :meth:`Estimator.surrogate`."""
        hard, tau = dist.hard(noise[0]), self.log_tau.exp()
        losses, log_prob = loss(hard), dist.log_prob(hard).sum(dim=-1)
        second_order = self.training and self.tunes_variance
        free, given = (
            through_weights(loss, (z / tau).softmax(dim=-1), second_order)
            for z in (dist.perturb(noise[0]), dist.conditional(hard, noise[1]))
        )
        score = score_term(losses.detach() - self.eta * given, log_prob)
        control = self.eta * (free - given)
        return (losses + score + (control - control.detach())).mean(dim=1)

    def weights(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the hard samples; see :meth:`Estimator.weights`."""
        return dist.hard(noise[0])

    def progress_values(self) -> dict[str, float]:
        """Return temperature and weight of the control variate."""
        return {"temperature": float(self.log_tau.detach().exp()), "eta": float(self.eta.detach())}
