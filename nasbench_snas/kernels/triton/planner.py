"""Plans the rows and tables of a source for grouped launches (``layout.py``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasbench_snas.kernels.operands import UnitSpec
from nasbench_snas.kernels.sources import Source
from nasbench_snas.kernels.triton.launch import upload
from nasbench_snas.kernels.triton.layout import (
    AVERAGE,
    IDENTITY,
    KINDS,
    MAXIMUM,
    SIDES,
    Dense,
    Layout,
    Stage,
)

Find = Callable[[Tensor], Tensor]
"""Finds a table among all of them."""


class Tables:
    """Integer tables that go to the device in one copy; each starts at a multiple of 16 bytes."""

    def __init__(self) -> None:
        self._values: list[int] = []

    def add(self, rows: Iterable[Iterable[int]], columns: int = 0) -> Find:
        """Add a table (of no columns: a list); return a function that finds it in the copy."""
        first = len(self._values)
        for row in rows:
            self._values.extend(row)
        last = len(self._values)
        self._values.extend([0] * (last % 2))
        if columns:
            return lambda memory: memory[first:last].view(-1, columns)
        return lambda memory: memory[first:last]

    def to(self, where: torch.device) -> Tensor:
        """Return all tables, one after another."""
        return upload(self._values, where)


@dataclass
class Draft:
    """A stage while it is planned; tables are lists."""

    first: int
    base: int
    rows: int = 0
    second: int = 0
    counted: int = 0
    kinds: int = 0
    hats: int = 0
    jobs: list[list[int]] = field(default_factory=list)
    owners: list[list[int]] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)
    targets: list[list[int]] = field(default_factory=list)
    readers: list[list[int]] = field(default_factory=list)
    lines: list[list[int]] = field(default_factory=list)
    inner: list[int] = field(default_factory=list)
    dense: list[tuple[int, UnitSpec, int, list[int], list[int], int]] = field(default_factory=list)


class Planner:
    """Plans the rows of a source.

    Args:
        source: The source.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.sources = source, source.rows
        self.candidates, self.units = source.candidates, source.units
        self._number = {id(unit): number for number, unit in enumerate(source.units)}
        self.w_rows = [candidate.w_rows.tolist() for candidate in self.candidates]
        self.x_rows = [candidate.x_rows.tolist() for candidate in self.candidates]
        self.first_row: dict[tuple[int, int], int] = {}
        self.pools: list[list[int]] = []
        self.weights: list[list[int]] = []
        self.rows = self.first_pool = 0
        depth = max(len(candidate.specs) for candidate in self.candidates)
        self.stages = [self._stage(level) for level in range(max(1, depth))]
        self.gradient_rows = self.rows
        for number, candidate in enumerate(self.candidates):
            if candidate.kind == "identity":
                self.first_row[number, 0] = self.gradient_rows
                self.gradient_rows += self.sources
        self.hats = len(source.entries.table)
        for level, stage in enumerate(self.stages):
            self._own(stage, level)
            self._read(stage, level)
            stage.hats = self.hats
            self.hats += len(stage.inner)

    def unit(self, number: int, depth: int) -> int:
        """Return the number of a candidate's unit among those of the cell (-1: it has none)."""
        units = self.candidates[number].units
        return self._number[id(units[depth])] if units else -1

    def _stage(self, depth: int) -> Draft:
        """Return one stage with its jobs; its rows follow those before."""
        draft, halves = Draft(self.rows, len(self.weights)), []
        members = [
            (number, candidate.specs[depth])
            for number, candidate in enumerate(self.candidates)
            if len(candidate.specs) > depth
        ]
        rank = {"depthwise": 0, "point": 0, "shifted": 1, "dense": 2}
        for number, spec in sorted(members, key=lambda member: rank[member[1].kind]):
            unit, edges, inputs = (
                self.unit(number, depth),
                self.w_rows[number],
                self._inputs(number, depth),
            )
            self.first_row[number, depth] = self.rows
            if spec.kind == "dense":
                target = len(draft.inner) if depth else -1
                draft.dense.append((unit, spec, self.rows, inputs, edges, target))
            else:
                kind = KINDS[spec.kernel, spec.dilation] if spec.kind == "depthwise" else 0
                columns = self.units[unit].weights[-1].shape[-1]
                split = columns - columns // 2 if spec.kind == "shifted" else columns
                draft.rows += len(edges)
                for row, edge in zip(inputs, edges, strict=True):
                    draft.jobs.append([row, kind, unit, edge])
                    self.weights.append([unit, edge, 0, split])
                    if spec.kind == "shifted":
                        halves.append(([row, 1, unit, edge], [unit, edge, split, columns]))
            draft.inner += inputs if depth else []
            self.rows += len(edges)
        draft.second = len(halves)
        draft.jobs += [job for job, _ in halves]
        self.weights += [weight for _, weight in halves]
        draft.counted = self.rows - draft.first
        if depth == 0:
            self._add_pools(draft)
        return draft

    def _inputs(self, number: int, depth: int) -> list[int]:
        """Return the input row of each of a unit's rows: of the source, or of ``y``."""
        if depth == 0:
            return self.x_rows[number]
        first = self.first_row[number, depth - 1]
        return list(range(first, first + len(self.w_rows[number])))

    def _add_pools(self, draft: Draft) -> None:
        """Add the poolings' rows: first those with a norm, which have statistics."""
        pools = [n for n, candidate in enumerate(self.candidates) if candidate.kind == "pool"]
        self.first_pool = self.rows
        for number in sorted(pools, key=lambda n: not self.candidates[n].units):
            self.first_row[number, 0] = self.rows
            largest = int(self.candidates[number].pool == "max")
            self.pools += [[row, largest, self.rows + row, 0] for row in range(self.sources)]
            self.rows += self.sources
            if self.candidates[number].units:
                draft.counted = self.rows - draft.first

    def _own(self, draft: Draft, depth: int) -> None:
        """Say which edge's unit the statistics of which rows belong to."""
        for number, candidate in enumerate(self.candidates):
            if candidate.kind == "identity" or len(candidate.units) <= depth:
                continue
            by_edge: dict[int, list[int]] = {}
            rows, edges = candidate.update_rows.tolist(), candidate.update_weights.tolist()
            for row, edge in zip(rows, edges, strict=True):
                by_edge.setdefault(edge, []).append(row + self.first_row[number, depth])
            inner, unit = int(len(candidate.units) > depth + 1), self.unit(number, depth)
            if not inner and not self.source.training:
                continue  # the mix takes running statistics itself
            for edge, own in by_edge.items():
                start = len(draft.updates)
                draft.updates += own
                draft.owners.append([unit, edge, start, start + len(own), inner, 0])

    def _read(self, draft: Draft, depth: int) -> None:
        """Say which jobs, poolings and identities read which input."""
        readers: dict[int, list[list[int]]] = {}
        for job, (row, kind, unit, edge) in enumerate(draft.jobs):
            readers.setdefault(row, []).append([job, kind, unit, edge])
            draft.lines += [[job, kind, i, row] for i in range(SIDES.get(kind, 0))]
        if depth == 0:
            for index, (row, largest, place, _) in enumerate(self.pools):
                kind = MAXIMUM if largest else AVERAGE
                readers.setdefault(row, []).append([place, kind, index, 0])
            for number, candidate in enumerate(self.candidates):
                for row in range(self.sources if candidate.kind == "identity" else 0):
                    place = self.first_row[number, 0] + row
                    readers.setdefault(row, []).append([place, IDENTITY, 0, 0])
        for row in draft.inner if depth else range(self.sources):
            start, own = len(draft.readers), readers.get(row, [])
            draft.readers += own
            draft.targets.append([row, start, start + len(own), 0])
        draft.kinds = kinds_of(self.source, depth)

    def entries(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return the tables of the entries and of the rows that the mix reads."""
        lines: list[list[int]] = []
        for number, row, _, target, place, edge in self.source.entries.table.tolist():
            candidate = self.candidates[number]
            last = max(0, len(candidate.specs) - 1)
            y_row = self.first_row[number, last] + row
            if candidate.kind == "identity":
                y_row = -1 - row
            lines.append([y_row, self.unit(number, last), edge, target, place, 0])
        finals, first = [], 0
        for number, starts in enumerate(self.source.entries.starts):
            candidate, ends = self.candidates[number], starts.tolist()
            place = self.first_row[number, max(0, len(candidate.specs) - 1)]
            normed = int(self.source.training and bool(candidate.units))
            for row, (start, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
                finals.append([place + row, first + start, first + end, normed])
            first += ends[-1]
        return lines, finals

    def gradients(
        self, entries: list[list[int]]
    ) -> tuple[list[list[int]], list[list[int]], list[int]]:
        """Return which jobs and entries make up the gradient of which weights."""
        matrices: dict[tuple[int, ...], list[int]] = {}
        vectors: dict[tuple[int, ...], list[int]] = {}
        for job, (unit, edge, low, high) in enumerate(self.weights):
            matrices.setdefault((unit, edge, low, high), []).append(job)
        for stage in self.stages:
            for job, (_, kind, unit, edge) in enumerate(stage.jobs):
                taps = SIDES.get(kind, 0) ** 2
                for tap in range(taps):
                    key = (0, tap, unit, 0, edge * taps + tap)
                    vectors.setdefault(key, []).append(stage.base + job)
        for place, (unit, edge) in self._norms(entries):
            if unit >= 0 and self.units[unit].gamma is not None:
                for which in (0, 1):
                    vectors.setdefault((1, which, unit, 2 + which, edge), []).append(place)
        members: list[int] = []
        lines: tuple[list[list[int]], list[list[int]]] = ([], [])
        for table, result, padding in ((matrices, lines[0], []), (vectors, lines[1], [0])):
            for line, own in table.items():
                result.append([*line, len(members), len(members) + len(own), *padding])
                members += own
        return lines[0], lines[1], members

    def _norms(self, entries: list[list[int]]) -> Iterable[tuple[int, tuple[int, int]]]:
        """Yield the rows of ``hat`` with unit and edge: entries, then inner norms by stage."""
        for q, (_, unit, edge, *_) in enumerate(entries):
            yield q, (unit, edge)
        owner = {
            self.first_row[number, depth] + row: (self.unit(number, depth), edge)
            for number, candidate in enumerate(self.candidates)
            for depth in range(len(candidate.specs))
            for row, edge in enumerate(self.w_rows[number])
        }
        for stage in self.stages:
            for t, row in enumerate(stage.inner):
                yield stage.hats + t, owner[row]


def kinds_of(source: Source, depth: int) -> int:
    """Return the bits of the kinds that a stage of any plan of this source can have.

    They are constants of the kernels: taken from what the space offers, not from what is wanted
    now, so that another architecture needs no other kernel. Kinds whose code is the same (the two
    halves of 1x1 convolutions, the two poolings) come together.
    """
    kinds = 0
    for offer in source.offers:
        if len(offer.specs) > depth:
            spec = offer.specs[depth]
            if spec.kind == "depthwise":
                kinds |= 1 << KINDS[spec.kernel, spec.dilation]
            elif spec.kind != "dense":
                kinds |= 3
        elif depth == 0 and offer.kind == "pool":
            kinds |= 1 << MAXIMUM | 1 << AVERAGE
        elif depth == 0 and offer.kind == "identity":
            kinds |= 1 << IDENTITY
    return kinds


def layouts_of(sources: Sequence[Source], where: torch.device) -> list[Layout]:
    """Return the tables of sources, on a device; they are copied there together."""
    tables = Tables()
    drafts = [_drafted(source, tables) for source in sources]
    memory = tables.to(where)
    return [draft(memory) for draft in drafts]


def _drafted(source: Source, tables: Tables) -> Callable[[Tensor], Layout]:
    """Add the tables of a source; return what makes its layout of the copied ones."""
    planner = Planner(source)
    entries, finals = planner.entries()
    matrices, vectors, members = planner.gradients(entries)
    order = sorted(range(len(entries)), key=lambda q: entries[q][3])
    starts = [sum(line[3] < target for line in entries) for target in range(source.targets + 1)]
    edges = [] if source.entry_edges is None else source.entry_edges.tolist()
    common = {
        "pools": tables.add(planner.pools, 4), "entries": tables.add(entries, 6),
        "order": tables.add([order]), "starts": tables.add([starts]),
        "finals": tables.add(finals, 4), "weights": tables.add(planner.weights, 4),
        "matrices": tables.add(matrices, 6), "vectors": tables.add(vectors, 8),
        "members": tables.add([members]), "entry_edges": tables.add([edges]),
    }  # fmt: skip
    stages = [_add_stage(tables, draft) for draft in planner.stages]
    specs = [spec for offer in source.offers for spec in offer.specs if spec.kind == "depthwise"]
    drafts, taps = planner.stages, max((spec.kernel**2 for spec in specs), default=1)
    last = [candidate.w_rows.numel() for candidate in source.candidates if candidate.kind == "conv"]
    mixed = sum(last) + len(planner.pools)

    def made(memory: Tensor) -> Layout:
        return Layout(
            stages=tuple(
                _stage(draft, found, memory, source.stride if depth == 0 else 1)
                for depth, (draft, found) in enumerate(zip(drafts, stages, strict=True))
            ),
            units=planner.units, rows=planner.rows, gradient_rows=planner.gradient_rows,
            first_pool=planner.first_pool, hats=planner.hats, taps=taps,
            mixed=mixed,
            **{name: find(memory) for name, find in common.items()},
        )  # fmt: skip

    return made


def _add_stage(tables: Tables, draft: Draft) -> dict[str, Find]:
    """Add a stage's tables; of dense unit ``i``, ``x{i}`` and ``w{i}``."""
    found = {
        "jobs": tables.add(draft.jobs, 4), "owners": tables.add(draft.owners, 6),
        "updates": tables.add([draft.updates]), "targets": tables.add(draft.targets, 4),
        "readers": tables.add(draft.readers, 4), "lines": tables.add(draft.lines, 4),
        "inner": tables.add([draft.inner]),
    }  # fmt: skip
    for i, (_, _, _, x_rows, w_rows, _) in enumerate(draft.dense):
        found[f"x{i}"], found[f"w{i}"] = tables.add([x_rows]), tables.add([w_rows])
    return found


def _stage(draft: Draft, found: dict[str, Find], memory: Tensor, stride: int) -> Stage:
    """Return a stage with its tables on the device."""
    tables = {name: find(memory) for name, find in found.items()}
    dense = tuple(
        Dense(unit, spec, first, tables.pop(f"x{i}"), tables.pop(f"w{i}"), target)
        for i, (unit, spec, first, _, _, target) in enumerate(draft.dense)
    )
    return Stage(
        first=draft.first, rows=draft.rows, second=draft.second, counted=draft.counted,
        base=draft.base, stride=stride, kinds=draft.kinds, hats=draft.hats, dense=dense,
        normed=bool(draft.inner), **tables,
    )  # fmt: skip
