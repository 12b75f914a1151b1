"""What the steps of an epoch measured, summed where it was measured.

On a CPU every step is read at once. On a GPU a read makes the host wait for everything launched
before: sums, and whether a loss was not finite, are read every 25 steps, at the end of an epoch and
before a checkpoint is written (so that none holds the weights of a diverged run).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nasbench_snas.errors import DivergedError
from nasbench_snas.search.levels import check_finite

CHECK_EVERY = 25
"""Steps between reads of values that are on a GPU."""

_NAMES = ("loss", "error", "cost", "steps")


class StepTotals:
    """Sums over the steps of an epoch.

    Args:
        device: Where steps are measured.
        deferred: Whether values are read now and then only; by default, on a GPU.
    """

    def __init__(self, device: torch.device, deferred: bool | None = None) -> None:
        self.deferred = device.type == "cuda" if deferred is None else deferred
        self._sums: dict[str, float] = {}
        # Added to in the order of the steps, whenever it is read: a continued run sums alike.
        self._running = torch.zeros(len(_NAMES), dtype=torch.float64, device=device)
        self._bad = torch.zeros((), dtype=torch.float64, device=device)
        self._unread = False

    def begin(self, sums: Mapping[str, float] | None = None) -> None:
        """Begin anew, or with what a checkpoint holds."""
        self._sums = dict(sums or {})
        values = [self._sums.get(name, 0.0) for name in _NAMES]
        self._running.copy_(torch.tensor(values, dtype=torch.float64))
        self._bad.zero_()
        self._unread = False

    def due(self, step: int) -> bool:
        """Whether values are read after this step anyway."""
        return not self.deferred or step % CHECK_EVERY == 0

    def check(self, loss: Tensor) -> None:
        """Raise if a loss is not finite; deferred: remember it.

        Raises:
            DivergedError: It is not.
        """
        if self.deferred:
            self._bad.add_((~torch.isfinite(loss.detach())).any().to(self._bad))
            self._unread = True
        else:
            check_finite(loss)

    def add(self, measured: Tensor, step: int) -> None:
        """Add what a step measured, shape ``(3,)``.

        Raises:
            DivergedError: A loss was not finite.
        """
        self._running[:3].add_(measured.to(self._running))
        self._running[3:].add_(1.0)
        self._unread = True
        if self.due(step):
            self._collect()

    def add_values(self, values: Mapping[str, float]) -> None:
        """Add numbers of the host."""
        for key, value in values.items():
            self._sums[key] = self._sums.get(key, 0.0) + value

    def read(self) -> dict[str, float]:
        """Return the sums.

        Raises:
            DivergedError: A loss was not finite.
        """
        self._collect()
        return dict(self._sums)

    def _collect(self) -> None:
        if not self._unread:
            return
        *sums, bad = torch.cat([self._running, self._bad[None]]).tolist()
        if bad:
            raise DivergedError("the search loss became NaN or infinite in one of the last steps.")
        self._sums |= dict(zip(_NAMES, sums, strict=True))
        self._unread = False
