"""The fields of DARTS's namedtuple and its relatives, as cells.

Pairs (operation, source) belong to nodes by their number: DARTS lists two for each node; the SNAS
code also lists every edge (node 2 has two, node 3 three, …) with ``none`` for the dropped ones;
``nodes`` of pairs, one list a node (AutoDL style), are read as well. Pairs of ``none`` vanish. A
third entry that is a fraction is a weight (AutoDL), and dropped. Three whole entries are read only
where the type's name says their order: ``CNNGenotype`` of aw_nas lists (operation, source, target),
FairDARTS lists (operation, target, source).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.architecture.operations import is_known
from nasbench_snas.architecture.reading.aliases import about
from nasbench_snas.architecture.reading.values import Place
from nasbench_snas.errors import GenotypeError

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
NUM_INPUTS = 2
_ORDERS = {"cnngenotype": (1, 2), "fairdarts": (2, 1), "fairgenotype": (2, 1)}
"""Places of source and target in three entries, by the type's name in lower case."""
_ASIDE = ("primitives", "source", "name", "type", "format", "reference", "note")
"""Fields that say nothing of the cells."""

Fields = Mapping[str, tuple[Any, Place | None]]
Locate = Callable[[int, str], GenotypeError]
"""Builds the error about a position."""


class Reading:
    """One reading of fields: errors point at their place, notes say what was dropped."""

    def __init__(self, fields: Fields, kind: str, locate: Locate | None) -> None:
        self.kind, self.locate = kind, locate
        self.notes: list[str] = []
        self.fields: dict[str, tuple[Any, Place | None]] = {}
        for name, (value, place) in fields.items():
            own = _own_name(name, fields)
            if own in FIELDS and value is not None:
                self.fields[own] = value, place
            elif own not in FIELDS:
                self._drop(name, value, place)

    def _drop(self, name: str, value: Any, place: Place | None) -> None:
        """Note a field that is left out; one that could change the cells is an error."""
        nothing = value is None or value == "" or value == [] or name in _ASIDE
        if not nothing and not (name.endswith("layout") and value == "cell"):
            if self.locate is not None or re.match("normal|reduce|concat|layout", name):
                raise self._error(place, "", f"field {name!r} is not possible here")
        if name not in ("name", "format", "type"):
            self.notes.append(f"field {name!r} was dropped")

    def _error(self, place: Place | None, path: str, what: str) -> GenotypeError:
        what = f"{path}: {what}" if path else what
        if self.locate is None or place is None:
            return GenotypeError(f"{what}.")
        return self.locate(place.start, what)

    def _fail(
        self,
        field: str,
        path: str,
        what: str,
        item: Sequence[int] = (),
        why: str = "",
        fix: str = "",
    ) -> GenotypeError:
        """Return the error ``what`` about ``path``, item ``item`` of ``field``."""
        place = self.fields[field][1] if field in self.fields else None
        for index in item:
            place = place.items[index] if place is not None and index < len(place.items) else place
        error = self._error(place, path, what)
        return GenotypeError(error.what, why, fix) if why or fix else error

    def genotype(self, name: str) -> Genotype:
        """Return the genotype of the fields.

        Raises:
            GenotypeError: They are malformed, or can be read in two ways.
        """
        cells: dict[str, CellGenotype] = {}
        for kind in ("normal", "reduce"):
            if kind in self.fields:
                cells[kind] = self._cell(kind)
            elif kind == "normal" or "reduce_concat" in self.fields:
                raise GenotypeError(f"the genotype has no field {kind!r}.")
        return Genotype(cells, name, notes=tuple(dict.fromkeys(self.notes)))

    def _cell(self, kind: str) -> CellGenotype:
        """Return the cell in the fields ``kind`` and ``kind_concat``."""
        field = f"{kind}_concat"
        concat = self.fields.get(field, (None, None))[0]
        if concat is None:
            what = f"{field}, the nodes that are the output, is missing"
            raise self._fail(kind, kind, what)
        if not isinstance(concat, list) or not all(type(node) is int for node in concat):
            raise self._fail(field, field, f"expected a list of nodes, got {concat!r}")
        steps, places = self._flatten(kind)
        if any(len(step) == 3 for step in steps):
            targets = [step[2] for step in steps]
        else:
            targets = self._targets(steps, places, kind, max(concat, default=0))
        total = max(targets, default=NUM_INPUTS - 1) + 1
        if _is_nested(self.fields[kind][0]):
            total = NUM_INPUTS + len(self.fields[kind][0])
        edges = []
        for step, target, place in zip(steps, targets, places, strict=True):
            operation, source = step[0], step[1]
            path = f"{kind}[{']['.join(map(str, place))}]"
            if not is_known(operation):
                what = f"unknown operation {operation!r}"
                raise self._fail(kind, path, what, place, about(operation))
            if not 0 <= source < target or not NUM_INPUTS <= target < 1000:
                what = f"node {target} cannot take input from node {source}"
                raise self._fail(kind, path, what, place)
            if operation != "none":
                edges.append(Edge(operation, source, target))
        if not concat or not all(0 <= node < total for node in concat):
            what = f"expected nodes between 0 and {total - 1}, got {concat!r}"
            raise self._fail(field, field, what)
        try:
            return CellGenotype(NUM_INPUTS, total - NUM_INPUTS, tuple(edges), tuple(concat))
        except GenotypeError as error:
            raise self._fail(kind, kind, error.what.rstrip(".")) from error

    def _flatten(self, kind: str) -> tuple[list[tuple[Any, ...]], list[tuple[int, ...]]]:
        """Return (operation, source) or (operation, source, target), and their places."""
        value = self.fields[kind][0]
        if not isinstance(value, list):
            raise self._fail(kind, kind, "expected a list of (operation, node) pairs")
        steps: list[tuple[Any, ...]] = []
        places: list[tuple[int, ...]] = []
        nested = _is_nested(value)
        for index, item in enumerate(value):
            for inner, step in enumerate(item) if nested else [(-1, item)]:
                place: tuple[int, ...] = (index, inner) if nested else (index,)
                steps.append(self._step(step, kind, place, nested))
                places.append(place)
        if len({len(step) for step in steps}) > 1:
            raise self._fail(kind, kind, "some entries have three parts and some have two")
        return steps, places

    def _step(self, step: Any, kind: str, place: tuple[int, ...], nested: bool) -> tuple[Any, ...]:
        path = f"{kind}[{']['.join(map(str, place))}]"
        if isinstance(step, list) and len(step) == 3 and isinstance(step[0], str):
            third = step[2]
            if isinstance(third, float) or third is None:
                self.notes.append("the third entries, weights, were dropped")
                step = step[:2]
            elif type(third) is int and not nested:
                step = self._ordered(step, kind, path, place)
        good = isinstance(step, list) and len(step) in (2, 3) and isinstance(step[0], str)
        if not good or not all(type(number) is int for number in step[1:]):
            what = f"expected a pair (operation, node), got {tuple(step) if good else step!r}"
            raise self._fail(kind, path, what, place)
        if len(step) == 3 and nested:
            raise self._fail(kind, path, "three whole entries inside a node's own list", place)
        return tuple(step)

    def _ordered(self, step: list[Any], kind: str, path: str, place: tuple[int, ...]) -> list[Any]:
        """Return operation, source and target of three entries in the type's own order."""
        if not all(type(number) is int for number in step[1:]):
            return step
        if self.kind.lower() not in _ORDERS:
            raise self._fail(
                kind,
                path,
                f"{tuple(step)!r} has three whole entries, and {self.kind or 'the text'!r} does "
                "not say which is the source",
                place,
                "Known: CNNGenotype (operation, source, target) and FairDARTS (operation, target, "
                "source).",
                'Write CNNGenotype or FairDARTS as the type\'s name (in JSON: as "type").',
            )
        source, target = _ORDERS[self.kind.lower()]
        return [step[0], step[source], step[target]]

    def _targets(
        self,
        pairs: list[tuple[Any, ...]],
        places: list[tuple[int, ...]],
        kind: str,
        last: int,
    ) -> list[int]:
        """Return the node that each pair points to; there must be at least ``last + 1`` nodes."""
        count = len(pairs)
        if any(len(place) == 2 for place in places):  # one list a node
            return [NUM_INPUTS + place[0] for place in places]
        every: list[int] = []
        node = NUM_INPUTS
        while len(every) < count:
            every += [node] * node
            node += 1
        sources: dict[int, list[int]] = {}
        for target, (_, source) in zip(every, pairs, strict=False):
            sources.setdefault(target, []).append(source)
        whole = all(sorted(found) == list(range(target)) for target, found in sources.items())
        if whole and (last < node or count % 2):
            return every
        if count % 2 == 0:
            return [NUM_INPUTS + index // 2 for index in range(count)]
        raise self._fail(
            kind,
            kind,
            f"{count} pairs; expected two for each node, or every edge of each node "
            "(2, 5, 9, 14, 20 … pairs)",
        )


def from_fields(fields: Fields, kind: str, name: str, locate: Locate | None) -> Genotype:
    """Return the genotype of ``fields``.

    Args:
        fields: Values and their places by name.
        kind: The type's name, ``Genotype`` or ``CNNGenotype``; empty if the text gives none.
        name: The genotype's name.
        locate: Builds errors about positions; None for values without positions.

    Raises:
        GenotypeError: They are malformed, or can be read in two ways.
    """
    return Reading(fields, kind, locate).genotype(name)


def _own_name(name: str, fields: Fields) -> str:
    """Return DARTS's name of a field: ``normal_0_concat`` of aw_nas is ``normal_concat``."""
    found = re.fullmatch(r"(normal|reduce)_\d+(_concat)?", name)
    if found is None:
        return name
    own = found[1] + (found[2] or "")
    alike = [key for key in fields if re.fullmatch(rf"{found[1]}(_\d+)?{found[2] or ''}", key)]
    return own if len(alike) == 1 else name


def _is_nested(value: Any) -> bool:
    """Whether ``value`` is a list of lists of pairs, one list a node."""
    if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
        return False
    return any(item and isinstance(item[0], list) for item in value)
