"""GDAS: straight-through Gumbel-softmax that passes gradients to the drawn operation only.

``Z_k = D_k (1 + y_k - [y_k])`` with ``D`` one-hot, ``y = softmax((log p + G) / tau)`` and ``[.]``
constant: with ``s`` the drawn operation, ``dL/d alpha_e = h_es y_es (onehot(s) - y_e) / tau``, at
the cost of a single path. Biased for the expected loss; the bias does not vanish with tau, since
the alternatives' ``h`` is taken as 0. Theta gets ``dL/dtheta`` of the drawn architecture.

Two variants are published, which differ in what an operation that was not drawn contributes.
``masked``: nothing; this is the paper's acceleration ("only back-propagate the gradient generated
by the selected edge"), the operation that the authors released for the DARTS space, and what this
file computes. ``scalar``, in their code for other spaces: the number ``D_k - [y_k] + y_k = 0`` is
added to the node, so that ``h_k`` becomes the sum of ``dL/dx_j`` over all features, as if the
operation had the output 1; that gradient is no derivative with respect to Z, and an estimator that
sees ``L(Z)`` only cannot form it. Without the acceleration the method is
``st-gumbel``.

Reference: Dong and Yang 2019, arXiv:1910.04465, section 3.
Deviations: the variant (see above). The released code draws again when the noise or ``y`` is not
finite; here noise is finite by construction.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import AnnealedPathwise, Categorical, ScheduleKind


class GDAS(AnnealedPathwise):
    """Gumbel-softmax with hard samples and a masked gradient.

    Args:
        tau_start: Temperature at the start. Default 10.0.
        tau_end: Temperature at the end. Default 0.1.
        schedule: How it moves over the run: ``linear``, ``geometric`` or ``constant``. Default
            'linear'.
        n: Architectures per draw. Default 1.
    """

    name = "gdas"
    reference = "dong2019gdas"
    evaluations = "1 F forward + backward"
    bias = "biased"
    single_path = True
    claims = {"draw": "gdas"}

    def __init__(
        self,
        tau_start: float = 10.0,
        tau_end: float = 0.1,
        schedule: ScheduleKind = "linear",
        n: int = 1,
    ) -> None:
        super().__init__(tau_start, tau_end, schedule, n)

    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return one-hot samples, ``(R, n, E, K)``, with a gradient at the drawn operation."""
        soft = (dist.perturb(noise) / self.tau).softmax(dim=-1)
        return dist.hard(noise) * (1 + (soft - soft.detach()))
