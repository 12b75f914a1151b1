"""Random search: uniformly drawn architectures, and no gradient for alpha.

``Z ~ uniform``, ``dJ/d alpha = 0``: theta is trained by ``dL/dtheta`` at uniform single paths, and
alpha keeps its initial values, whose largest entries are a uniformly random child. The floor that
every search has to beat at the same budget.

Reference: Li and Talwalkar 2019, arXiv:1902.07638, "random search with weight sharing".
Deviations: one random child instead of the best of many on the validation split.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nasbench_snas.api import Distribution, Estimator, Loss, one_hot


class Random(Estimator):
    """Uniform single paths.

    Args:
        n: Architectures per draw. Default 1.
    """

    name = "random"
    family = "random"
    reference = "li2019random"
    evaluations = "n F forward + backward"
    bias = "none"
    claims = {"samples": "uniform"}
    has_alpha_gradient = False
    needs_factorised = False

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    def surrogate(self, loss: Loss, dist: Distribution, noise: Any) -> Tensor:
        """Return the mean loss of uniform draws; see :meth:`Estimator.surrogate`."""
        return loss(self.weights(dist, noise)).mean(dim=1)

    def weights(self, dist: Distribution, noise: Tensor) -> Tensor:
        """Return uniform one-hot draws: the argmax of the noise alone."""
        return one_hot(noise.argmax(dim=-1), dist.num_operations, dist.dtype)
