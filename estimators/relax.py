"""RELAX: REINFORCE with a learnt function of the relaxed draw as control variate.

As ``rebar``, ``g = (L(D) - c(z~)) grad log p(D) + grad (c(z) - c(z~))``, but ``c`` is a small
network of ``softmax(z / tau)`` that never evaluates the parent. Unbiased for the expected loss
whatever ``c`` is; its weights and tau are trained by the gradient of ``|g|^2``, the variance. Theta
gets ``dL/dtheta`` at ``D``.

Reference: Grathwohl et al. 2018, arXiv:1711.00123, section 3.
Deviations: ``c`` is the network alone, as the paper uses for black-box losses, without its optional
term ``L(softmax(z / tau))``, which would cost 2 K F. Its last layer starts at zero, so that the
first draws are those of REINFORCE without baseline.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nasbench_snas.api import (
    Categorical,
    Distribution,
    Estimator,
    Loss,
    Space,
    gumbel,
    score_term,
)
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import seeded_init, stream


class RELAX(Estimator):
    """Score function with a learnt control variate.

    Args:
        hidden: Units of the control variate's hidden layer. Default 32.
        tau: Temperature of its input, the start of its training. Default 0.5.
        n: Architectures per draw. Default 1.
    """

    name = "relax"
    family = "control-variate"
    reference = "grathwohl2018relax"
    evaluations = "1 F forward + backward, and two passes of a small network"
    bias = "unbiased"
    claims = {"draw": "score:relax", "noise": ("gumbel", "exponential")}
    tunes_variance = True

    def __init__(self, hidden: int = 32, tau: float = 0.5, n: int = 1) -> None:
        super().__init__()
        if tau <= 0 or hidden < 1:
            raise ConfigError(f"relax: hidden = {hidden}, tau = {tau}: both must be positive.")
        self.n = n
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)))
        self.network = nn.Sequential(nn.LazyLinear(hidden), nn.Tanh(), nn.LazyLinear(1))

    def make_distribution(self, space: Space, generator: torch.Generator) -> Distribution:
        """Return the default distribution, and give the network its size."""
        dist = super().make_distribution(space, generator)
        self._initialise(space.num_edges * space.num_operations, generator)
        return dist

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return Gumbel and exponential noise, both ``(R, n, E, K)``."""
        first: Tensor = dist.noise(replicates, self.n, generator)
        return first, (-gumbel(tuple(first.shape), generator, dist.dtype)).exp()

    def surrogate(self, loss: Loss, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss at D plus terms of value zero; see :meth:`Estimator.surrogate`."""
        hard = dist.hard(noise[0])
        losses, log_prob = loss(hard), dist.log_prob(hard).sum(dim=-1)
        free = self.control(dist.perturb(noise[0]))
        given = self.control(dist.conditional(hard, noise[1]))
        control = free - given
        score = score_term(losses.detach() - given, log_prob)
        return (losses + score + (control - control.detach())).mean(dim=1)

    def control(self, z: Tensor) -> Tensor:
        """Return ``c(z)``, shape ``(R, n)``, for perturbed log-probabilities ``(R, n, E, K)``."""
        self._initialise(z.shape[-2] * z.shape[-1], stream(0, "relax"))
        x = (z / self.log_tau.exp()).softmax(dim=-1).flatten(-2)
        out: Tensor = self.network(x.to(self.log_tau.dtype))
        return out.squeeze(-1).to(z.dtype)

    def weights(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the hard samples; see :meth:`Estimator.weights`."""
        return dist.hard(noise[0])

    def progress_values(self) -> dict[str, float]:
        """Return the control variate's temperature."""
        return {"temperature": float(self.log_tau.detach().exp())}

    def _initialise(self, size: int, generator: torch.Generator) -> None:
        """Create the network's weights at its first use; loading a state creates them as well."""
        if any(nn.parameter.is_lazy(parameter) for parameter in self.network.parameters()):
            where = self.log_tau.device
            self.network.cpu()  # the host's generator: the same weights on every device
            with seeded_init(generator), torch.no_grad():
                self.network(torch.zeros(1, size, dtype=self.log_tau.dtype))
            for parameter in self.network[2].parameters():
                nn.init.zeros_(parameter)
            self.network.to(where)
