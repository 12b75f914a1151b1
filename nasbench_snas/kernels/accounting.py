"""What a step costs on paper: launches and bytes, counted from the operations it dispatches.

Every PyTorch operation that is not a view counts as one launch that reads its inputs and writes its
outputs. With a fast parent, the operations inside a primitive are replaced by what the Triton
backend launches for it; its bytes are each operand once. This is bookkeeping, not a measurement of
any GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasbench_snas.kernels.protocol import Candidate, Entries, Norm, UnitSpec, Upstream
from nasbench_snas.kernels.reference import ReferenceKernels

TRITON_LAUNCHES = {
    "unit_forward": 5,
    "unit_backward": 17,
    "mix_forward": 2,
    "mix_backward": 4,
    "pool_forward": 4,
    "pool_backward": 4,
    "add_upstream": 1,
    "update_running": 1,
}
"""Launches of one call in ``triton_backend.py``, small operations around it included."""


@dataclass
class Count:
    """Launches and bytes read and written."""

    launches: int = 0
    bytes: int = 0


def _size(values: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tree_leaves(values) if isinstance(t, Tensor))


class _Counter(TorchDispatchMode):
    """Adds every operation that touches memory to ``count``, unless paused."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count, self.paused = Count(), 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        allocates = "empty" in func.__name__ or "detach" in func.__name__
        if not self.paused and not func.is_view and not allocates:
            self.count.launches += 1
            self.count.bytes += _size((args, kwargs)) + _size(result)
        return result

    @contextmanager
    def primitive(self, name: str, *tensors: Any) -> Iterator[None]:
        """Count one call of a primitive instead of the operations inside the block."""
        if not self.paused:
            self.count.launches += TRITON_LAUNCHES[name]
            self.count.bytes += _size(tensors)
        self.paused += 1
        try:
            yield
        finally:
            self.paused -= 1


class CountingKernels(ReferenceKernels):
    """Plain PyTorch that is counted as if the Triton backend ran."""

    def __init__(self) -> None:
        self.counter = _Counter()

    def unit_forward(
        self, spec: UnitSpec, x: Tensor, norm: Norm | None, weights: Any, x_rows: Tensor,
        w_rows: Tensor, statistics: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
        """Count a unit: it reads its input and writes twice (depthwise stage and output)."""
        with self.counter.primitive("unit_forward", x):
            result = super().unit_forward(spec, x, norm, weights, x_rows, w_rows, statistics)
        self.counter.count.bytes += 5 * _size(result[0])
        return result

    def unit_backward(
        self, spec: UnitSpec, x: Tensor, norm: Norm | None, weights: Any, x_rows: Tensor,
        w_rows: Tensor, y: Tensor, upstream: Upstream, dx: Tensor, overwrite: bool, dweights: Any,
    ) -> Tensor | None:  # fmt: skip
        """Count a backward pass: upstream, depthwise stage and its gradient in memory."""
        with self.counter.primitive("unit_backward", 4 * [x], 2 * [dx], 9 * [y]):
            return super().unit_backward(
                spec, x, norm, weights, x_rows, w_rows, y, upstream, dx, overwrite, dweights
            )

    def pool_forward(
        self, kind: str, stride: int, x: Tensor, statistics: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Count a pooling."""
        with self.counter.primitive("pool_forward", x):
            result = super().pool_forward(kind, stride, x, statistics)
        self.counter.count.bytes += 3 * _size(result[0])
        return result

    def pool_backward(
        self, kind: str, stride: int, x: Tensor, y: Tensor, upstream: Upstream, dx: Tensor
    ) -> None:
        """Count a pooling's backward pass (PyTorch's, which runs the pooling again)."""
        with self.counter.primitive("pool_backward", 2 * [x], 5 * [y], 3 * [dx]):
            super().pool_backward(kind, stride, x, y, upstream, dx)

    def add_upstream(self, upstream: Upstream, dx: Tensor) -> None:
        """Count an identity's gradient."""
        with self.counter.primitive("add_upstream", upstream.g, 2 * [dx]):
            super().add_upstream(upstream, dx)

    def mix_forward(self, z: Tensor, entries: Entries, candidates: Any, out: Tensor) -> None:
        """Count a mix: every candidate once, the targets twice."""
        operands: list[Candidate] = list(candidates)
        with self.counter.primitive("mix_forward", [c.y for c in operands], 2 * [out]):
            super().mix_forward(z, entries, candidates, out)

    def mix_backward(
        self, z: Tensor, entries: Entries, candidates: Any, g: Tensor, dz: Tensor, dgammas: Any,
        dbetas: Any, batch_statistics: bool,
    ) -> list[Upstream]:  # fmt: skip
        """Count the inner products: every candidate once, and as much of the gradients."""
        operands: list[Candidate] = list(candidates)
        with self.counter.primitive("mix_backward", 2 * [c.y for c in operands]):
            return super().mix_backward(
                z, entries, candidates, g, dz, dgammas, dbetas, batch_statistics
            )

    def update_running(
        self, running: tuple[Tensor, Tensor, Tensor], mean: Tensor, var: Tensor, rows: Tensor,
        w_rows: Tensor, count: int,
    ) -> None:  # fmt: skip
        """Count an update of running statistics."""
        with self.counter.primitive("update_running", running, mean, var):
            super().update_running(running, mean, var, rows, w_rows, count)


def count_step(step: Callable[[], Any], kernels: CountingKernels | None = None) -> Count:
    """Return what ``step`` costs on paper.

    Args:
        step: A forward and backward pass, on CPU.
        kernels: The parent's kernels, for a fast parent; None counts every operation as it is.
    """
    counter = _Counter() if kernels is None else kernels.counter
    counter.count = Count()
    # Backward passes run on this thread, so that they are seen as well.
    with torch.autograd.set_multithreading_enabled(False), counter:
        step()
    return counter.count
