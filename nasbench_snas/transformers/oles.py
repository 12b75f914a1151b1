"""OLES: an operation whose training no longer helps on other images is trained no further.

For the weights of each operation on each edge of each cell, the directions of two gradients are
compared in every step,

    GM = mean_{m=1..M} cos( g_train^m, g_valid^m ),

``g_train`` of theta's loss and batch, ``g_valid`` of alpha's. After ``M`` comparisons the operation
is frozen where ``GM < threshold``; else the mean begins anew. Frozen weights keep their values and
the operation keeps running, so that its architecture weight goes on being trained.

An operation that a draw does not run has no gradient and is not compared in that step.

Reference: Jiang et al., Operation-Level Early Stopping for Robustifying Differentiable NAS, NeurIPS
2023; M = 20 and threshold 0.4 as in the released code. Deviations: the cosine is that of all
weights of the operation (released code: the mean of cosines over filters); both gradients are taken
at the same theta (there: theta's from the step before); gradients of alpha's batch cost a backward
pass through theta that the level has not otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import LossTransformer
from nasbench_snas.errors import ConfigError


class Oles(LossTransformer):
    """Operations that are trained no further once they overfit.

    Args:
        comparisons: ``M``, comparisons of a mean. Default 20.
        threshold: An operation is frozen below it. Default 0.4.

    Raises:
        ConfigError: There is no comparison, or no cosine can be below the threshold.
    """

    name = "oles"
    summary = "operations freeze when training and validation gradients part (OLES)"
    reference = "jiang2023oles"
    levels = ("bilevel",)
    watches_operations = True

    def __init__(self, comparisons: int = 20, threshold: float = 0.4) -> None:
        if comparisons < 1:
            raise ConfigError(
                f"transformer.{self.name}.comparisons must be at least 1, got {comparisons}."
            )
        if not -1 < threshold <= 1:
            raise ConfigError(
                f"transformer.{self.name}.threshold is a cosine, got {threshold}.",
                "Expected a number above -1, at most 1.",
            )
        self.comparisons, self.threshold = comparisons, threshold
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def freeze(self, train: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> Iterable[str]:
        """Return the operations that are frozen after this step."""
        found = []
        for name, (product, one, other) in _products(train, valid).items():
            norms = one * other
            if norms == 0:
                continue
            cosine = product / norms
            self._sums[name] = self._sums.get(name, 0.0) + cosine
            self._counts[name] = self._counts.get(name, 0) + 1
            if self._counts[name] < self.comparisons:
                continue
            if self._sums.pop(name) / self._counts.pop(name) < self.threshold:
                found.append(name)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the open means."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])


def _products(
    train: Mapping[str, Tensor], valid: Mapping[str, Tensor]
) -> dict[str, tuple[float, float, float]]:
    """Return the scalar product and both norms of each pair of gradients, read back at once."""
    if not train:
        return {}
    each = [torch.stack([g @ valid[n], g.norm(), valid[n].norm()]) for n, g in train.items()]
    return dict(zip(train, map(tuple, torch.stack(each).tolist()), strict=True))
