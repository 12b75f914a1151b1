"""Index tensors whose values the host knows, so that no step reads them back from a device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_VALUES, _OWNERS = "_host_values", "_host_owners"


def index_tensor(values: Sequence[int], device: object) -> Tensor:
    """Return int64 ``values`` on a device; the host remembers them."""
    where = device if isinstance(device, torch.device) else torch.device(str(device))
    index = torch.tensor(values, dtype=torch.int64, device=where)
    setattr(index, _VALUES, list(values))
    return index


def host(index: Tensor) -> list[int]:
    """Return the values of an index tensor; read back once at most, and only if unknown."""
    values: list[int] | None = getattr(index, _VALUES, None)
    if values is None:
        values = index.tolist()
        setattr(index, _VALUES, values)
    return values


def consecutive(index: Tensor, first: int | None = None) -> bool:
    """Whether values follow one another (from ``first`` on, if given)."""
    values = host(index)
    start = first if first is not None else values[0] if values else 0
    return values == list(range(start, start + len(values)))


def owners(starts: Tensor) -> Tensor | None:
    """Return the row of every term, where row ``i`` owns the terms ``starts[i]:starts[i + 1]``.

    None if every row owns one term.
    """
    if not hasattr(starts, _OWNERS):
        ends = host(starts)
        sizes = [last - first for first, last in zip(ends[:-1], ends[1:], strict=True)]
        rows = [row for row, size in enumerate(sizes) for _ in range(size)]
        alone = all(size == 1 for size in sizes)
        setattr(starts, _OWNERS, None if alone else index_tensor(rows, starts.device))
    found: Tensor | None = getattr(starts, _OWNERS)
    return found
