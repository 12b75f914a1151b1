"""I-MLE: the difference of two perturbed most probable states, before and after a step.

``Z = argmax(alpha + G)``; with ``h = dL/dZ`` the target is ``alpha' = alpha - lambda h`` and ``Z' =
argmax(alpha' + G)`` with the same noise: ``g = (Z - Z') / lambda``. For a loss linear in Z its mean
is ``(p(alpha) - p(alpha - lambda h)) / lambda`` exactly, a finite difference of ``J(p) h``; as
lambda goes to 0 the mean is that of ``straight-through``, with a variance like ``1 / lambda``.
Biased for the expected loss. No further evaluation of the network is needed.

Reference: Niepert et al. 2021, arXiv:2106.01798, Algorithm 1 (perturb-and-MAP target).
Deviations: the noise is Gumbel, under which the perturbed state of one decision has the law ``p``
exactly (the paper's sum of gammas is for states with k active parts); the difference is divided by
lambda, so that its size does not depend on it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot
from nasbench_snas.errors import ConfigError


class IMLE(Estimator):
    """Implicit maximum likelihood.

    Args:
        step: ``lambda``, the step from the logits to the target. Default 1.0.
        n: Architectures per draw. Default 1.
    """

    name = "imle"
    family = "perturbation"
    reference = "niepert2021imle"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "perturbed:imle"}
    conformance_variants = ({"step": 50.0}, {"step": 5.0})
    needs_all_operations = True

    def __init__(self, step: float = 1.0, n: int = 1) -> None:
        super().__init__()
        if step <= 0:
            raise ConfigError(f"imle: the step must be positive, got {step}.")
        self.step, self.n = step, n

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the mean loss plus terms of value zero; see :meth:`Estimator.surrogate`."""
        z = dist.hard(noise).requires_grad_()
        losses = loss(z)
        (slope,) = torch.autograd.grad(losses.sum(), z, retain_graph=True)
        target = dist.perturb(noise).detach() - self.step * slope
        moved = one_hot(target.argmax(dim=-1), dist.num_operations, dist.dtype)
        gradient = ((z.detach() - moved) / self.step).mean(dim=1)
        logits = dist.logits
        return losses.mean(dim=1) + (gradient * (logits - logits.detach())).sum(dim=(-2, -1))
