"""AIMLE: I-MLE with a step that adapts so that the gradient stays informative.

As ``imle`` with ``lambda = beta |alpha| / |h|``, ``|.|`` the Euclidean norm over edges and
operations: ``g = (Z - Z') / lambda``, or symmetric ``(argmax(alpha + lambda h + G) - Z') / (2
lambda)``. After every draw, with the moving average of the number of entries of ``Z - Z'`` that are
not zero: below ``target`` ``beta`` grows by ``rate``, otherwise it shrinks, never below 0. Biased
for the expected loss.

Reference: Minervini et al. 2023, arXiv:2209.04862, section 3 (adaptive target distribution), the
counting norm and its defaults as released.
Deviations: norms are taken for each architecture (released: over the batch), with logits centred
on each edge, since softmax does not see their sum. With all logits equal, or ``beta = 0``, there is
no step and the gradient is zero, as released.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot
from nasbench_snas.errors import ConfigError


class AIMLE(Estimator):
    """Implicit maximum likelihood with an adaptive step.

    Args:
        beta: Relative step at the start. Default 1.0.
        rate: Change of the relative step per draw. Default 0.0001.
        target: Entries that should differ, on average. Default 1.0.
        decay: Weight of the past in the moving average, in [0, 1). Default 0.9.
        symmetric: Whether a step is made to both sides. Default False.
        n: Architectures per draw. Default 1.
    """

    name = "aimle"
    family = "perturbation"
    reference = "minervini2023aimle"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "perturbed:aimle"}
    conformance_variants = ({"symmetric": True},)
    needs_all_operations = True
    beta: Tensor
    changed: Tensor

    def __init__(
        self,
        beta: float = 1.0,
        rate: float = 1e-4,
        target: float = 1.0,
        decay: float = 0.9,
        symmetric: bool = False,
        n: int = 1,
    ) -> None:
        super().__init__()
        if beta < 0 or rate <= 0 or not 0 <= decay < 1:
            raise ConfigError(
                f"aimle: beta = {beta}, rate = {rate}, decay = {decay} is not possible.",
                "Expected beta >= 0, rate > 0 and decay in [0, 1).",
            )
        self.rate, self.target, self.decay = rate, target, decay
        self.symmetric, self.n = symmetric, n
        self.register_buffer("beta", torch.tensor(beta, dtype=torch.float64))
        self.register_buffer("changed", torch.tensor(1.0, dtype=torch.float64))

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the mean loss plus terms of value zero; see :meth:`Estimator.surrogate`."""
        z = dist.hard(noise).requires_grad_()
        losses = loss(z)
        (slope,) = torch.autograd.grad(losses.sum(), z, retain_graph=True)
        logits, perturbed = dist.logits, dist.perturb(noise).detach()
        centred = logits.detach() - logits.detach().mean(dim=-1, keepdim=True)
        length = centred.flatten(1).norm(dim=1)[:, None, None, None]
        steep = slope.flatten(2).norm(dim=-1)[..., None, None]
        step = torch.where(steep > 0, self.beta.to(length) * length / steep, 0)

        def state(at: Tensor) -> Tensor:
            return one_hot(at.argmax(dim=-1), dist.num_operations, dist.dtype)

        left = state(perturbed + step * slope) if self.symmetric else z.detach()
        difference = left - state(perturbed - step * slope)
        width = (2 if self.symmetric else 1) * torch.where(step > 0, step, 1)
        gradient = (difference / width).mean(dim=1)
        self.adapt(difference)
        return losses.mean(dim=1) + (gradient * (logits - logits.detach())).sum(dim=(-2, -1))

    def adapt(self, difference: Tensor) -> None:
        """Move the relative step by the differences ``(R, n, E, K)``, in training mode only."""
        if self.training:
            count = (difference != 0).sum(dim=(-2, -1)).to(torch.float64).mean()
            self.changed.copy_(self.decay * self.changed + (1 - self.decay) * count)
            sign = 1.0 if float(self.changed) < self.target else -1.0
            self.beta.copy_((self.beta + sign * self.rate).clamp_min(0))

    def progress_values(self) -> dict[str, float]:
        """Return the relative step."""
        return {"beta": float(self.beta)}
