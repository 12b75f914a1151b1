"""Straight-through Gumbel-softmax: the loss at a one-hot sample, the gradient of its relaxation.

``Z = D = argmax(log p + G)`` in value with the Jacobian of ``y = softmax((log p + G) / tau)``:
``dL/d alpha_e = y_e * (h_e - <y_e, h_e>) / tau`` with ``h = dL/dZ`` at the hard sample. Biased for
the expected loss; as tau goes to 0 the mean goes to that of ``reinmax``, not to the gradient. Theta
gets ``dL/dtheta`` of the drawn architecture.

Reference: Jang et al. 2017, arXiv:1611.01144, section 2.2.
Deviations: the paper anneals to its own floors (0.5 for straight-through); here 1 -> 0.1 over the
run. ``h`` of the operations that were not drawn needs their outputs at the hard state: all K run.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import AnnealedPathwise, Categorical, straight_through


class STGumbel(AnnealedPathwise):
    """Hard samples forward, the Gumbel-softmax backward.

    Args:
        tau_start: Temperature at the start. Default 1.0.
        tau_end: Temperature at the end. Default 0.1.
        schedule: How it moves over the run: ``linear``, ``geometric`` or ``constant``. Default
            'linear'.
        n: Architectures per draw. Default 1.
    """

    name = "st-gumbel"
    reference = "jang2017categorical"
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "st_gumbel"}
    needs_all_operations = True

    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return one-hot samples with the gradient of the relaxed ones, ``(R, n, E, K)``."""
        soft = (dist.perturb(noise) / self.tau).softmax(dim=-1)
        return straight_through(dist.hard(noise), soft)
