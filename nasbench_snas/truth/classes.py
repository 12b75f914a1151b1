"""Which NAS-Bench-201 cells are the same function of their input, whatever the weights.

A node is the sum of its incoming edges. ``none`` adds nothing, ``skip_connect`` adds the source,
average pooling is linear (padding is not counted), so it distributes over sums, and a convolution
(ReLU, convolution, batch norm) is an atom with weights of its own. A node is therefore a linear
combination of pooled atoms, and two cells are the same function if their outputs agree after
renaming the convolutions. A convolution of an empty node is zero without a learned shift in its
batch norm; with one it is a learned constant, which no pooling changes and whose kernel size does
not matter. There are 5,044 functions without a learned shift and 5,234 with one.

With ``scaled``, a common factor of a convolution's input (which a batch norm removes, but for its
epsilon) and of the output count for nothing: 4,931 and 5,121, the cell of zeros included. This is
equality up to a scale, not of logits: a factor of one cell is not a factor of a chain of cells.

Reference: Dong and Yang 2020, arXiv:2001.00326, section 2.3 (isomorphic cells), there without the
linearity of pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations
from math import gcd

NONE, SKIP, CONV_1X1, CONV_3X3, POOL = range(5)
"""Operations, numbered as in a six-digit key."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target of each digit of a key: the order of the architecture string."""

_INPUT, _CONSTANT = -1, -2

Atom = tuple[int, int]
"""Number of the convolution (or the input), and how often it is pooled."""
Sum = tuple[tuple[Atom, int], ...]
"""Atoms with their multiplicities, sorted."""

Convolution = tuple[int, dict[Atom, int], int]
"""Operation (or a constant), input, and the edge that it stands on."""


def canonical(key: str, *, shift: bool, scaled: bool = False) -> tuple[object, ...]:
    """Return a form that is equal for cells of the same function.

    Args:
        key: Six digits.
        shift: Whether batch norms have a learned shift.
        scaled: Whether common factors of a convolution's input and of the output are dropped.
    """
    return _canonical(key, shift, scaled)[0]


def names(key: str, *, shift: bool) -> dict[int, int]:
    """Return the canonical number of each edge's convolution, where the output depends on it.

    Cells of one class whose convolutions of equal number share their weights have equal outputs.
    """
    return _canonical(key, shift, False)[1]


def _canonical(key: str, shift: bool, scaled: bool) -> tuple[tuple[object, ...], dict[int, int]]:
    simple = _without_factor if scaled else dict
    nodes: list[dict[Atom, int]] = [{(_INPUT, 0): 1}, {}, {}, {}]
    convolutions: list[Convolution] = []
    for edge, (source, target) in enumerate(EDGES):
        operation = int(key[edge])
        value = _apply(operation, edge, nodes[source], convolutions, shift, scaled)
        for atom, times in value.items():
            nodes[target][atom] = nodes[target].get(atom, 0) + times
    output, used = simple(nodes[3]), _reached(nodes[3], convolutions)
    orders = [dict(zip(used, order, strict=True)) for order in permutations(range(len(used)))]
    form, best = min(
        ((_renamed(output, convolutions, order), order) for order in orders),
        key=lambda pair: pair[0],
    )
    return form, {convolutions[i][2]: name for i, name in best.items()}


def _apply(
    operation: int,
    edge: int,
    value: dict[Atom, int],
    convolutions: list[Convolution],
    shift: bool,
    scaled: bool,
) -> dict[Atom, int]:
    """Return an edge's sum; a convolution is appended to ``convolutions``."""
    if operation == SKIP:
        return value
    if operation == POOL:
        pooled = {}
        for (atom, times), count in value.items():
            constant = atom >= 0 and convolutions[atom][0] == _CONSTANT
            pooled[(atom, 0 if constant else times + 1)] = count
        return pooled
    if operation == NONE or (not value and not shift):
        return {}
    own = _without_factor(value) if scaled else dict(value)
    convolutions.append((operation if value else _CONSTANT, own, edge))
    return {(len(convolutions) - 1, 0): 1}


def _without_factor(value: dict[Atom, int]) -> dict[Atom, int]:
    factor = gcd(*value.values()) or 1
    return {atom: count // factor for atom, count in value.items()}


def _reached(output: dict[Atom, int], convolutions: Sequence[Convolution]) -> list[int]:
    found: set[int] = set()
    waiting = [atom for atom, _ in output]
    while waiting:
        atom = waiting.pop()
        if atom >= 0 and atom not in found:
            found.add(atom)
            waiting += [inner for inner, _ in convolutions[atom][1]]
    return sorted(found)


def _renamed(
    output: dict[Atom, int],
    convolutions: Sequence[Convolution],
    names: dict[int, int],
) -> tuple[object, ...]:
    def form(value: dict[Atom, int]) -> Sum:
        return tuple(sorted(((names.get(a, a), t), n) for (a, t), n in value.items()))

    rows = sorted((names[i], convolutions[i][0], form(convolutions[i][1])) for i in names)
    return form(output), tuple(rows)


@cache
def classes(*, shift: bool, scaled: bool = False) -> tuple[int, ...]:
    """Return the class of each of the 15,625 keys in order: the index of its first member."""
    first: dict[tuple[object, ...], int] = {}
    forms = (canonical(key_of(i), shift=shift, scaled=scaled) for i in range(5**6))
    return tuple(first.setdefault(form, index) for index, form in enumerate(forms))


def key_of(index: int) -> str:
    """Return the six-digit key of a row of the table (base 5, first digit most significant)."""
    return "".join(str(index // 5**place % 5) for place in range(5, -1, -1))
