"""Plans of cells whose operations are chosen on the device, one for each draw and edge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nasbench_snas.architecture.space import Space
from nasbench_snas.kernels.protocol import Kernels
from nasbench_snas.kernels.sources import Source, SourceKernels
from nasbench_snas.supernet.fast.forward import source_of
from nasbench_snas.supernet.fast.plan import CellPlan, SourcePlan, plan_choices
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

    def cells(self, z: Tensor) -> tuple[dict[int, CellPlan], Tensor]:
        """Return the plan of each cell, by its index among the layers, and whether an edge has more
        than one weight that is not zero.

        Each pass has tables of its own, which its backward pass will read.

        Args:
            z: Weights, shape ``(S, E, K)``.
        """
        if self._choosing is None:
            raise TypeError("this backend cannot choose operations on the device")
        there = z != 0
        choice = (there * self.numbers).amin(dim=-1) + z.shape[-1]
        made = iter(self._choosing(choice.reshape(-1)))
        cells = {
            cell.position.index: replace(
                plan, sources=tuple(_with(part, made) for part in plan.sources)
            )
            for cell, plan in self._plans
        }
        return cells, (there.sum(dim=-1) > 1).any()


def choosable(space: Space, cells: Iterable[FastCell]) -> bool:
    """Whether kernels can run all operations: no module of one's own, no dense convolution (which
    is PyTorch's)."""
    own = any(operation.kind == "module" for operation in space.operation_specs)
    specs = (unit.spec for cell in cells for unit in cell.every)
    return not own and all(spec is None or spec.kind != "dense" for spec in specs)


def chosen_plans(
    space: Space, cells: Mapping[int, FastCell], kernels: Kernels, training: bool, like: Tensor
) -> ChosenPlans:
    """Return the plans of all cells for draws that have at most one operation on an edge.

    Args:
        space: The space.
        cells: Its cells by index among the layers.
        kernels: The backend.
        training: Whether norms use the statistics of the batch.
        like: Weights, shape ``(S, E, K)``.
    """
    rows, plans = [1, 1], []
    for index, layer in enumerate(space.layers):
        own = rows[-1]
        if layer.kind == "cell":
            cell, own = cells[index], len(like)
            shared = [r == 1 for r in rows[-cell.position.cell.num_inputs :]]
            plan = plan_choices(cell, shared, own, space.num_edges, training, kernels, like)
            plans.append((cell, plan))
        rows = [rows[-1], own]
    return ChosenPlans(plans, kernels.sources, training, like)


def _with(part: SourcePlan | None, made: Iterator[Source]) -> SourcePlan | None:
    """Return a source's plan with the source of this pass."""
    if part is None:
        return None
    entries = replace(part.entries, cache={"source": next(made)})
    return replace(part, entries=entries)
