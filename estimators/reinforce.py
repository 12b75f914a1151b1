"""REINFORCE: the score function with a baseline that does not depend on the draw.

``g = mean_i (L(Z_i) - b) grad log p(Z_i)``, unbiased for the expected loss whatever ``b`` is, as
long as it is independent of the draw. Without baseline its variance is dominated by ``E[L]^2``; the
moving average removes that. Theta gets the mean of ``dL/dtheta`` at the draws.

The moving average is used first and updated afterwards: a baseline that has seen its own sample
scales the gradient by the decay. Before the first update there is no average; then the loss of the
most probable architecture is the baseline (one more forward pass), which is independent of the draw
as well. The first update sets the average to the losses seen.

Reference: Williams 1992, doi:10.1007/BF00992696.
Deviations: none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from nasbench_snas.api import Distribution, Loss, Score
from nasbench_snas.errors import ConfigError


class MovingAverage(nn.Module):
    """Exponential moving average of losses, NaN until its first update.

    Args:
        decay: Weight of the past, in [0, 1).
    """

    value: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ConfigError(f"the baseline's decay must be in [0, 1), got {decay}.")
        self.decay = decay
        self.register_buffer("value", torch.tensor(float("nan"), dtype=torch.float64))
        self._known: tuple[tuple[int, int], bool] = ((0, -1), True)

    def before(self, otherwise: Callable[[], Tensor]) -> Tensor:
        """Return the average, a scalar; before its first update, what ``otherwise`` returns."""
        return otherwise() if self._empty() else self.value

    def update(self, losses: Tensor) -> None:
        """Take in ``losses`` of any shape, in training mode only."""
        if self.training:
            mean = losses.detach().mean()
            past = mean if self._empty() else self.value
            self.value.copy_(self.decay * past + (1 - self.decay) * mean)
            if self.value.device.type != "cpu":  # losses of a run are finite, or it ends
                self._known = (self._place(), False)

    def _empty(self) -> bool:
        """Whether there was no update; read back from a device only where it may have changed."""
        if self._known[0] != self._place():
            self._known = (self._place(), bool(self.value.isnan()))
        return self._known[1]

    def _place(self) -> tuple[int, int]:
        """Return what differs once the average has been changed or replaced."""
        return self.value.data_ptr(), self.value._version


def loss_of_mode(loss: Callable[[Tensor], Tensor], dist: Distribution) -> Tensor:
    """Return the loss of the most probable architecture, shape ``(R, 1)``, without a graph."""
    with torch.no_grad():
        return loss(dist.mode()[:, None])


class Reinforce(Score):
    """Score function with a moving-average baseline or none.

    Args:
        baseline: ``moving-average`` or ``none``. Default 'moving-average'.
        decay: Weight of the past in the moving average. Default 0.99.
        n: Architectures per draw. Default 1.
    """

    name = "reinforce"
    reference = "williams1992reinforce"
    evaluations = "n F forward, n F backward for theta"
    bias = "unbiased"
    single_path = True
    claims = {"state": "score:moving_average"}
    conformance_variants = ({"baseline": "none"},)

    def __init__(
        self,
        baseline: Literal["moving-average", "none"] = "moving-average",
        decay: float = 0.99,
        n: int = 1,
    ) -> None:
        super().__init__()
        if baseline not in ("moving-average", "none"):
            raise ConfigError(f"unknown baseline {baseline!r}.", "Known: moving-average, none")
        self.baseline = MovingAverage(decay) if baseline == "moving-average" else None
        self.n = n

    def advantage(self, losses: Tensor, loss: Loss, dist: Distribution, z: Tensor) -> Tensor:
        """Return ``L - b``, shape ``(R, n)``; see :meth:`Score.advantage`."""
        if self.baseline is None:
            return losses
        advantage = losses - self.baseline.before(lambda: loss_of_mode(loss, dist))
        self.baseline.update(losses)
        return advantage

    def progress_values(self) -> dict[str, float]:
        """Return the baseline, if there is one."""
        return {} if self.baseline is None else {"baseline": float(self.baseline.value)}
