"""Double control variates: leave-one-out, with both sides expanded to first order.

With ``h_i = dL/dZ_i``, ``h_-i`` its mean over the other draws and ``mu = p``:
``g = 1/n sum_i [L_i - mean_{j != i} (L_j + c <h_-j, Z_j - mu>) + c <h_-i, Z_i - mu>] grad log
p(Z_i) - c J(p) mean_i h_i``, ``J(p) h = p * (h - <p, h>)``. The first control variate is the
leave-one-out baseline, lowered in variance by the second, whose mean is known. Unbiased for the
expected loss whatever ``c`` is; ``c`` is trained by the gradient of ``|g|^2``.

Reference: Titsias and Shi 2022, arXiv:2111.05300, section 3 (binary; the categorical form replaces
the variance ``mu (1 - mu)`` by the covariance ``diag(p) - p p^T``, and is ours).
Deviations: ``c`` starts at -1, where a loss that is linear in Z has no variance left.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasbench_snas.api import Categorical, Estimator, Loss, score_term
from nasbench_snas.errors import ConfigError


class DoubleCV(Estimator):
    """Leave-one-out with first-order control variates.

    Args:
        n: Architectures per draw, at least 2. Default 4.
        coefficient: ``c``, the start of its training. Default -1.0.
    """

    name = "double-cv"
    family = "control-variate"
    reference = "titsias2022double"
    evaluations = "n K F forward + backward"
    bias = "unbiased"
    claims = {"draw": "coupled:double_cv"}
    conformance_variants = ({"coefficient": 0.0}, {"coefficient": 0.7})
    needs_all_operations = True
    tunes_variance = True

    def __init__(self, n: int = 4, coefficient: float = -1.0) -> None:
        super().__init__()
        if n < 2:
            raise ConfigError(f"double-cv: leaving one out needs n of at least 2, got {n}.")
        self.n = n
        self.coefficient = nn.Parameter(torch.tensor(float(coefficient)))

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the mean loss plus terms of value zero; see :meth:`Estimator.surrogate`."""
        z = dist.hard(noise).requires_grad_()
        losses = loss(z)
        (slope,) = torch.autograd.grad(losses.sum(), z, retain_graph=True)
        z, values, probs = z.detach(), losses.detach(), dist.probs[:, None]
        c = self.coefficient.to(values.dtype)
        others = (slope.sum(dim=1, keepdim=True) - slope) / (self.n - 1)
        linear = c * (others * (z - probs.detach())).sum(dim=(-2, -1))
        expanded = values + linear
        baseline = (expanded.sum(dim=1, keepdim=True) - expanded) / (self.n - 1)
        scores = score_term(values - baseline + linear, dist.log_prob(z).sum(dim=-1))
        restored = (c * slope * (probs - probs.detach())).sum(dim=(-2, -1))
        return (losses + scores - restored).mean(dim=1)
