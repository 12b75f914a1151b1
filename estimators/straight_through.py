"""Straight-through: the loss at a one-hot sample, the gradient of the probabilities.

``Z = D`` in value with ``dZ/d log alpha = dp/d log alpha``, so that ``dL/d log alpha = p * (h -
<p, h>)`` with ``h = dL/dZ`` at the hard sample ``D ~ p``: a first-order estimate of what another
operation would have cost. Biased for the expected loss, except where L is affine in every row of Z
(then exactly unbiased).

Reference: Bengio et al. 2013, arXiv:1308.3432 (binary units); the categorical form is what Liu et
al. 2023, arXiv:2304.08612, call straight-through.
Deviations: none. ``h`` of the operations that were not drawn needs their outputs at the hard state:
all K run.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import Categorical, Pathwise, straight_through


class StraightThrough(Pathwise):
    """Hard samples forward, the Jacobian of the softmax backward.

    Args:
        n: Architectures per draw. Default 1.
    """

    name = "straight-through"
    reference = "bengio2013straight"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "straight_through", "exact_on": "multilinear"}
    needs_all_operations = True

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return one-hot samples with the gradient of ``p``, shape ``(R, n, E, K)``."""
        return straight_through(dist.hard(noise), dist.probs[:, None])
