"""Backend ``cpu``: the primitives in C++ (``*.cpp``, ``*.h`` here), compiled at first use by
``build.py``.

Float32 and float64, any number of channels and any size. Convolutions in two dense steps
(``conv_7x1_1x7``) go to PyTorch's own. For the formulas see :mod:`nasbench_snas.kernels.protocol`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from nasbench_snas.kernels.cpu import build
from nasbench_snas.kernels.operands import MOMENTUM, Candidate, Entries, Norm, UnitSpec, Upstream
from nasbench_snas.kernels.reference import ReferenceKernels, targets_of

_KINDS = {"depthwise": 0, "point": 1, "shifted": 2, "dense": 3}
OPERATION_ROLES = {"zero": 0, "skip": 1, "pool": 2, "conv": 3}
"""What the compiled module calls the kinds of operations of a cell."""


def compiled_spec(spec: UnitSpec) -> tuple[int, int, int, int] | None:
    """Return kind, side, dilation and stride as the compiled module wants them.

    None if it has no such unit: of dense convolutions it has single square ones.
    """
    if spec.kind != "dense":
        return _KINDS[spec.kind], spec.kernel, spec.dilation, spec.stride
    conv = spec.convs[0]
    strided = spec.stride == 1 or all(conv.strided)
    if len(spec.convs) > 1 or conv.depthwise or conv.kernel[0] != conv.kernel[1] or not strided:
        return None
    return _KINDS["dense"], conv.kernel[0], conv.dilation, spec.stride


class CpuKernels(ReferenceKernels):
    """The compiled kernels; see :class:`~nasbench_snas.kernels.protocol.Kernels`.

    Args:
        compiled: The module that ``build.load_cpu_kernels`` returns; kept as ``module``.
    """

    name = "cpu"

    def __init__(self, compiled: Any) -> None:
        self.module = compiled

    def __reduce__(self) -> tuple[Callable[[], CpuKernels], tuple[()]]:
        """Copies and pickles load the compiled module again: a module cannot be copied."""
        return _loaded, ()

    def _upstream(self, upstream: Upstream) -> Any:
        return self.module.Upstream(
            upstream.g, upstream.index, upstream.starts, upstream.a, upstream.p, upstream.r,
            upstream.mask,
        )  # fmt: skip

    @staticmethod
    def _norms(candidates: Sequence[Candidate]) -> list[list[Tensor | None]]:
        return [[c.mean, c.var, c.gamma, c.beta] for c in candidates]

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance, both ``(G, C)``; two passes a part, merged pairwise."""
        result: tuple[Tensor, Tensor] = self.module.statistics(y)
        return result

    def unit_forward(
        self,
        spec: UnitSpec,
        x: Tensor,
        norm: Norm | None,
        weights: Sequence[Tensor],
        x_rows: Tensor,
        w_rows: Tensor,
        statistics: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return ``y`` and its statistics."""
        compiled = compiled_spec(spec)
        if compiled is None:
            return super().unit_forward(spec, x, norm, weights, x_rows, w_rows, statistics)
        result: tuple[Tensor, Tensor | None, Tensor | None] = self.module.unit_forward(
            *compiled, x, norm and norm.scale, norm and norm.shift, weights, x_rows, w_rows,
            statistics,
        )  # fmt: skip
        return result

    def unit_backward(
        self,
        spec: UnitSpec,
        x: Tensor,
        norm: Norm | None,
        weights: Sequence[Tensor],
        x_rows: Tensor,
        w_rows: Tensor,
        y: Tensor,
        upstream: Upstream,
        dx: Tensor,
        overwrite: bool,
        dweights: Sequence[Tensor] | None,
    ) -> Tensor | None:
        """Add gradients; return the sums for the norm before the unit."""
        compiled = compiled_spec(spec)
        if compiled is None:
            return super().unit_backward(
                spec, x, norm, weights, x_rows, w_rows, y, upstream, dx, overwrite, dweights
            )
        sums: Tensor | None = self.module.unit_backward(
            *compiled, x, norm and norm.scale, norm and norm.shift, norm and norm.mean, weights,
            x_rows, w_rows, y, self._upstream(upstream), dx, overwrite, dweights or [],
        )  # fmt: skip
        return sums

    def norm_forward(
        self, mean: Tensor, var: Tensor, gamma: Tensor | None, beta: Tensor | None, rows: Tensor
    ) -> Norm:
        """Return a batch norm as scale and shift."""
        scale, shift, inverse = self.module.norm_forward(mean, var, gamma, beta, rows)
        return Norm(scale, shift, mean, inverse)

    def norm_backward(
        self,
        norm: Norm,
        sums: Tensor,
        rows: Tensor,
        dgamma: Tensor | None,
        dbeta: Tensor | None,
        values: int,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Add small gradients; return ``p`` and ``r``."""
        result: tuple[Tensor | None, Tensor | None] = self.module.norm_backward(
            norm.scale, norm.mean, norm.inverse, sums, rows, dgamma, dbeta, values
        )
        return result

    def pool_forward(
        self, kind: str, stride: int, x: Tensor, statistics: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the pooling and its statistics."""
        result: tuple[Tensor, Tensor | None, Tensor | None] = self.module.pool_forward(
            kind == "max", stride, x, statistics
        )
        return result

    def pool_backward(
        self, kind: str, stride: int, x: Tensor, y: Tensor, upstream: Upstream, dx: Tensor
    ) -> None:
        """Add the gradient of the pooling's input."""
        self.module.pool_backward(kind == "max", stride, x, y, self._upstream(upstream), dx)

    def add_upstream(self, upstream: Upstream, dx: Tensor) -> None:
        """Add the gradient itself."""
        self.module.add_upstream(self._upstream(upstream), dx)

    def mix_forward(
        self, z: Tensor, entries: Entries, candidates: Sequence[Candidate], out: Tensor
    ) -> None:
        """Add all entries to their targets."""
        ys = [candidate.y for candidate in candidates]
        self.module.mix_forward(z, entries.table, entries.mask, ys, self._norms(candidates), out)

    def mix_backward(
        self,
        z: Tensor,
        entries: Entries,
        candidates: Sequence[Candidate],
        g: Tensor,
        dz: Tensor,
        dgammas: Sequence[Tensor | None],
        dbetas: Sequence[Tensor | None],
        batch_statistics: bool,
    ) -> list[Upstream]:
        """Add small gradients; return each candidate's upstream gradient."""
        ys = [candidate.y for candidate in candidates]
        factors = self.module.mix_backward(
            z, entries.table, entries.mask, ys, self._norms(candidates), g, dz, dgammas, dbetas,
            entries.counts, batch_statistics,
        )  # fmt: skip
        nothing = (None,) * len(ys)
        masks = nothing if entries.mask is None else entries.mask.split(entries.counts)
        parts = zip(targets_of(entries), entries.starts, factors, masks, strict=True)
        return [
            Upstream(g, index, starts, a, p, r, mask) for index, starts, (a, p, r), mask in parts
        ]

    def update_running(
        self,
        running: tuple[Tensor, Tensor, Tensor],
        mean: Tensor,
        var: Tensor,
        rows: Tensor,
        w_rows: Tensor,
        count: int,
    ) -> None:
        """Update running statistics one row after another."""
        self.module.update_running(*running, mean, var, rows, w_rows, count, MOMENTUM)

    def concrete_forward(self, logits: Tensor, noise: Tensor, tau: float) -> Tensor:
        """Return the concrete sample."""
        z: Tensor = self.module.concrete_forward(logits.contiguous(), noise.contiguous(), tau)
        return z

    def concrete_backward(self, z: Tensor, g: Tensor, tau: float) -> Tensor:
        """Return the gradient of ``logits + noise``."""
        d: Tensor = self.module.concrete_backward(z.contiguous(), g.contiguous(), tau)
        return d


def _loaded() -> CpuKernels:
    return CpuKernels(build.load_cpu_kernels())
