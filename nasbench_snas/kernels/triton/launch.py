"""How Triton kernels are launched: on the tensors' device, autotuned if asked for, or noted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

REGISTERS = 128
"""Registers of a thread at most. Without a bound, the assembler spills a few of them on compute
capability 8.0 to fit more threads."""


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        kernel: The Triton function.
        arguments: What it was given, in order (without the constants).
        constants: Its compile-time arguments.
        moved: Bytes it reads and writes, each operand once.
        grid: Programs in each dimension.
    """

    kernel: Any
    arguments: tuple[Any, ...]
    constants: dict[str, Any]
    moved: int
    grid: tuple[int, ...] = ()


def cdiv(a: int, b: int) -> int:
    """Return ``a / b``, rounded up (Triton's own takes a hundred times as long)."""
    return -(-a // b)


def power_of_2(number: int) -> int:
    """Return the least power of two that is not less than ``number``."""
    return 1 << (number - 1).bit_length()


def blocks(channels: int, size: int = 1024) -> tuple[int, int]:
    """Return the blocks of channels and of pixels, ``size`` numbers together.

    That of channels is a power of two: the largest one up to 64 that wastes the fewest lanes.
    """
    if channels <= 16:
        wide = power_of_2(channels)
    else:
        wide = min((64, 32, 16), key=lambda block: (-channels % block, -block))
    return wide, max(8, size // wide)


def strip(channels: int, width: int, size: int = 1024) -> tuple[int, int]:
    """Return the blocks of channels and of the pixels of one image row."""
    wide, pixels = blocks(channels, size)
    return wide, min(pixels, power_of_2(width))


def accumulator(x: Tensor) -> Any:
    """Return the type in which sums over ``x`` are taken."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def torch_type(acc: Any) -> torch.dtype:
    """Return torch's name of an accumulator type."""
    return torch.float64 if acc == tl.float64 else torch.float32


def size_of(tensor: Tensor) -> int:
    """Return the bytes of a tensor."""
    return tensor.numel() * tensor.element_size()


def upload(values: Sequence[int], where: torch.device) -> Tensor:
    """Return integers on a device (at least one); from pinned memory, so that nothing waits."""
    table = torch.tensor(values or (0,), dtype=torch.int64)
    if where.type != "cuda":
        return table.to(where)
    return table.pin_memory().to(where, non_blocking=True)


def configurations() -> list[triton.Config]:
    """Return what autotuning tries: warps (block sizes are given by the shape).

    Stages of a software pipeline are not tried: these loops have no products to overlap with, and
    every alternative is a compilation for each shape.
    """
    return [triton.Config({}, num_warps=warps, maxnreg=REGISTERS) for warps in (1, 2, 4, 8)]


ACCUMULATED = {"depthwise_input": ["dx_ptr"], "mix_forward": ["out_ptr"]}
"""What a kernel adds to: autotuning puts it back between its trials."""

UNTUNED = ("finish_moments",)
"""Kernels that change tensors which they only know by address: they cannot be run twice."""

SHAPES = ("C", "CO", "ST", "KINDS", "KK", "ADD", "NORM", "MASK", "TRAIN", "BATCH")
"""Constants by which autotuned choices are kept: what a program does. Numbers of images and pixels
only change how many programs there are, and each would be measured and compiled for again."""


class Launcher:
    """Launches kernels.

    Attributes:
        observer: Called with every launch, if given.
        dry: Whether launches are only observed (outputs then hold whatever was in memory).
        tune: Whether Triton measures alternatives (``$NASBENCH_AUTOTUNE``).
    """

    def __init__(self) -> None:
        self.tune = bool(os.environ.get("NASBENCH_AUTOTUNE"))
        self.observer: Callable[[Launch], None] | None = None
        self.dry = False
        self._tuned: dict[str, Any] = {}

    def __call__(
        self,
        kernel: Any,
        grid: Sequence[int],
        *arguments: Any,
        moved: Callable[[], Sequence[Tensor]] | None = None,
        **constants: Any,
    ) -> None:
        """Launch ``kernel`` on the device of its first tensor, unless the grid is empty.

        Args:
            kernel: The Triton function.
            grid: Programs in each dimension.
            arguments: In the kernel's order.
            moved: Returns what is read and written, if it is not all tensors among the arguments.
            constants: Compile-time arguments.
        """
        if 0 in grid:
            return
        if self.observer is not None:
            tensors = [x for x in arguments if isinstance(x, Tensor)] if moved is None else moved()
            unique = {id(x): x for x in tensors}
            total = sum(size_of(x) for x in unique.values())
            self.observer(Launch(kernel, arguments, constants, total, tuple(grid)))
        if self.dry:
            return
        run, options = kernel, {**constants, "maxnreg": REGISTERS}
        if self.tune and kernel.__name__ not in UNTUNED:
            run, options = self._tuner(kernel), constants
        device = next(x for x in arguments if isinstance(x, Tensor)).device
        if device.type == "cuda" and device.index != torch.cuda.current_device():
            with torch.cuda.device(device):
                run[tuple(grid)](*arguments, **options)
        else:
            run[tuple(grid)](*arguments, **options)

    def _tuner(self, kernel: Any) -> Any:
        """Return ``kernel`` autotuned by shape."""
        name = kernel.__name__
        if name not in self._tuned:
            key = [argument for argument in kernel.arg_names if argument in SHAPES]
            tuner = triton.autotune(configurations(), key=key, restore_value=ACCUMULATED.get(name))
            self._tuned[name] = tuner(kernel)
        return self._tuned[name]
