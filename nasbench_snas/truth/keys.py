"""Names of NAS-Bench-201 architectures: keys, strings, genotypes and other libraries' tuples.

A key is six digits in the order of the architecture string, which lists the edges by target:
0->1, 0->2, 1->2, 0->3, 1->3, 2->3. The compact tuples of NASLib list them by source: 0->1, 0->2,
0->3, 1->2, 1->3, 2->3, and number the operations skip_connect, none, nor_conv_3x3, nor_conv_1x1,
avg_pool_3x3 (White et al., NASLib, ``nasbench201/conversions.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.nasbench201 import (
    EDGES,
    NAMES,
    TUPLE_EDGES,
    TUPLE_NAMES,
    choices,
    from_compact,
    from_names,
    parse_architecture,
    string_of,
)
from nasbench_snas.errors import GenotypeError

_FORMS = "six digits 0-4, an architecture string, a tuple like (4, 0, 3, 1, 4, 3), or a run"


def read_key(text: str) -> str:
    """Return the key that ``text`` is, or writes as a string or tuple; blanks around it vanish.

    Raises:
        GenotypeError: It is none of them.
    """
    text = text.strip()
    if re.fullmatch("[0-4]{6}", text, flags=re.ASCII):
        return text
    if text.startswith("|"):
        return string_to_key(text)
    if re.fullmatch(r"\(\s*\d(\s*,\s*\d){5}\s*,?\s*\)", text, flags=re.ASCII):
        return tuple_to_key([int(digit) for digit in re.findall(r"\d", text)])
    raise GenotypeError(f"{text!r} is no architecture of NAS-Bench-201.", f"Expected {_FORMS}.")


def key_to_string(key: str) -> str:
    """Return the architecture string of a key."""
    return string_of([int(digit) for digit in key])


def string_to_key(text: str) -> str:
    """Return the key of an architecture string.

    Raises:
        GenotypeError: An operation is unknown, or the steps are not complete and in order.
    """
    return genotype_to_key(parse_architecture(text))


def genotype_to_key(genotype: Genotype) -> str:
    """Return the key of one of our genotypes of this space.

    Raises:
        GenotypeError: It is not one of this space.
    """
    return "".join(map(str, choices(genotype)))


def key_to_genotype(key: str) -> Genotype:
    """Return our genotype of a key; edges of ``none`` are dropped."""
    chosen = (
        (NAMES[int(digit)], source, target)
        for digit, (source, target) in zip(key, EDGES, strict=True)
    )
    return from_names(chosen, key_to_string(key))


def tuple_to_key(values: Sequence[int]) -> str:
    """Return the key of a compact tuple (source-major, its own numbering of operations).

    Raises:
        GenotypeError: It has not six entries between 0 and 4.
    """
    return genotype_to_key(from_compact(values))


def key_to_tuple(key: str) -> tuple[int, ...]:
    """Return the compact tuple of a key; the inverse of :func:`tuple_to_key`."""
    chosen = dict(zip(EDGES, key, strict=True))
    return tuple(TUPLE_NAMES.index(NAMES[int(chosen[edge])]) for edge in TUPLE_EDGES)
