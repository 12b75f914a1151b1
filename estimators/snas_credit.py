"""SNAS's credit assignment taken at its word: the concrete score times the Taylor credit.

Eq. (7): ``g_e = grad log p(Z_e) [dL/dx_j O~_e(x_i)]_c``, where ``Z`` is a concrete sample at
temperature lambda and the bracket is ``h_e . Z_e`` with ``h = dL/dZ``, minus the credit ``R_ij`` of
eq. (8). The score of the concrete density, for the noise that made the sample, is
``t_k = 1 - K e^{-G_k} / sum_l e^{-G_l}``: free of lambda and alpha, and finite where ``Z`` rounds
to 0. Theta gets ``dL/dtheta`` at the soft sample.

Biased for the expected loss, and for the relaxed one too: eq. (7) equals ``snas`` only if L is
affine in each row of Z; the difference is the gradient of the first-order Taylor remainder of
Appendix E, and does not vanish with lambda (the limit is ``dsnas``).

Reference: Xie et al. 2019, arXiv:1812.09926, eqs. (7), (8) and Appendix D, E; concrete density:
Maddison et al. 2017, arXiv:1611.00712, definition 1.
Deviations: gradients are taken with respect to ``log alpha``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import AnnealedPathwise, Categorical, Loss, ScheduleKind


def concrete_score(noise: Tensor) -> Tensor:
    """Return ``d log p(Z) / d log alpha`` of concrete samples from their Gumbel noise.

    Args:
        noise: ``G``, shape ``(..., K)``.

    Returns:
        ``1 - K softmax(-G)``, the same shape.
    """
    return 1 - noise.shape[-1] * (-noise).softmax(dim=-1)


class SNASCredit(AnnealedPathwise):
    """Policy gradient with the credit of eq. (8) on relaxed samples.

    Args:
        tau_start: Temperature (the paper's lambda) at the start. Default 1.0.
        tau_end: Temperature at the end. Default 0.03.
        schedule: How it moves over the run: ``linear``, ``geometric`` or ``constant``. Default
            'linear'.
        n: Architectures per draw. Default 1.
    """

    name = "snas-credit"
    family = "credit"
    reference = "xie2019snas"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "snas_credit"}
    search_view = "soft"

    def __init__(
        self,
        tau_start: float = 1.0,
        tau_end: float = 0.03,
        schedule: ScheduleKind = "linear",
        n: int = 1,
    ) -> None:
        super().__init__(tau_start, tau_end, schedule, n)

    # Implements SNAS (7, 28).
    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the relaxed sample, shape ``(R, n, E, K)``; backward it passes on eq. (7).

        ``Z_e (1 + l_e)``, where ``l_e`` has value 0 and gradient ``t``: the chain rule multiplies
        ``t`` by ``h_e . Z_e``.
        """
        z = self.soft(dist, noise)
        score = (concrete_score(noise) * dist.log_probs[:, None]).sum(dim=-1, keepdim=True)
        return z * (1 + (score - score.detach()))

    def soft(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the detached concrete sample, shape ``(R, n, E, K)``."""
        return (dist.perturb(noise).detach() / self.tau).softmax(dim=-1)

    # Implements SNAS (8, 34).
    def credits(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return ``R_ij = -h_e . Z_e`` of eq. (8), shape ``(R, n, E)``; sums over shared cells."""
        z = self.soft(dist, noise).requires_grad_()
        (h,) = torch.autograd.grad(loss(z).sum(), z)
        return -(h * z.detach()).sum(dim=-1)
