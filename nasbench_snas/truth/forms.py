"""When two cells are the same function of their input, whatever the weights.

A node is the sum of its incoming edges: ``none`` adds nothing, a skip adds the source, average
pooling is linear (padding is not counted), so it distributes over sums, and a convolution (ReLU,
convolution, batch norm) is an atom with weights of its own. A node is therefore a linear
combination of pooled atoms, and two cells are the same function if their outputs agree after
renaming the convolutions. The output is the last node, or all nodes concatenated; what reads a
concatenation has weights of its own for each part, so that the order of the parts is a matter of
names, too.

A convolution of an empty node is zero without a learned shift in its batch norm; with one it is a
learned constant, which no pooling changes and whose kernel size does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from math import gcd

from nasbench_snas.architecture.space import Space

NONE, SKIP, POOL = 0, 1, 4
"""Kinds of edges; every other number is a kind of convolution."""
_CONVOLUTION = 5

_INPUT, _CONSTANT = -1, -2

Atom = tuple[int, int]
"""Number of the convolution (or the input), and how often it is pooled."""
Sum = tuple[tuple[Atom, int], ...]
"""Atoms with their multiplicities, sorted."""
Convolution = tuple[int, dict[Atom, int], int]
"""Kind (or a constant), input, and the edge that it stands on."""
Form = tuple[object, ...]


def form_of(
    kinds: Sequence[int],
    edges: Sequence[tuple[int, int]],
    outputs: Sequence[int],
    *,
    shift: bool,
    scaled: bool = False,
) -> tuple[Form, dict[int, int]]:
    """Return a form that is equal for cells of the same function, and the names that make it so.

    Args:
        kinds: Kind of each edge: :data:`NONE`, :data:`SKIP`, :data:`POOL`, or a convolution.
        edges: Source and target of each edge, sorted by target; node 0 is the input.
        outputs: The nodes that are concatenated.
        shift: Whether batch norms have a learned shift.
        scaled: Whether common factors of a convolution's input and of a node that is an output
            are dropped.

    Returns:
        The form, and the canonical number of each edge's convolution where the output depends on
        it: cells of one form whose convolutions of equal number share their weights are equal.
    """
    simple = _without_factor if scaled else dict
    nodes: list[dict[Atom, int]] = [{(_INPUT, 0): 1}]
    nodes += [{} for _ in range(edges[-1][1])]
    convolutions: list[Convolution] = []
    for edge, (source, target) in enumerate(edges):
        value = _apply(kinds[edge], edge, nodes[source], convolutions, shift, scaled)
        for atom, times in value.items():
            nodes[target][atom] = nodes[target].get(atom, 0) + times
    parts = [simple(nodes[node]) for node in outputs]
    used = _reached(parts, convolutions)
    orders = [dict(zip(used, order, strict=True)) for order in permutations(range(len(used)))]
    form, best = min(
        ((_renamed(parts, convolutions, order), order) for order in orders),
        key=lambda pair: pair[0],
    )
    return form, {convolutions[i][2]: name for i, name in best.items()}


def _apply(
    kind: int,
    edge: int,
    value: dict[Atom, int],
    convolutions: list[Convolution],
    shift: bool,
    scaled: bool,
) -> dict[Atom, int]:
    """Return an edge's sum; a convolution is appended to ``convolutions``."""
    if kind == SKIP:
        return value
    if kind == POOL:
        pooled = {}
        for (atom, times), count in value.items():
            constant = atom >= 0 and convolutions[atom][0] == _CONSTANT
            pooled[(atom, 0 if constant else times + 1)] = count
        return pooled
    if kind == NONE or (not value and not shift):
        return {}
    own = _without_factor(value) if scaled else dict(value)
    convolutions.append((kind if value else _CONSTANT, own, edge))
    return {(len(convolutions) - 1, 0): 1}


def _without_factor(value: dict[Atom, int]) -> dict[Atom, int]:
    factor = gcd(*value.values()) or 1
    return {atom: count // factor for atom, count in value.items()}


def _reached(
    outputs: Sequence[Mapping[Atom, int]], convolutions: Sequence[Convolution]
) -> list[int]:
    found: set[int] = set()
    waiting = [atom for output in outputs for atom, _ in output]
    while waiting:
        atom = waiting.pop()
        if atom >= 0 and atom not in found:
            found.add(atom)
            waiting += [inner for inner, _ in convolutions[atom][1]]
    return sorted(found)


def _renamed(
    outputs: Sequence[Mapping[Atom, int]],
    convolutions: Sequence[Convolution],
    names: Mapping[int, int],
) -> Form:
    def form(value: Mapping[Atom, int]) -> Sum:
        return tuple(sorted(((names.get(a, a), t), n) for (a, t), n in value.items()))

    rows = sorted((names[i], convolutions[i][0], form(convolutions[i][1])) for i in names)
    return tuple(sorted(map(form, outputs))), tuple(rows)


def kinds_of(space: Space) -> tuple[int, ...] | None:
    """Return the kind of each operation of ``space``; None where cells are not compared.

    Compared are spaces of one type of cell with one input, whose edges keep the resolution and
    whose pooling, if any, is an average without a batch norm, and whose operations are the same on
    every edge, none of one's own and no noise.
    """
    if len(space.cells) != 1 or space.cells[0].num_inputs != 1:
        return None
    if space.edge_operations or space.auxiliary_skip:
        return None
    if any(layer.kind == "cell" and layer.stride != 1 for layer in space.layers):
        return None
    kinds = []
    for number, spec in enumerate(space.operation_specs):
        if spec.kind in ("module", "noise"):
            return None
        if spec.kind == "pool" and (spec.pool != "avg" or space.pool_norm):
            return None
        known = {"zero": NONE, "skip": SKIP, "pool": POOL}
        kinds.append(known.get(spec.kind, _CONVOLUTION + number))
    return tuple(kinds)


def classes_of(space: Space, choices: Sequence[Sequence[int]], *, shift: bool) -> tuple[int, ...]:
    """Return the class of each architecture: the place of its first member among ``choices``.

    Where cells are not compared (:func:`kinds_of`), every architecture is a class of its own.

    Args:
        space: The space.
        choices: Operation of each edge of each architecture.
        shift: Whether batch norms have a learned shift.
    """
    if kinds_of(space) is None:
        return tuple(range(len(choices)))
    first: dict[Form, int] = {}
    forms = (space_form(space, choice, shift=shift)[0] for choice in choices)
    return tuple(first.setdefault(form, number) for number, form in enumerate(forms))


def space_form(space: Space, choice: Sequence[int], *, shift: bool) -> tuple[Form, dict[int, int]]:
    """Return :func:`form_of` an architecture of a space whose cells are compared.

    Args:
        space: The space.
        choice: Operation of each edge.
        shift: Whether batch norms have a learned shift.
    """
    kinds, cell = kinds_of(space) or (), space.cells[0]
    nodes = range(1, cell.num_nodes + 1)
    outputs = nodes if cell.output == "concat" else nodes[-1:]
    return form_of([kinds[k] for k in choice], cell.edges, outputs, shift=shift)
