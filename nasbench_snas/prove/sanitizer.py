"""Race and bounds checks of Triton kernels in the interpreter, where there is no GPU.

Inside :func:`sanitized`

* every load and store is checked: all its addresses must lie in a tensor of the launch, or in one
  of those that kernels reach by address alone (weights, statistics), which are declared;
* memory that nobody has written holds NaN (``torch.empty`` is filled), so that what is read too
  early shows in the results;
* programs run in a random order: results that depend on it differ from one seed to another.

:func:`random_tiles` draws the sizes of blocks, so that every loop over them goes round more than
once and every edge is masked somewhere else. None of this says anything about real races between
the threads of one program, which Triton's compiler orders.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from triton.runtime import interpreter

from nasbench_snas.kernels.triton import source as triton_source


class OutOfBoundsError(Exception):
    """A kernel used an address that belongs to no tensor it was given."""


class _Watch:
    """Knows the tensors of a launch; draws the order of its programs."""

    def __init__(self, known: Iterable[Tensor], seed: int) -> None:
        self.fixed = [_extent(tensor) for tensor in known]
        self.random = random.Random(seed)
        self.kernel = ""
        self.starts, self.ends = np.empty(0, np.int64), np.empty(0, np.int64)
        self.orders: list[list[int]] = [[0], [0], [0]]

    def launch(self, kernel: str, arguments: Iterable[Any]) -> None:
        """Take note of a launch's tensors."""
        self.kernel = kernel
        own = [_extent(value) for value in arguments if isinstance(value, Tensor)]
        spans = sorted(span for span in (*self.fixed, *own) if span[1] > span[0])
        merged: list[list[int]] = []
        for start, end in spans:
            if merged and start < merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        self.starts = np.array([start for start, _ in merged], np.int64)
        self.ends = np.array([end for _, end in merged], np.int64)

    def grid(self, *sizes: int) -> None:
        """Draw the order of a grid's programs."""
        self.orders = [self.random.sample(range(size), size) for size in sizes]

    def check(self, what: str, pointers: Any, mask: Any) -> None:
        """Raise unless all addresses under the mask lie in a known tensor."""
        wide = max(1, pointers.dtype.element_ty.primitive_bitwidth // 8)
        shape = np.broadcast_shapes(pointers.data.shape, mask.data.shape)
        chosen = np.broadcast_to(mask.data, shape).astype(bool)
        used = np.broadcast_to(pointers.data, shape)[chosen].astype(np.int64)
        if not used.size:
            return
        place = np.searchsorted(self.starts, used, side="right") - 1
        inside = (place >= 0) & (used + wide <= self.ends[place])
        if not inside.all():
            raise OutOfBoundsError(
                f"{self.kernel}: {what} of {int((~inside).sum())} of {used.size} addresses outside "
                "of every tensor of the launch"
            )


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Return the first address of a tensor and the one after its last."""
    if not tensor.numel():
        return 0, 0
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in pairs)
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


@contextmanager
def sanitized(known: Iterable[Tensor], seed: int) -> Iterator[None]:
    """Check all launches inside the block; see the module's docstring.

    Args:
        known: Tensors that kernels reach by address.
        seed: Of the order of the programs.
    """
    watch, builder = _Watch(known, seed), interpreter.interpreter_builder
    call = interpreter.GridExecutor.__call__
    names = ("set_grid_dim", "set_grid_idx", "create_masked_load", "create_masked_store")
    before = {name: getattr(builder, name) for name in names}

    def launched(self: Any, *arguments: Any, **options: Any) -> Any:
        watch.launch(self.fn.__name__, arguments)
        return call(self, *arguments, **options)

    def sized(*sizes: int) -> None:
        watch.grid(*sizes)
        before["set_grid_dim"](*sizes)

    def placed(*place: int) -> None:
        orders = zip(watch.orders, place, strict=True)
        before["set_grid_idx"](*(order[index] for order, index in orders))

    def load(pointers: Any, mask: Any, *rest: Any) -> Any:
        watch.check("a load", pointers, mask)
        return before["create_masked_load"](pointers, mask, *rest)

    def store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        watch.check("a store", pointers, mask)
        return before["create_masked_store"](pointers, value, mask, *rest)

    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    interpreter.GridExecutor.__call__ = launched
    for name, patched in zip(names, (sized, placed, load, store), strict=True):
        setattr(builder, name, patched)
    try:
        yield
    finally:
        interpreter.GridExecutor.__call__ = call
        for name in names:
            delattr(builder, name)
        torch.use_deterministic_algorithms(strict)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextmanager
def random_tiles(seed: int) -> Iterator[dict[str, int]]:
    """Draw small sizes for all blocks, parts and lines; yield them."""
    draw = random.Random(seed)
    sizes = {name: draw.choice((3, 5, 7, 11)) for name in ("PART", "LINES")}
    sizes |= {name: draw.choice((4, 8, 16)) for name in ("BLOCK", "INPUT")}
    sizes["PIXELS"] = draw.choice((1, 2, 4))
    wide, pixels = draw.choice((1, 2, 4)), draw.choice((2, 4, 8))
    before = {name: getattr(triton_source, name) for name in (*sizes, "blocks", "strip")}
    for name, value in sizes.items():
        setattr(triton_source, name, value)
    triton_source.blocks = lambda channels, size=0: (wide, pixels)  # type: ignore[attr-defined]
    triton_source.strip = lambda channels, width, size=0: (wide, pixels)  # type: ignore[attr-defined]
    try:
        yield {**sizes, "channels": wide, "pixels": pixels}
    finally:
        for name, value in before.items():
            setattr(triton_source, name, value)
