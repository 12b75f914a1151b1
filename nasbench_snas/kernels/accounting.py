"""What a step costs on paper: launches and bytes, counted while it runs.

Every PyTorch operation that is not a view counts as one launch that reads its inputs and writes its
outputs. Triton kernels are counted where the backend launches them
(:class:`~nasbench_snas.kernels.triton.launch.Launcher`); without a GPU they are noted instead of
run, so that the outputs mean nothing while the launches are those of a real step. A step that has
not run before also copies tables to the device, which is not counted. This is bookkeeping, not a
measurement of any GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from nasbench_snas.kernels.triton.backend import TritonKernels
    from nasbench_snas.kernels.triton.launch import Launch

FREE = ("empty", "detach", "_unsafe_view", "_reshape_alias")
"""Parts of the names of operations that launch nothing, views aside."""


@dataclass
class Count:
    """Launches, bytes read and written, and how often each kernel or operation was launched."""

    launches: int = 0
    bytes: int = 0
    by_name: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, moved: int) -> None:
        """Count one launch."""
        self.launches += 1
        self.bytes += moved
        self.by_name[name] += 1


def _size(values: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tree_leaves(values) if isinstance(t, Tensor))


class _Counter(TorchDispatchMode):
    """Adds every operation that touches memory to ``count``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = Count()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.__name__
        if not func.is_view and not any(part in name for part in FREE):
            self.count.add(name, _size((args, kwargs)) + _size(result))
        return result

    def observe(self, launch: Launch) -> None:
        """Count a Triton kernel."""
        self.count.add(launch.kernel.__name__, launch.moved)


def counting_kernels() -> TritonKernels:
    """Return the Triton backend that launches nothing: for :func:`count_step`, on CPU."""
    from nasbench_snas.kernels.triton.backend import TritonKernels

    kernels = TritonKernels()
    kernels.launch.dry = True
    return kernels


def count_step(step: Callable[[], Any], kernels: TritonKernels | None = None) -> Count:
    """Return what ``step`` costs on paper.

    Args:
        step: A forward and backward pass.
        kernels: The parent's kernels, for a fast parent; None counts PyTorch's operations only.
    """
    counter = _Counter()
    if kernels is not None:
        kernels.launch.observer = counter.observe
    try:
        # Backward passes run on this thread, so that they are seen as well.
        with torch.autograd.set_multithreading_enabled(False), counter:
            step()
    finally:
        if kernels is not None:
            kernels.launch.observer = None
    return counter.count
