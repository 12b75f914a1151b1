"""GAEA: DARTS' gradient with an exponentiated update of the probabilities.

``p <- p * exp(-eta dL/dp)``, renormalised on every edge: mirror descent on the simplex instead of
gradient descent on logits. In logits that is plain descent along ``h = dL/dp``, where DARTS goes
along ``J(p) h``, so that operations of small probability are not slowed down. Here the gradient is
``h`` centred on each edge (renormalisation does not see its mean), and ``exponentiated = True``
makes the search take plain steps of it: no momentum, no second moments, no weight decay. Biased for
the expected loss of discrete architectures, and not a gradient in logits at all.

Reference: Li et al. 2021, arXiv:2004.07802, section 3 and Algorithm 1.
Deviations: ``eta`` is the search's learning rate, 0.1 by default; the entropy term that the paper
adds for some spaces is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss


class GAEA(Estimator):
    """Exponentiated gradients on the simplex (no settings)."""

    name = "gaea"
    family = "pathwise"
    reference = "li2021gaea"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "perturbed:gaea"}
    search_view = "mean"
    derive_rule = "top2"
    exponentiated = True
    optimizer_defaults = {"lr": 0.1}

    def noise(self, dist: Categorical, replicates: int, generator: torch.Generator) -> None:
        """Return None: the estimate is deterministic."""

    def surrogate(self, loss: Loss, dist: Categorical, noise: Any) -> Tensor:
        """Return the loss at ``p`` with ``h`` as gradient; see :meth:`Estimator.surrogate`."""
        probs, logits = dist.probs[:, None].detach().requires_grad_(), dist.logits
        losses = loss(probs).mean(dim=1)
        (slope,) = torch.autograd.grad(losses.sum(), probs, retain_graph=True)
        slope = (slope - slope.mean(dim=-1, keepdim=True))[:, 0]
        return losses + (slope * (logits - logits.detach())).sum(dim=(-2, -1))

    def weights(self, dist: Categorical, noise: Any) -> Tensor:
        """Return the probabilities, shape ``(R, 1, E, K)``; see :meth:`Estimator.weights`."""
        return dist.probs[:, None]
