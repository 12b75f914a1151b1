"""SDARTS-RS: theta is trained at randomly perturbed weights (random smoothing).

With the weights ``z`` that the estimator hands out,

    min_theta  E_{delta ~ U(-epsilon, epsilon)} L_train(theta, P(z + delta)),

one ``delta`` a step, a number for each edge and operation; ``P`` clips to [0, 1] and scales each
row back to its sum. ``epsilon`` moves linearly from ``start`` to ``end``. The loss of alpha is left
as it is.

Reference: Chen and Hsieh 2020, arXiv:2002.05283, eq. 5 and algorithm 1; radii and ``P`` of the
released code (0.03 to 0.3, once an epoch). Deviations: the radius moves with every step; with
one-hot or other weights in the place of ``softmax(alpha)`` each row keeps its own sum.
"""

from __future__ import annotations

from nasbench_snas.api import Loss, LossStep, LossTransformer, loss_at

from ._perturbation import absent, check_radii, projected, radius, uniform


class SdartsRs(LossTransformer):
    """Random smoothing of the weights that theta is trained at.

    Args:
        start: ``epsilon`` at the start of the run. Default 0.03.
        end: ``epsilon`` at its end. Default 0.3.

    Raises:
        ConfigError: A radius is outside [0, 1].
    """

    name = "sdarts-rs"
    summary = "theta at weights with uniform noise (SDARTS-RS)"
    reference = "chen2020sdarts"
    levels = ("bilevel", "unrolled")

    def __init__(self, start: float = 0.03, end: float = 0.3) -> None:
        check_radii(self.name, start, end)
        self.start, self.end = start, end

    def transform(self, loss: Loss, step: LossStep) -> Loss:
        """Return the loss at ``P(z + delta)``; alpha's own loss as it is."""
        if step.role == "alpha":
            return loss
        delta = uniform(step, radius(self.start, self.end, step.progress))
        without = absent(step)
        return loss_at(loss, lambda z: projected(z + delta.to(z), z, without))
