"""What has to be computed for one source node of a cell, given which operations are wanted.

Everything an edge's candidates need is grouped by operation: one *candidate* holds that operation's
outputs for all wanted edges and draws (its rows). A candidate whose input is the same for all draws
is computed once for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, device

from nasbench_snas.kernels.operands import Entries, UnitSpec
from nasbench_snas.kernels.protocol import Kernels
from nasbench_snas.kernels.sources import CandidatePlan, Choice, Offer
from nasbench_snas.supernet.fast.own import OwnCall, plan_own
from nasbench_snas.supernet.fast.units import FastCell, Unit

Wanted = Sequence[Sequence[Sequence[int]]]
"""For every draw and edge of a cell, the operations to run."""


@dataclass(frozen=True)
class SourcePlan:
    """All candidates of a source and their entries; see :class:`CandidatePlan`."""

    candidates: tuple[CandidatePlan, ...]
    entries: Entries
    entry_edges: Tensor
    stride: int
    offers: tuple[Offer, ...]
    rows: int
    targets: int
    choices: tuple[Choice, ...] = ()
    operations: int = 0


@dataclass(frozen=True)
class InputPlan:
    """How an input of a cell is adapted: a candidate of weight one that is a node by itself."""

    candidate: CandidatePlan
    entries: Entries
    ones: Tensor
    rows: int


@dataclass(frozen=True)
class CellPlan:
    """A cell's inputs (none without preprocessing) and sources (None: nothing leaves it).

    ``own``: for each source, the calls of operations of one's own.
    """

    inputs: tuple[InputPlan, ...]
    sources: tuple[SourcePlan | None, ...]
    own: tuple[tuple[OwnCall, ...], ...]


@dataclass(frozen=True)
class Rows:
    """Rows of one candidate while planning: ``(draw or 0, edge)``, and the entries of each row.

    An entry is ``(draw, edge, target)``.
    """

    keys: list[tuple[int, int]]
    entries: list[list[tuple[int, int, int]]]


def _collect(
    leaving: list[tuple[int, int]], wanted: Wanted, k: int, shared: bool, per_edge: bool
) -> Rows:
    """Return the rows of operation ``k``: one for each edge (or for the source), draw by draw."""
    rows: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for draw, edges in enumerate(wanted):
        for edge, target in leaving:
            if k in edges[edge]:
                key = (0 if shared else draw, edge if per_edge else -1)
                rows.setdefault(key, []).append((draw, edge, target))
    return Rows(list(rows), list(rows.values()))


def plan_cell(
    cell: FastCell,
    shared: Sequence[bool],
    wanted: Wanted,
    training: bool,
    kernels: Kernels,
    like: Tensor,
) -> CellPlan:
    """Return the plan of a cell.

    Args:
        cell: The cell.
        shared: For each input, whether it is the same for all draws.
        wanted: Operations to run.
        training: Whether norms use the statistics of the batch.
        kernels: The backend, for index tensors.
        like: A tensor of the network's device and type.
    """
    draws, total = len(wanted), len(shared) + cell.position.cell.num_nodes
    every = (*shared, *[draws == 1] * (total - len(shared)))
    return CellPlan(
        tuple(
            plan_input(cell, number, 1 if one else draws, draws if one else 1, training, kernels,
                       like)
            for number, one in enumerate(shared)
            if len(cell.preprocess)
        ),
        tuple(
            plan_source(cell, source, every[source], wanted, training, kernels, like.device)
            for source in range(total)
        ),
        tuple(plan_own(cell, source, every[source], wanted) for source in range(total)),
    )  # fmt: skip


def plan_input(
    cell: FastCell, number: int, rows: int, repeats: int, training: bool, kernels: Kernels,
    like: Tensor,
) -> InputPlan:  # fmt: skip
    """Return the plan of an input's preprocessing.

    Args:
        cell: The cell.
        number: Which input.
        rows: Its rows.
        repeats: How many draws share one (each updates the running statistics).
        training: Whether norms use the statistics of the batch.
        kernels: The backend, for index tensors.
        like: A tensor of the network's device and type.
    """
    unit, where = cell.preprocess[number], like.device
    if not isinstance(unit, Unit) or unit.spec is None:
        raise TypeError("a preprocessing is a Unit with a specification")
    every, index = list(range(rows)), kernels.indices
    starts, own = index([*every, rows], where), index(every, where)
    candidate = CandidatePlan(
        "conv", "", (unit.spec,), (unit,), own, index([0] * rows, where), starts, own, starts,
        index([row for row in every for _ in range(repeats)], where),
        index([0] * (rows * repeats), where),
    )  # fmt: skip
    table = [x for row in every for x in (0, row, row if training else 0, row, row, 0)]
    entries = Entries(index(table, where).view(-1, 6), (starts,), (rows,))
    return InputPlan(candidate, entries, like.new_ones(rows), rows)


def plan_source(
    cell: FastCell,
    source: int,
    shared: bool,
    wanted: Wanted,
    training: bool,
    kernels: Kernels,
    where: device,
) -> SourcePlan | None:
    """Return the plan of one source node, or None if no operation leaves it.

    Args:
        cell: The cell.
        source: Number of the node.
        shared: Whether its value is the same for all draws (it then has one row).
        wanted: Operations to run.
        training: Whether norms use the statistics of the batch.
        kernels: The backend, for index tensors.
        where: Device of the network.
    """
    position, draws = cell.position, len(wanted)
    edges, num_edges = position.cell.edges, len(position.cell.edges)
    leaving = [(e, t - position.cell.num_inputs) for e, (s, t) in enumerate(edges) if s == source]
    stride, num_operations = position.stride(source), len(cell.operations)
    candidates: list[CandidatePlan] = []
    table: list[list[int]] = []
    entry_edges: list[int] = []
    counts: list[int] = []
    for k, operation in enumerate(cell.operations):
        if operation.kind in ("zero", "module"):
            continue
        identity = operation.kind == "skip" and stride == 1
        per_edge = not identity and operation.kind != "pool"
        rows = _collect(leaving, wanted, k, shared, per_edge)
        if not rows.keys:
            continue
        skip = operation.kind == "skip"
        units = tuple(() if identity else cell.operation_units(operation.name))
        weight_row = cell.skip_rows if skip and not identity else {e: e for e in range(num_edges)}
        starts, updates = [0], []
        for row, (key, members) in enumerate(zip(rows.keys, rows.entries, strict=True)):
            # Poolings and identities are computed for every row of the source; key[0] is that row.
            row = row if per_edge else key[0]
            for draw, edge, target in members:
                stat = row if training else weight_row[edge]
                place = (draw * num_edges + edge) * num_operations + k
                number = [
                    len(candidates),
                    row,
                    stat,
                    target * draws + draw,
                    place,
                    weight_row[edge],
                ]
                table.append(number)
                entry_edges.append(edge)
                updates.append((draw, row, weight_row[edge]))
            starts.append(starts[-1] + len(members))
        if not per_edge:
            starts = _spread(rows, 1 if shared else draws)
        updates.sort(key=lambda update: update[0])
        index = kernels.indices
        chain = index(range(len(rows.keys) + 1), where)
        counts.append(starts[-1])
        candidates.append(
            CandidatePlan(
                kind="identity" if identity else "pool" if operation.kind == "pool" else "conv",
                pool=operation.pool,
                specs=_specs(units, stride) if per_edge else (),
                units=units,
                x_rows=index([key[0] for key in rows.keys], where),
                w_rows=index([weight_row.get(key[1], 0) for key in rows.keys], where),
                chain=chain,
                every=index(range(len(rows.keys)), where),
                starts=index(starts, where),
                update_rows=index([row for _, row, _ in updates], where),
                update_weights=index([edge for _, _, edge in updates], where),
            )
        )
    if not candidates:
        return None
    entries = Entries(
        kernels.indices([x for line in table for x in line], where).view(-1, 6),
        tuple(candidate.starts for candidate in candidates),
        tuple(counts),
    )
    edge_of = kernels.indices(entry_edges, where)
    targets = cell.position.cell.num_nodes * draws
    offers = offers_of(cell, stride)
    rows_in = 1 if shared else draws
    return SourcePlan(tuple(candidates), entries, edge_of, stride, offers, rows_in, targets)


def offers_of(cell: FastCell, stride: int) -> tuple[Offer, ...]:
    """Return all operations of a cell as a source of this stride has them, but for zero and own."""
    offers = []
    for number, operation in enumerate(cell.operations):
        if operation.kind in ("zero", "module"):
            continue
        if operation.kind == "skip" and stride == 1:
            offers.append(Offer("identity", "", (), number))
            continue
        units = tuple(cell.operation_units(operation.name))
        if operation.kind == "pool":
            offers.append(Offer("pool", operation.pool, (), number, units))
        else:
            rows = cell.skip_rows if operation.kind == "skip" else None
            offers.append(Offer("conv", "", _specs(units, stride), number, units, rows))
    return tuple(offers)


def plan_choices(
    cell: FastCell, shared: Sequence[bool], draws: int, edges: int, training: bool,
    kernels: Kernels, like: Tensor,
) -> CellPlan:  # fmt: skip
    """Return the plan of a cell whose operations are chosen on the device, one a draw and edge.

    Args:
        cell: The cell.
        shared: For each input, whether it is the same for all draws.
        draws: Number of draws.
        edges: Edges of the space.
        training: Whether norms use the statistics of the batch.
        kernels: The backend.
        like: A tensor of the network's device and type.
    """
    total = len(shared) + cell.position.cell.num_nodes
    every = (*shared, *[draws == 1] * (total - len(shared)))
    inputs = plan_cell(cell, shared, [[[]] * len(cell.position.cell.edges)] * draws, training,
                       kernels, like).inputs  # fmt: skip
    sources = tuple(
        _choices_of(cell, source, every[source], draws, edges, kernels, like.device)
        for source in range(total)
    )
    return CellPlan(inputs, sources, ((),) * total)


def _choices_of(
    cell: FastCell, source: int, shared: bool, draws: int, edges: int, kernels: Kernels,
    where: device,
) -> SourcePlan | None:  # fmt: skip
    """Return the plan of one source, or None if no edge leaves it."""
    position, operations = cell.position, len(cell.operations)
    pairs, first = position.cell.edges, cell.rows.start
    choices = tuple(
        Choice(
            edge=edge, row=0 if shared else draw,
            target=(end - position.cell.num_inputs) * draws + draw,
            place=(draw * len(pairs) + edge) * operations, position=draw * edges + first + edge,
        )
        for draw in range(draws)
        for edge, (start, end) in enumerate(pairs)
        if start == source
    )  # fmt: skip
    stride = position.stride(source)
    offers = offers_of(cell, stride)
    if not choices or not offers:
        return None
    empty = kernels.indices([], where)
    entries = Entries(empty.view(-1, 6), (), ())
    targets = position.cell.num_nodes * draws
    return SourcePlan((), entries, empty, stride, offers, 1 if shared else draws, targets, choices,
                      operations)  # fmt: skip


def _specs(units: tuple[Unit, ...], stride: int) -> tuple[UnitSpec, ...]:
    """Return the units' specifications: the first one carries the edge's stride."""
    specs = []
    for number, unit in enumerate(units):
        if unit.spec is not None:
            first = number == 0 and unit.spec.kind != "shifted"
            specs.append(replace(unit.spec, stride=stride) if first else unit.spec)
    return tuple(specs)


def _spread(rows: Rows, total: int) -> list[int]:
    """Return ``starts`` over all ``total`` rows of a source, of which some have no entry."""
    sizes = {key[0]: len(members) for key, members in zip(rows.keys, rows.entries, strict=True)}
    starts = [0]
    for row in range(total):
        starts.append(starts[-1] + sizes.get(row, 0))
    return starts
