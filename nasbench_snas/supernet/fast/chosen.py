"""Plans of cells whose operations are chosen on the device, one for each draw and edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nasbench_snas.kernels.sources import Source, SourceKernels
from nasbench_snas.supernet.fast.forward import source_of
from nasbench_snas.supernet.fast.plan import CellPlan, SourcePlan
from nasbench_snas.supernet.fast.units import FastCell


class ChosenPlans:
    """Plans that are made once; what is chosen is told at every pass.

    Args:
        plans: The cells, in order, with their plans.
        sources: The backend.
        training: Whether norms use the statistics of the batch.
        like: Weights, shape ``(S, E, K)``.

    Attributes:
        numbers: ``-K, ..., -1``: a choice is the least of those whose weight is not zero, plus
            ``K``; it is ``K`` where all are zero.
    """

    def __init__(
        self,
        plans: Sequence[tuple[FastCell, CellPlan]],
        sources: SourceKernels | None,
        training: bool,
        like: Tensor,
    ) -> None:
        if sources is None:
            raise TypeError("operations are chosen on the device by SourceKernels only")
        self._plans, where = plans, like.device
        inputs = [source_of(cell, training, part) for cell, plan in plans for part in plan.inputs]
        if inputs:
            sources.prepare(inputs, where)
        own = [
            source_of(cell, training, part)
            for cell, plan in plans
            for part in plan.sources
            if part is not None
        ]
        self._choosing = sources.choosing(own, where)
        self.numbers = torch.arange(-like.shape[-1], 0, device=where)

    def cells(self, choice: Tensor) -> dict[int, CellPlan]:
        """Return the plan of each cell, by its index among the layers.

        Each pass has tables of its own, which its backward pass will read.

        Args:
            choice: Number of the operation of every draw and edge, shape ``(S * E,)``.
        """
        if self._choosing is None:
            raise TypeError("this backend cannot choose operations on the device")
        made = iter(self._choosing(choice))
        return {
            cell.position.index: replace(
                plan, sources=tuple(_with(part, made) for part in plan.sources)
            )
            for cell, plan in self._plans
        }


def _with(part: SourcePlan | None, made: Iterator[Source]) -> SourcePlan | None:
    """Return a source's plan with the source of this pass."""
    if part is None:
        return None
    entries = replace(part.entries, cache={"source": next(made)})
    return replace(part, entries=entries)
