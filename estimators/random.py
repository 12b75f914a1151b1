"""Random search with parameter sharing: uniform single paths, then the best of N by validation.

``Z ~ uniform``, ``dJ/d alpha = 0``: theta is trained by ``dL/dtheta`` at uniform single paths; N
architectures are drawn from the distribution as it began (logits ``N(0, 1e-3)``: every operation
within 1 % of ``1/K``), and the best of them by inherited validation on the selection images is the
child. What every search has to beat at the same budget.

Reference: Li and Talwalkar 2019, arXiv:1902.07638, section 3.2, "random search with weight
sharing". Deviations: the best of N is not trained on to choose among several finalists; see
:mod:`nasbench_snas.search.selection` for images and batch norms.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from nasbench_snas.api import DeriveRule, Distribution, Estimator, Loss, one_hot


class Random(Estimator):
    """Uniform single paths, the best of N.

    Args:
        n: Architectures per draw. Default 1.
    """

    name = "random"
    version = 2
    family = "random"
    reference = "li2019random"
    evaluations = "n F forward + backward"
    bias = "none"
    single_path = True
    claims = {"samples": "uniform"}
    has_alpha_gradient = False
    needs_factorised = False
    derive_rule: ClassVar[DeriveRule] = "best-of-N"

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    def surrogate(self, loss: Loss, dist: Distribution, noise: Any) -> Tensor:
        """Return the mean loss of uniform draws; see :meth:`Estimator.surrogate`."""
        return loss(self.weights(dist, noise)).mean(dim=1)

    def weights(self, dist: Distribution, noise: Tensor) -> Tensor:
        """Return uniform one-hot draws: the argmax of the noise alone."""
        return one_hot(noise.argmax(dim=-1), dist.num_operations, dist.dtype)
