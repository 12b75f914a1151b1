"""DSNAS: the score of discrete architectures times the Taylor credit, at single-path cost.

``g_e = (D_e - p_e) (h_e . D_e)`` with ``D ~ p`` one-hot and ``h = dL/dZ`` of the drawn operation
only: eq. (7) of SNAS at a discrete sample, with minus the credit of its eq. (8). Theta gets
``dL/dtheta`` of the drawn architecture.

Biased for the expected loss unless L is affine in each row of Z: the credit is the first-order
estimate of ``L(Z) - L(Z without edge e)``, which would be unbiased.

Reference: Hu et al. 2020, arXiv:2002.09128, section 3.
Deviations: none in the gradient. The paper's early stopping and resource term belong to the search.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import Categorical, Pathwise


class DSNAS(Pathwise):
    """Discrete score times local credit.

    Args:
        n: Architectures per draw. Default 1.
    """

    name = "dsnas"
    family = "credit"
    reference = "hu2020dsnas"
    evaluations = "1 F forward + backward"
    bias = "biased"
    claims = {"draw": "dsnas", "exact_on": "multilinear"}

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return one-hot samples, shape ``(R, n, E, K)``, that pass on score times credit.

        ``D_e (1 + l_e)``, where ``l_e`` has value 0 and the gradient of ``log p(D_e)``: the chain
        rule multiplies that by ``h_e . D_e``.
        """
        z = dist.hard(noise)
        log_prob = dist.log_prob(z)[..., None]
        return z * (1 + (log_prob - log_prob.detach()))
