"""Which NAS-Bench-201 cells are the same function of their input, whatever the weights.

What makes cells equal is in :mod:`nasbench_snas.truth.forms`. There are 5,044 functions without a
learned shift in the batch norms and 5,234 with one.

With ``scaled``, a common factor of a convolution's input (which a batch norm removes, but for its
epsilon) and of the output count for nothing: 4,931 and 5,121, the cell of zeros included. This is
equality up to a scale, not of logits: a factor of one cell is not a factor of a chain of cells.

Reference: Dong and Yang 2020, arXiv:2001.00326, section 2.3 (isomorphic cells), there without the
linearity of pooling.
"""

from __future__ import annotations

from functools import cache

from nasbench_snas.architecture.nasbench201 import EDGES
from nasbench_snas.truth.forms import NONE, POOL, SKIP, Form, form_of

CONV_1X1, CONV_3X3 = 2, 3
DIGITS = (NONE, SKIP, CONV_1X1, CONV_3X3, POOL)
"""Kinds of edges, numbered as the digits of a key."""


def canonical(key: str, *, shift: bool, scaled: bool = False) -> Form:
    """Return a form that is equal for cells of the same function.

    Args:
        key: Six digits.
        shift: Whether batch norms have a learned shift.
        scaled: Whether common factors of a convolution's input and of the output are dropped.
    """
    return _form(key, shift, scaled)[0]


def names(key: str, *, shift: bool) -> dict[int, int]:
    """Return the canonical number of each edge's convolution, where the output depends on it.

    Cells of one class whose convolutions of equal number share their weights have equal outputs.
    """
    return _form(key, shift, False)[1]


def _form(key: str, shift: bool, scaled: bool) -> tuple[Form, dict[int, int]]:
    kinds = [DIGITS[int(digit)] for digit in key]
    return form_of(kinds, EDGES, (3,), shift=shift, scaled=scaled)


@cache
def classes(*, shift: bool, scaled: bool = False) -> tuple[int, ...]:
    """Return the class of each of the 15,625 keys in order: the index of its first member."""
    first: dict[Form, int] = {}
    forms = (canonical(key_of(i), shift=shift, scaled=scaled) for i in range(5**6))
    return tuple(first.setdefault(form, index) for index, form in enumerate(forms))


def key_of(index: int) -> str:
    """Return the six-digit key of a row of the table (base 5, first digit most significant)."""
    return "".join(str(index // 5**place % 5) for place in range(5, -1, -1))
