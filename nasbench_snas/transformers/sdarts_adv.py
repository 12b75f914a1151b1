"""SDARTS-ADV: theta is trained at the worst weights nearby (adversarial perturbation).

With the weights ``z`` that the estimator hands out,

    min_theta  max_{|delta|_inf <= epsilon} L_train(theta, P(z + delta)),

the maximum approached by projected gradient ascent: from a random start,
``delta <- clip(delta + (2 epsilon / steps) sign(dL/dz), -epsilon, epsilon)``, ``P`` after each
step: it clips to [0, 1] and scales each row back to its sum. ``epsilon`` moves linearly from
``start`` to ``end``. The loss of alpha is left as it is.

The start is drawn once a step, and the ascent is a function of ``z``: the transformed loss is one,
too. Its derivative by ``z`` takes the signs as constants, which is exact where no slope is zero.

Reference: Chen and Hsieh 2020, arXiv:2002.05283, eq. 6 and algorithm 1; steps, radii and ``P`` of
the released code. Deviations: the radius moves with every step; each row keeps its own sum; batch
norms use the statistics of the batch during the ascent, too (the released code: running ones), so
that running statistics see the weights on the way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Loss, LossStep, LossTransformer
from nasbench_snas.errors import ConfigError

from ._perturbation import absent, check_radii, projected, radius, uniform


class _Attacked:
    """A loss at the weights that projected gradient ascent reaches from ``P(z + start)``."""

    def __init__(
        self, loss: Loss, start: Tensor, size: float, steps: int, without: Tensor | None
    ) -> None:
        self._loss, self._start, self._size, self._steps = loss, start, size, steps
        self._without = without
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        changed = self.ascend(z, run)
        self._last = (z, changed)
        return self._loss(changed, run)

    def error(self, z: Tensor) -> Tensor:
        if self._last is not None and self._last[0] is z:
            return self._loss.error(self._last[1])
        return self._loss.error(self.ascend(z).detach())

    def ascend(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the attacked weights of ``z``, of the same shape."""
        changed = projected(z + self._start.to(z), z, self._without)
        for _ in range(self._steps):
            with torch.enable_grad():
                leaf = changed.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self._loss(leaf, run).sum(), leaf)
            delta = changed - z + (2 * self._size / self._steps) * slope.sign()
            changed = projected(z + delta.clamp(-self._size, self._size), z, self._without)
        return changed


class SdartsAdv(LossTransformer):
    """Adversarial perturbation of the weights that theta is trained at.

    Args:
        start: ``epsilon`` at the start of the run. Default 0.03.
        end: ``epsilon`` at its end. Default 0.3.
        steps: Steps of the ascent; each costs a forward and a backward pass. Default 7.

    Raises:
        ConfigError: A radius is outside [0, 1], or there is no step.
    """

    name = "sdarts-adv"
    summary = "theta at the worst weights nearby, by gradient ascent (SDARTS-ADV)"
    reference = "chen2020sdarts"
    levels = ("bilevel", "unrolled")

    def __init__(self, start: float = 0.03, end: float = 0.3, steps: int = 7) -> None:
        check_radii(self.name, start, end)
        if steps < 1:
            raise ConfigError(f"transformer.{self.name}.steps must be at least 1, got {steps}.")
        self.start, self.end, self.steps = start, end, steps

    def transform(self, loss: Loss, step: LossStep) -> Loss:
        """Return the loss at attacked weights; alpha's own loss as it is."""
        if step.role == "alpha":
            return loss
        size = radius(self.start, self.end, step.progress)
        return _Attacked(loss, uniform(step, size), size, self.steps, absent(step))
