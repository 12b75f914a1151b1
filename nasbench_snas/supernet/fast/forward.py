"""Forward pass of a packed cell, source by source.

For every source node, oldest first: the candidates that leave it (units with the batch statistics
of their outputs), then the mix into its target nodes. The backward pass (``backward.py``)
visits the sources in the opposite order, so that the gradient of a node is complete when its own
candidates are reached. A backend that runs all candidates of a source together
(:class:`~nasbench_snas.kernels.sources.SourceKernels`) is handed whole sources, and the
preprocessing of inputs likewise; all formulas are in :mod:`nasbench_snas.kernels.protocol`. What is
kept for the backward pass: the nodes and the units' outputs before their norms. With ``recompute``
it is the cell's inputs only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nasbench_snas.kernels.folded import FoldedKernels
from nasbench_snas.kernels.operands import Candidate, Entries, Fold, Norm
from nasbench_snas.kernels.protocol import Kernels
from nasbench_snas.kernels.sources import CandidatePlan, Choice, Offer, Source
from nasbench_snas.supernet.fast.own import OwnRecord, forward_own
from nasbench_snas.supernet.fast.plan import CellPlan, InputPlan, SourcePlan
from nasbench_snas.supernet.fast.units import FastCell

Place = int
"""Position of a tensor in :attr:`Tape.tensors`."""


@dataclass
class UnitRecord:
    """What one unit's backward pass needs: places of its input, its norm, its output."""

    x: Place
    norm: tuple[Place, Place, Place, Place] | None
    y: Place
    mean: Place = -1
    var: Place = -1
    covariance: Place = -1


@dataclass
class SourceRecord:
    """A source's plan, its node, the records of each candidate's units, and the mix's operands.

    Of a backend that runs a source as a whole: what it keeps, in ``kept``, and no records.
    """

    plan: SourcePlan
    entries: Entries
    x: Place
    units: list[list[UnitRecord]] = field(default_factory=list)
    operands: list[tuple[Place, Place, Place]] = field(default_factory=list)
    kept: list[Place] = field(default_factory=list)


@dataclass
class Tape:
    """Everything a cell's forward pass leaves for its backward pass."""

    tensors: list[Tensor] = field(default_factory=list)
    sources: list[SourceRecord | None] = field(default_factory=list)
    preprocess: list[UnitRecord | list[Place]] = field(default_factory=list)
    own: list[list[OwnRecord]] = field(default_factory=list)

    def put(self, tensor: Tensor | None) -> Place:
        """Keep ``tensor`` and return its place (-1 for None)."""
        if tensor is None:
            return -1
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def get(self, place: Place) -> Tensor | None:
        """Return the tensor at ``place``, or None for -1."""
        return None if place < 0 else self.tensors[place]


@dataclass(frozen=True)
class CellRun:
    """One use of a cell.

    Attributes:
        cell: Its weights.
        kernels: The backend.
        plan: What to compute.
        draws: ``S``.
        training: Whether norms use (and update) the statistics of the batch.
        mask: Factors of the edges for each image, shape ``(edges, B)``, or None.
        recompute: Whether to keep the inputs only.
        graph: Whether a backward pass may follow.
    """

    cell: FastCell
    kernels: Kernels
    plan: CellPlan
    draws: int
    training: bool
    mask: Tensor | None
    recompute: bool
    graph: bool = True


def source_of(cell: FastCell, training: bool, plan: SourcePlan | InputPlan) -> Source:
    """Return a source (or an input's preprocessing) for backends that run it as a whole."""
    cache = plan.entries.cache
    if "source" not in cache:
        choices: tuple[Choice, ...] = ()
        operations = 0
        if isinstance(plan, SourcePlan):
            choices, operations = plan.choices, plan.operations
            edges: Tensor | None = plan.entry_edges
            parts = (plan.candidates, plan.entries, edges, plan.stride)
            offers, targets = plan.offers, plan.targets
        else:
            stride = plan.candidate.specs[0].stride
            own: tuple[CandidatePlan, ...] = (plan.candidate,)
            offers, targets = (Offer("conv", "", plan.candidate.specs),), plan.rows
            parts = (own, plan.entries, None, stride)
        units = (cell.every, cell.backend_cache)
        cache["source"] = Source(
            *parts, training, offers, plan.rows, targets, *units, choices, operations
        )
    source: Source = cache["source"]
    return source


def folded(run: CellRun, plan: CandidatePlan) -> bool:
    """Whether the chain's last 1x1 convolution is left to the mix (path dropout needs its own)."""
    kernels = run.kernels
    last = plan.specs[-1] if plan.specs else None
    return (
        isinstance(kernels, FoldedKernels)
        and run.mask is None
        and last is not None
        and kernels.folds(last)
    )


def forward_units(
    run: CellRun, tape: Tape, plan: CandidatePlan, x: Place, update: bool
) -> list[UnitRecord]:
    """Run a chain of units on the source at ``x``."""
    folds = folded(run, plan)
    records: list[UnitRecord] = []
    norm: Norm | None = None
    places: tuple[Place, Place, Place, Place] | None = None
    for number, (spec, unit) in enumerate(zip(plan.specs, plan.units, strict=True)):
        rows = plan.x_rows if number == 0 else plan.every
        covariance, given = None, (spec, tape.tensors[x], norm, unit.weights, rows, plan.w_rows)
        if folds and number + 1 == len(plan.units) and isinstance(run.kernels, FoldedKernels):
            y, mean, var, covariance = run.kernels.folded_forward(*given, run.training)
        else:
            y, mean, var = run.kernels.unit_forward(*given, run.training)
        record = UnitRecord(
            x, places, tape.put(y), tape.put(mean), tape.put(var), tape.put(covariance)
        )
        records.append(record)
        if mean is not None and var is not None and update:
            run.kernels.update_running(
                unit.running, mean, var, plan.update_rows, plan.update_weights,
                y[0].numel() // y.shape[-1],
            )  # fmt: skip
        if number + 1 < len(plan.units):
            if mean is None or var is None:
                mean, var = unit.mean[plan.w_rows], unit.var[plan.w_rows]
            norm = run.kernels.norm_forward(mean, var, unit.gamma, unit.beta, plan.w_rows)
            places = (
                tape.put(norm.scale), tape.put(norm.shift), tape.put(norm.mean),
                tape.put(norm.inverse),
            )  # fmt: skip
            x = record.y
    return records


def forward_source(
    run: CellRun, tape: Tape, plan: SourcePlan, x: Place, z: Tensor, out: Tensor, update: bool,
    add: bool = True,
) -> SourceRecord:  # fmt: skip
    """Run all candidates of a source and add them to their nodes.

    Without ``add``, which backends that run a source as a whole take, ``out`` is uninitialised.
    """
    sources = run.kernels.sources
    if sources is not None:
        kept = sources.source_forward(
            source_of(run.cell, run.training, plan), tape.tensors[x], z, run.mask, out, add, update
        )
        return SourceRecord(plan, plan.entries, x, kept=[tape.put(tensor) for tensor in kept])
    mask = None if run.mask is None else run.mask[plan.entry_edges].contiguous()
    entries = replace(plan.entries, mask=mask)
    record = SourceRecord(plan, entries, x)
    for candidate in plan.candidates:
        units: list[UnitRecord] = []
        if candidate.kind == "conv":
            units = forward_units(run, tape, candidate, x, update)
            last = (units[-1].y, units[-1].mean, units[-1].var)
        elif candidate.kind == "pool":
            wants = run.training and bool(candidate.units)
            y, mean, var = run.kernels.pool_forward(
                candidate.pool, plan.stride, tape.tensors[x], wants
            )
            last = (tape.put(y), tape.put(mean), tape.put(var))
            if mean is not None and var is not None and update:
                run.kernels.update_running(
                    candidate.units[0].running, mean, var, candidate.update_rows,
                    candidate.update_weights, y[0].numel() // y.shape[-1],
                )  # fmt: skip
        else:
            last = (x, -1, -1)
        record.units.append(units)
        record.operands.append(last)
    run.kernels.mix_forward(z, entries, operands(run, tape, record), out)
    return record


def operands(run: CellRun, tape: Tape, record: SourceRecord) -> list[Candidate]:
    """Return the mix's operands: outputs and the statistics their last norms use."""
    result = []
    for number, plan in enumerate(record.plan.candidates):
        y, mean, var = record.operands[number]
        statistics = (tape.get(mean), tape.get(var))
        gamma = beta = fold = None
        if plan.units:
            unit = plan.units[-1]
            if not run.training:
                statistics = (unit.mean, unit.var)
            gamma, beta = unit.gamma, unit.beta
            if folded(run, plan):
                covariance = tape.get(record.units[number][-1].covariance)
                fold = Fold(unit.weights[-1], plan.w_rows, covariance)
        result.append(Candidate(tape.tensors[y], *statistics, gamma, beta, fold))
    return result


def forward_input(
    run: CellRun, tape: Tape, plan: InputPlan, x: Place, update: bool
) -> tuple[Place, UnitRecord | list[Place]]:
    """Adapt an input of the cell; return its node and what the backward pass needs."""
    sources, value = run.kernels.sources, tape.tensors[x]
    if sources is None:
        (record,) = forward_units(run, tape, plan.candidate, x, update)
        adapted = torch.zeros_like(tape.tensors[record.y])
        operand = input_operand(run, tape, plan, record)
        run.kernels.mix_forward(plan.ones, plan.entries, [operand], adapted)
        return tape.put(adapted), record
    rows, batch, height, width, _ = value.shape
    spec, unit = plan.candidate.specs[0], plan.candidate.units[0]
    size = (rows, batch, spec.size(height), spec.size(width), unit.weights[-1].shape[-1])
    adapted = value.new_empty(size)
    kept = sources.source_forward(
        source_of(run.cell, run.training, plan), value, plan.ones, None, adapted, False, update
    )
    return tape.put(adapted), [tape.put(tensor) for tensor in kept]


def run_forward(
    run: CellRun, inputs: tuple[Tensor, ...], z: Tensor, update: bool, again: bool = False
) -> tuple[Tensor, Tape]:
    """Return the cell's output, shape ``(S, B, H, W, width * C)``, and its tape.

    ``again``: this is the pass of ``recompute`` in the backward pass.
    """
    tape, position = Tape(), run.cell.position
    tape.own = [[] for _ in run.plan.sources]
    nodes: list[Place] = []
    for index, x in enumerate(inputs):
        place = tape.put(x)
        if run.plan.inputs:
            place, record = forward_input(run, tape, run.plan.inputs[index], place, update)
            tape.preprocess.append(record)
        nodes.append(place)
    first = tape.tensors[nodes[0]]
    size, cell = position.output_resolution, position.cell
    shape = (cell.num_nodes, run.draws, first.shape[1], size, size, first.shape[-1])
    # A whole source's mix writes all targets: the first one needs no zeros to add to.
    fresh = run.kernels.sources is not None and run.plan.sources[0] is not None
    out = first.new_empty(shape) if fresh else first.new_zeros(shape)
    targets = out.flatten(0, 1)
    for source, source_plan in enumerate(run.plan.sources):
        if source >= cell.num_inputs:
            nodes.append(tape.put(out[source - cell.num_inputs]))
        source_record = None
        if source_plan is not None:
            source_record = forward_source(
                run, tape, source_plan, nodes[source], z, targets, update,
                add=not fresh or source > 0,
            )  # fmt: skip
        tape.sources.append(source_record)
        if own := run.plan.own[source]:
            graph = run.graph and (again or not run.recompute)
            node = tape.tensors[nodes[source]]
            tape.own[source] = forward_own(
                run.cell, own, node, z, run.mask, targets, graph=graph,
                apart_from=run.training and not update,
            )  # fmt: skip
    if cell.output == "last":
        return out[-1].clone(), tape
    return torch.cat(out.unbind(0), dim=-1), tape


def input_operand(run: CellRun, tape: Tape, plan: InputPlan, record: UnitRecord) -> Candidate:
    """Return the operand of the mix that adapts an input."""
    unit = plan.candidate.units[-1]
    mean, var = tape.get(record.mean), tape.get(record.var)
    if not run.training:
        mean, var = unit.mean, unit.var
    return Candidate(tape.tensors[record.y], mean, var, unit.gamma, unit.beta)
