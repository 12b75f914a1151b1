"""Plans of a source whose operations are chosen on the device, one for each draw and edge.

Every choice has rows of its own, whatever it is: one a stage for a convolution, one for a pooling,
one for the gradient of an identity. So the number of rows and of programs does not depend on what
is chosen, and every integer of a table depends on one choice only. The tables of all operations are
made once, as if each were chosen everywhere (the columns of a :class:`Bank`); those of a draw are
one ``gather`` on the device. Nothing is read back, and the launches are the same at every step.

What is not chosen has the kind :data:`NOTHING`, or -1 in place of a row or of a member of a list;
it is skipped where it is read. Dense convolutions, which are PyTorch's, cannot be chosen so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from nasbench_snas.kernels.operands import UnitSpec
from nasbench_snas.kernels.sources import Choice, Offer, Source
from nasbench_snas.kernels.triton.launch import upload
from nasbench_snas.kernels.triton.layout import (
    AVERAGE,
    IDENTITY,
    KINDS,
    MAXIMUM,
    NOTHING,
    SIDES,
    Layout,
    Stage,
)
from nasbench_snas.kernels.triton.planner import Find, kinds_of

Rows = list[list[int]]

Integers = Callable[[int], list[int]]
"""The integers of a row by the number of the chosen operation."""

Items = list[tuple[Choice | None, Integers]]
"""Rows of a table, each with the choice it depends on (None: on none)."""


class Bank:
    """The tables of all operations: a column for each, the last one for none.

    Args:
        patterns: Number of columns.
    """

    def __init__(self, patterns: int) -> None:
        self.patterns = patterns
        self._columns: list[list[int]] = [[] for _ in range(patterns)]
        self._positions: list[int] = []

    def add(self, items: Items, columns: int = 0) -> Find:
        """Add a table (of no columns: a list); return a function that finds it in the chosen ones.

        Args:
            items: Its rows.
            columns: Integers of a row.
        """
        first = len(self._positions)
        for choice, row in items:
            for number, column in enumerate(self._columns):
                column.extend(row(number))
            position = 0 if choice is None else choice.position
            self._positions += [position] * (len(self._columns[0]) - len(self._positions))
        last = len(self._positions)
        if last % 2:
            self._positions.append(0)
            for column in self._columns:
                column.append(0)
        if columns:
            return lambda memory: memory[first:last].view(-1, columns)
        return lambda memory: memory[first:last]

    def to(self, where: torch.device) -> Callable[[Tensor], Tensor]:
        """Return what makes the tables of choices, shape ``(draws * edges,)``."""
        flat = [value for column in self._columns for value in column]
        bank = upload(flat, where).view(self.patterns, -1)
        positions = upload(self._positions, where)
        return lambda chosen: bank.gather(0, chosen[positions][None])[0]


def choosable(source: Source) -> bool:
    """Whether the operations of a source can be chosen on the device."""
    return all(spec.kind != "dense" for offer in source.offers for spec in offer.specs)


class ChoicePlanner:
    """Plans a source whose operations are chosen on the device.

    Args:
        source: The source, with choices.
        bank: Where its tables go.
    """

    def __init__(self, source: Source, bank: Bank) -> None:
        self.source, self.bank, self.choices = source, bank, source.choices
        self.offers = {offer.number: offer for offer in source.offers}
        self._number = {id(unit): number for number, unit in enumerate(source.units)}
        self.count, self.depth = len(self.choices), max(len(o.specs) for o in source.offers)
        self.depth = max(1, self.depth)
        kinds = {offer.kind for offer in source.offers}
        self.second = any(s.kind == "shifted" for o in source.offers for s in o.specs)
        self.pools = self.count if "pool" in kinds else 0
        self.normed_pools = any(o.kind == "pool" and o.units for o in source.offers)
        self.rows = self.count * self.depth + self.pools
        self.bases = [0]
        for level in range(self.depth):
            jobs = self.count * (2 if self.second and level == 0 else 1)
            self.bases.append(self.bases[-1] + jobs)

    def row(self, depth: int, slot: int) -> int:
        """Return the row of a choice's unit of that depth."""
        return slot if depth == 0 else self.pools + depth * self.count + slot

    def spec(self, number: int, depth: int) -> UnitSpec | None:
        """Return the unit of an operation at a depth, or None."""
        offer = self.offers.get(number)
        return offer.specs[depth] if offer is not None and len(offer.specs) > depth else None

    def unit(self, offer: Offer, depth: int) -> int:
        """Return the number of a unit among those of the cell (-1: there is none)."""
        return self._number[id(offer.units[depth])] if offer.units else -1

    def _input(self, depth: int, slot: int) -> int:
        return self.choices[slot].row if depth == 0 else self.row(depth - 1, slot)

    def _job(self, number: int, depth: int, slot: int, half: int) -> list[int]:
        """Return row, kind, unit and row of the weights of a job."""
        spec, row = self.spec(number, depth), self._input(depth, slot)
        if spec is None or (half and spec.kind != "shifted"):
            return [row, NOTHING, 0, 0]
        offer = self.offers[number]
        kind = KINDS[spec.kernel, spec.dilation] if spec.kind == "depthwise" else half
        return [row, kind, self.unit(offer, depth), offer.row(self.choices[slot].edge)]

    def _weight(self, number: int, depth: int, slot: int, half: int) -> list[int]:
        """Return unit, row and columns of a job's 1x1 weights."""
        spec = self.spec(number, depth)
        if spec is None or (half and spec.kind != "shifted"):
            return [-1, 0, 0, 0]
        offer = self.offers[number]
        columns = self._columns(offer, depth, half)
        return [self.unit(offer, depth), offer.row(self.choices[slot].edge), *columns]

    def _columns(self, offer: Offer, depth: int, half: int) -> tuple[int, int]:
        columns = offer.units[depth].weights[-1].shape[-1]
        if offer.specs[depth].kind != "shifted":
            return 0, columns
        split = columns - columns // 2
        return (split, columns) if half else (0, split)

    def _place(self, number: int, slot: int) -> tuple[int, int]:
        """Return the row of ``y`` (or of the source) that the mix reads, and its gradient's."""
        offer, identity = self.offers.get(number), self.rows + slot
        if offer is None or offer.kind == "identity":
            return -1 - self.choices[slot].row, identity
        row = self.count + slot if offer.kind == "pool" else self.row(len(offer.specs) - 1, slot)
        return row, row

    def _entry(self, number: int, slot: int) -> list[int]:
        offer, choice = self.offers.get(number), self.choices[slot]
        if offer is None:
            return [0, -1, 0, choice.target, 0, 1]
        unit = self.unit(offer, max(0, len(offer.specs) - 1))
        row, place = self._place(number, slot)[0], choice.place + number
        return [row, unit, offer.row(choice.edge), choice.target, place, 0]

    def _final(self, number: int, slot: int) -> list[int]:
        offer, row = self.offers.get(number), self._place(number, slot)[1]
        normed = int(self.source.training and offer is not None and bool(offer.units))
        return [row, slot, slot + (offer is not None), normed]

    def _pool(self, number: int, slot: int) -> list[int]:
        offer, row = self.offers.get(number), self.choices[slot].row
        if offer is None or offer.kind != "pool":
            return [row, 0, -1, 0]
        return [row, int(offer.pool == "max"), self.count + slot, 0]

    def _beside(self, number: int, slot: int) -> list[int]:
        """Return how a pooling or an identity reads its source."""
        offer = self.offers.get(number)
        place = self._place(number, slot)[1]
        if offer is not None and offer.kind == "pool":
            return [place, MAXIMUM if offer.pool == "max" else AVERAGE, slot, 0]
        if offer is not None and offer.kind == "identity":
            return [place, IDENTITY, 0, 0]
        return [0, NOTHING, 0, 0]

    def _each(self, make: Callable[..., list[int]]) -> Items:
        """Return a row for each choice, by its number."""
        return [(c, partial(make, slot=s)) for s, c in enumerate(self.choices)]

    def plan(self) -> Callable[[Tensor], Layout]:
        """Add all tables; return what makes a layout of the chosen ones."""
        stages = [self._stage(depth) for depth in range(self.depth)]
        count, targets = self.count, range(self.source.targets + 1)
        order = sorted(range(count), key=lambda slot: self.choices[slot].target)
        starts = [sum(c.target < target for c in self.choices) for target in targets]
        lines, members = self._gradients()
        add, fixed = self.bank.add, _fixed
        weights: Items = [
            (c, partial(self._weight, depth=depth, slot=s, half=half))
            for depth in range(self.depth)
            for half in range(2 if self.second and depth == 0 else 1)
            for s, c in enumerate(self.choices)
        ]
        common = {
            "pools": add(self._each(self._pool) if self.pools else [], 4),
            "entries": add(self._each(self._entry), 6), "order": add(fixed([order])),
            "starts": add(fixed([starts])), "finals": add(self._each(self._final), 4),
            "weights": add(weights, 4), "matrices": add(fixed(lines[0]), 6),
            "vectors": add(fixed(lines[1]), 8), "members": add(members),
            "entry_edges": add(fixed([[choice.edge for choice in self.choices]])),
        }  # fmt: skip
        specs = [s for o in self.source.offers for s in o.specs if s.kind == "depthwise"]
        taps = max((spec.kernel**2 for spec in specs), default=1)
        hats = count * self.depth

        def made(memory: Tensor) -> Layout:
            return Layout(
                stages=tuple(stage(memory) for stage in stages), units=self.source.units,
                rows=self.rows, gradient_rows=self.rows + count, first_pool=count, hats=hats,
                taps=taps, mixed=count, **{name: find(memory) for name, find in common.items()},
            )  # fmt: skip

        return made

    def _stage(self, depth: int) -> Callable[[Tensor], Stage]:
        halves = 2 if self.second and depth == 0 else 1
        jobs: Items = [
            (c, partial(self._job, depth=depth, slot=s, half=half))
            for half in range(halves)
            for s, c in enumerate(self.choices)
        ]
        owners, updates = self._owners(depth)
        sides = [SIDES[KINDS[s.kernel, s.dilation]] for o in self.source.offers
                 for s in o.specs[depth : depth + 1] if s.kind == "depthwise"]  # fmt: skip
        lines: Items = [
            (c, partial(self._line, depth=depth, slot=s, i=i))
            for s, c in enumerate(self.choices)
            for i in range(max(sides, default=0))
        ]
        targets, readers = self._readers(depth, halves)
        inner = self._each(partial(self._inner, depth=depth)) if depth else []
        add, fixed = self.bank.add, _fixed
        found = {
            "jobs": add(jobs, 4), "owners": add(fixed(owners), 6), "updates": add(updates),
            "targets": add(fixed(targets), 4), "readers": add(readers, 4), "lines": add(lines, 4),
            "inner": add(inner),
        }  # fmt: skip
        counted = self.count * (2 if depth == 0 and self.normed_pools else 1)

        def made(memory: Tensor) -> Stage:
            return Stage(
                first=self.row(depth, 0), rows=self.count,
                second=self.count if halves > 1 else 0, counted=counted, base=self.bases[depth],
                stride=self.source.stride if depth == 0 else 1,
                kinds=kinds_of(self.source, depth), normed=depth > 0, hats=depth * self.count,
                dense=(), **{name: find(memory) for name, find in found.items()},
            )  # fmt: skip

        return made

    def _inner(self, number: int, depth: int, slot: int) -> list[int]:
        """Return the row whose norm's output a stage reads, -1 if the stage is not there."""
        return [self._input(depth, slot) if self.spec(number, depth) else -1]

    def _reader(self, number: int, depth: int, slot: int, half: int) -> list[int]:
        """Return a job as its input sees it."""
        return [slot + half * self.count, *self._job(number, depth, slot, half)[1:]]

    def _line(self, number: int, depth: int, slot: int, i: int) -> list[int]:
        row, kind, *_ = self._job(number, depth, slot, 0)
        return [slot, kind if i < SIDES.get(kind, 0) else NOTHING, i, row]

    def _edges(self) -> dict[int, list[int]]:
        """Return the choices of each edge, draw by draw."""
        found: dict[int, list[int]] = {}
        for slot, choice in enumerate(self.choices):
            found.setdefault(choice.edge, []).append(slot)
        return found

    def _owners(self, depth: int) -> tuple[Rows, Items]:
        """Say which edge's unit the statistics of which rows belong to, if it is chosen."""
        owners: Rows = []
        updates: Items = []
        for offer in self.source.offers:
            if offer.kind == "identity" or len(offer.units) <= depth:
                continue
            inner = int(len(offer.units) > depth + 1)
            if not inner and not self.source.training:
                continue
            for edge, own in self._edges().items():
                head = [self.unit(offer, depth), offer.row(edge), len(updates)]
                owners.append([*head, len(updates) + len(own), inner, 0])
                for slot in own:
                    row = self.count + slot if offer.kind == "pool" else self.row(depth, slot)
                    updates.append((self.choices[slot], _only(offer.number, row)))
        return owners, updates

    def _readers(self, depth: int, halves: int) -> tuple[Rows, Items]:
        """Say which jobs, poolings and identities may read which input."""
        targets: Rows = []
        readers: Items = []
        groups: dict[int, list[int]] = {}
        if depth == 0:
            groups = {row: [] for row in range(self.source.rows)}
        for slot in range(self.count):
            groups.setdefault(self._input(depth, slot), []).append(slot)
        for row, own in groups.items():
            start = len(readers)
            for slot in own:
                choice = self.choices[slot]
                for half in range(halves):
                    read = partial(self._reader, depth=depth, slot=slot, half=half)
                    readers.append((choice, read))
                if depth == 0:
                    readers.append((choice, partial(self._beside, slot=slot)))
            targets.append([row, start, len(readers), 0])
        return targets, readers

    def _gradients(self) -> tuple[tuple[Rows, Rows], Items]:
        """Return the lines of all weights' gradients, and which jobs or entries each may sum."""
        lines: tuple[Rows, Rows] = ([], [])
        members: Items = []

        def line(table: int, head: list[int], own: Sequence[int], number: int, base: int) -> None:
            ends = [len(members), len(members) + len(own)]
            lines[table].append([*head, *ends, *([0] if table else [])])
            for slot in own:
                members.append((self.choices[slot], _only(number, base + slot)))

        for offer in self.source.offers:
            for edge, own in self._edges().items():
                row, number = offer.row(edge), offer.number
                for depth, spec in enumerate(offer.specs):
                    unit, base = self.unit(offer, depth), self.bases[depth]
                    for half in range(2 if spec.kind == "shifted" else 1):
                        head = [unit, row, *self._columns(offer, depth, half)]
                        line(0, head, own, number, base + half * self.count)
                    taps = spec.kernel**2 if spec.kind == "depthwise" else 0
                    for tap in range(taps):
                        line(1, [0, tap, unit, 0, row * taps + tap], own, number, base)
                for depth, weights in enumerate(offer.units):
                    last = depth + 1 == len(offer.units)
                    base = 0 if last else (depth + 1) * self.count
                    for which in (0, 1) if weights.gamma is not None else ():
                        unit = self.unit(offer, depth)
                        line(1, [1, which, unit, 2 + which, row], own, number, base)
        return lines, members


def _fixed(rows: Rows) -> Items:
    """Return rows that depend on no choice."""
    return [(None, partial(_same, row=row)) for row in rows]


def _same(number: int, row: list[int]) -> list[int]:
    """Return a row whatever is chosen."""
    return row


def _only(number: int, value: int) -> Integers:
    """Return what is ``value`` if an operation is chosen, else -1."""
    return lambda k: [value if k == number else -1]


def choosing(sources: Sequence[Source], where: torch.device) -> Callable[[Tensor], list[Layout]]:
    """Return what makes the layouts of sources from the operations that are chosen.

    Its argument has the shape ``(draws * edges,)``: the number of the operation that a draw has on
    an edge of the space, or the number of operations for none.
    """
    bank = Bank(sources[0].operations + 1)
    made = [ChoicePlanner(source, bank).plan() for source in sources]
    tables = bank.to(where)

    def layouts(chosen: Tensor) -> list[Layout]:
        memory = tables(chosen)
        return [make(memory) for make in made]

    return layouts
