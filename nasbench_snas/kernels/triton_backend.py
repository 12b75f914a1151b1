"""Backend ``triton``: the primitives on CUDA.

Depthwise stages, statistics, mix and sampling are Triton kernels (``triton_kernels.py``,
``triton_mix.py``); 1x1 convolutions are batched matrix products and dense ones PyTorch's. Nothing
is read back from the device, so that a step can be captured in a CUDA graph. Block sizes come from
:func:`blocks`; ``$NASBENCH_AUTOTUNE=1`` lets Triton measure alternatives instead. The speed on GPUs
has not been measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from nasbench_snas.kernels import triton_kernels as kernels
from nasbench_snas.kernels import triton_mix as mix
from nasbench_snas.kernels.protocol import (
    MOMENTUM,
    Candidate,
    Entries,
    Norm,
    UnitSpec,
    Upstream,
)
from nasbench_snas.kernels.reference import ReferenceKernels, pointwise

PART = 4096
"""Values a channel that one program of the statistics reduces."""

LINES = 32
"""Image lines that one program of the taps' gradient reduces."""


def blocks(channels: int) -> tuple[int, int]:
    """Return the blocks of channels (a power of two, at most 64) and of pixels: 1024 numbers."""
    wide = min(64, triton.next_power_of_2(channels))
    return wide, max(8, 1024 // wide)


def configurations() -> list[triton.Config]:
    """Return what autotuning tries: warps and stages (block sizes are given by the shape)."""
    return [
        triton.Config({}, num_warps=warps, num_stages=stages)
        for warps in (1, 2, 4, 8)
        for stages in (1, 2, 3)
    ]


class TritonKernels(ReferenceKernels):
    """The Triton kernels; see :class:`~nasbench_snas.kernels.protocol.Kernels`."""

    name = "triton"

    def __init__(self) -> None:
        self._tuned: dict[str, Any] = {}
        self._tune = bool(os.environ.get("NASBENCH_AUTOTUNE"))
        self._pinned: list[Tensor] = []

    def _launch(self, kernel: Any, restore: Sequence[str] = ()) -> Any:
        """Return ``kernel``, autotuned by shape if asked for; ``restore`` names what it adds to."""
        if not self._tune:
            return kernel
        name = kernel.__name__
        if name not in self._tuned:
            integers = [n for n in kernel.arg_names if n in ("C", "K", "D", "ST", "P", "N", "W")]
            tuner = triton.autotune(
                configurations(), key=integers, restore_value=list(restore) or None
            )
            self._tuned[name] = tuner(kernel)
        return self._tuned[name]

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance, both ``(G, C)``; two passes a part, then merged."""
        rows, channels = y.shape[0], y.shape[-1]
        values = y.numel() // (rows * channels)
        parts = -(-values // PART)
        acc = accumulator(y)
        out = torch.empty(rows, parts, 2, channels, dtype=torch_type(acc), device=y.device)
        wide, pixels = blocks(channels)
        grid = (rows * parts, triton.cdiv(channels, wide))
        self._launch(kernels.part_moments)[grid](
            y, out, values, PART, C=channels, ACC=acc, BN=pixels, BC=wide
        )
        mean, var = (y.new_empty((rows, channels)) for _ in range(2))
        kernels.merge_moments[(rows, triton.cdiv(channels, wide))](
            out, mean, var, parts, PART, values, C=channels, ACC=acc, BC=wide
        )
        return mean, var

    def _depthwise(
        self,
        spec: UnitSpec,
        x: Tensor,
        norm: Norm | None,
        w: Tensor,
        x_rows: Tensor,
        w_rows: Tensor,
    ) -> Tensor:
        """Return the depthwise stage's output, shape ``(G, B, H', W', C)``."""
        _, batch, height, width, channels = x.shape
        out_h, out_w = spec.size(height), spec.size(width)
        y = x.new_empty((len(x_rows), batch, out_h, out_w, channels))
        wide, pixels = blocks(channels)
        strip = min(pixels, triton.next_power_of_2(out_w))
        grid = (
            len(x_rows) * batch * out_h * triton.cdiv(out_w, strip),
            triton.cdiv(channels, wide),
        )
        scale, shift = (x, x) if norm is None else (norm.scale, norm.shift)
        self._launch(kernels.depthwise_forward)[grid](
            x, scale, shift, w, y, x_rows, w_rows, batch, height, width, out_h, out_w, C=channels,
            K=spec.kernel, D=spec.dilation, ST=spec.stride, NORM=norm is not None,
            ACC=accumulator(x), BW=strip, BC=wide,
        )  # fmt: skip
        return y

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
        if spec.kind != "depthwise":
            return super().unit_forward(spec, x, norm, weights, x_rows, w_rows, statistics)
        d = self._depthwise(spec, x, norm, weights[0], x_rows, w_rows)
        y = pointwise(d, weights[1][w_rows])
        return (y, *self.statistics(y)) if statistics else (y, None, None)

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
        if spec.kind != "depthwise":
            return super().unit_backward(
                spec, x, norm, weights, x_rows, w_rows, y, upstream, dx, overwrite, dweights
            )
        dy = self.gradient_of(upstream, y).flatten(1, 3)
        point = weights[1][w_rows]
        dd = torch.bmm(dy, point.transpose(1, 2)).view(*y.shape[:4], x.shape[-1])
        if dweights is not None:
            d = self._depthwise(spec, x, norm, weights[0], x_rows, w_rows).flatten(1, 3)
            dweights[1].index_add_(0, w_rows, torch.bmm(d.transpose(1, 2), dy))
            taps = self._taps(spec, x, norm, dd, x_rows)
            dweights[0].index_add_(0, w_rows, taps.to(dweights[0].dtype))
        return self._input(spec, x, norm, weights[0], x_rows, w_rows, dd, dx, overwrite)

    def _taps(
        self, spec: UnitSpec, x: Tensor, norm: Norm | None, dd: Tensor, x_rows: Tensor
    ) -> Tensor:
        """Return the gradient of the depthwise taps of every row, shape ``(G, k * k, C)``."""
        groups, batch, out_h, out_w, channels = dd.shape
        parts, acc = triton.cdiv(batch * out_h, LINES), accumulator(x)
        size = (groups, parts, spec.kernel * spec.kernel, channels)
        out = torch.empty(size, dtype=torch_type(acc), device=x.device)
        wide = min(16, triton.next_power_of_2(channels))
        scale, shift = (x, x) if norm is None else (norm.scale, norm.shift)
        grid = (groups * parts * spec.kernel, triton.cdiv(channels, wide))
        self._launch(kernels.depthwise_taps)[grid](
            dd, x, scale, shift, out, x_rows, batch, *x.shape[2:4], out_h, out_w, LINES,
            C=channels, K=spec.kernel, KP=4 if spec.kernel == 3 else 8, D=spec.dilation,
            ST=spec.stride, NORM=norm is not None, ACC=acc,
            BW=16 if spec.kernel == 3 else 8, BC=wide,
        )  # fmt: skip
        return out.sum(1)

    def _input(
        self, spec: UnitSpec, x: Tensor, norm: Norm | None, w: Tensor, x_rows: Tensor,
        w_rows: Tensor, dd: Tensor, dx: Tensor, overwrite: bool,
    ) -> Tensor | None:  # fmt: skip
        """Add the gradient of the depthwise stage's input to ``dx``; return the norm's sums."""
        rows, batch, height, width, channels = x.shape
        order = x_rows.argsort(stable=True)
        every = torch.arange(rows + 1, device=x.device)
        starts = torch.searchsorted(x_rows[order], every)
        wide, pixels = blocks(channels)
        strip, acc = min(pixels, triton.next_power_of_2(width)), accumulator(x)
        strips = height * triton.cdiv(width, strip)
        sums = torch.empty(
            (rows, batch * strips, 2, channels) if norm is not None else (1,),
            dtype=torch_type(acc), device=x.device,
        )  # fmt: skip
        scale, shift, mean = (x, x, x) if norm is None else (norm.scale, norm.shift, norm.mean)
        grid = (rows * batch * strips, triton.cdiv(channels, wide))
        self._launch(kernels.depthwise_input, ["dx_ptr"])[grid](
            dd, w, x, scale, shift, mean, dx, sums, order, starts, w_rows, batch, height, width,
            *dd.shape[2:4], C=channels, K=spec.kernel, D=spec.dilation, ST=spec.stride,
            NORM=norm is not None, ADD=not overwrite, ACC=acc, BW=strip, BC=wide,
        )  # fmt: skip
        return None if norm is None else sums.sum(1, dtype=torch.float64).transpose(0, 1)

    def gradient_of(self, upstream: Upstream, y: Tensor) -> Tensor:
        """Return the upstream gradient of ``y`` as a tensor."""
        out = torch.empty_like(y)
        self._upstream(upstream, y, out, add=False)
        return out

    def add_upstream(self, upstream: Upstream, dx: Tensor) -> None:
        """Add the gradient itself."""
        self._upstream(upstream, dx, dx, add=True)

    def _upstream(self, upstream: Upstream, y: Tensor, out: Tensor, add: bool) -> None:
        rows, batch, height, width, channels = out.shape
        wide, pixels = blocks(channels)
        p, r, mask = upstream.p, upstream.r, upstream.mask
        grid = (rows * batch * triton.cdiv(height * width, pixels), triton.cdiv(channels, wide))
        self._launch(mix.upstream_rows, ["out_ptr"])[grid](
            upstream.g, upstream.index, upstream.starts, upstream.a, y if p is None else p,
            y if r is None else r, y if mask is None else mask, y, out, batch, height * width,
            C=channels, MASK=mask is not None, SLOPE=p is not None, ADD=add, ACC=accumulator(y),
            BP=pixels, BC=wide,
        )  # fmt: skip

    def _addresses(self, candidates: Sequence[Candidate]) -> Tensor:
        """Return the candidates' addresses on the device, shape ``(candidates, 5)``."""
        lines = [
            [0 if t is None else t.data_ptr() for t in (c.y, c.mean, c.var, c.gamma, c.beta)]
            for c in candidates
        ]
        table = torch.tensor(lines)
        if candidates[0].y.device.type != "cuda":
            return table
        # A captured copy reads this host memory again at every replay: it has to stay.
        pinned = table.pin_memory()
        if torch.cuda.is_current_stream_capturing():
            self._pinned.append(pinned)
        return pinned.to(candidates[0].y.device, non_blocking=True)

    @staticmethod
    def _derived(entries: Entries, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name not in entries.cache:
            entries.cache[name] = make()
        found: Tensor = entries.cache[name]
        return found

    def mix_forward(
        self, z: Tensor, entries: Entries, candidates: Sequence[Candidate], out: Tensor
    ) -> None:
        """Add all entries to their targets, in one launch."""
        targets, batch, height, width, channels = out.shape
        column = entries.table[:, 3]
        order = self._derived(entries, "order", lambda: column.argsort(stable=True))
        every = torch.arange(targets + 1, device=out.device)
        starts = self._derived(
            entries, "by target", lambda: torch.searchsorted(column[order], every)
        )
        wide, pixels = blocks(channels)
        grid = (targets * batch * triton.cdiv(height * width, pixels), triton.cdiv(channels, wide))
        mask = entries.mask
        self._launch(mix.mix_forward, ["out_ptr"])[grid](
            z, entries.table, self._addresses(candidates), order, starts,
            z if mask is None else mask, out, batch, height * width, C=channels,
            MASK=mask is not None, ACC=accumulator(out), BP=pixels, BC=wide,
        )  # fmt: skip

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
        """Add small gradients; return each candidate's upstream gradient. Two launches."""
        _, batch, height, width, channels = g.shape
        table, mask, acc = entries.table, entries.mask, accumulator(g)
        count, kind = table.shape[0], torch_type(acc)
        wide, pixels = blocks(channels)
        addresses = self._addresses(candidates)
        sums = torch.empty(count, batch, 2, channels, dtype=kind, device=g.device)
        self._launch(mix.mix_dots)[(count * batch, triton.cdiv(channels, wide))](
            table, addresses, g if mask is None else mask, g, sums, batch, height * width,
            C=channels, MASK=mask is not None, ACC=acc, BP=pixels, BC=wide,
        )  # fmt: skip
        starts = self._derived(entries, "rows", lambda: _row_starts(entries))
        rows = len(starts) - 1
        a, hat = (torch.empty(*size, channels, dtype=kind, device=g.device)
                  for size in ((count,), (count, 2)))  # fmt: skip
        p, r = (torch.empty(rows, channels, dtype=kind, device=g.device) for _ in range(2))
        mix.mix_credit[(rows,)](
            z, table, addresses, starts, sums, g, dz, a, p, r, hat, batch,
            batch * height * width, C=channels, BATCH=batch_statistics, ACC=acc, BC=wide,
        )  # fmt: skip
        return self._split(entries, candidates, z, g, (a, p, r, hat), dgammas, dbetas,
                           batch_statistics)  # fmt: skip

    @staticmethod
    def _split(
        entries: Entries, candidates: Sequence[Candidate], z: Tensor, g: Tensor,
        results: tuple[Tensor, Tensor, Tensor, Tensor], dgammas: Sequence[Tensor | None],
        dbetas: Sequence[Tensor | None], batch_statistics: bool,
    ) -> list[Upstream]:  # fmt: skip
        """Return the upstream gradients of the candidates; add the learnt norms' gradients."""
        a, p, r, hat = results
        target = entries.table[:, 3].contiguous()
        upstreams, entry, row = [], 0, 0
        for number, candidate in enumerate(candidates):
            here = slice(entry, entry + entries.counts[number])
            rows = slice(row, row + len(entries.starts[number]) - 1)
            normed = batch_statistics and candidate.mean is not None
            dgamma, dbeta = dgammas[number], dbetas[number]
            if dgamma is not None and dbeta is not None:
                line = entries.table[here]
                weight = z[line[:, 4]][:, None]
                dgamma.index_add_(0, line[:, 5], (weight * hat[here, 0]).to(dgamma.dtype))
                dbeta.index_add_(0, line[:, 5], (weight * hat[here, 1]).to(dbeta.dtype))
            upstreams.append(
                Upstream(
                    g,
                    target[here],
                    entries.starts[number],
                    a[here],
                    p[rows] if normed else None,
                    r[rows] if normed else None,
                    None if entries.mask is None else entries.mask[here],
                )  # fmt: skip
            )
            entry, row = here.stop, rows.stop
        return upstreams

    def update_running(
        self,
        running: tuple[Tensor, Tensor, Tensor],
        mean: Tensor,
        var: Tensor,
        rows: Tensor,
        w_rows: Tensor,
        count: int,
    ) -> None:
        """Update running statistics row by row, in one launch: nothing is read back."""
        edges, channels = running[0].shape
        wide, _ = blocks(channels)
        kernels.update_running[(edges, triton.cdiv(channels, wide))](
            *running, mean, var, rows, w_rows, len(rows), count / (count - 1), MOMENTUM,
            C=channels, ACC=accumulator(mean), BC=wide,
        )  # fmt: skip

    def concrete_forward(self, logits: Tensor, noise: Tensor, tau: float) -> Tensor:
        """Return the concrete sample, in one launch."""
        z, k = noise.new_empty(noise.shape), noise.shape[-1]
        rows, period = noise.numel() // k, logits.numel() // k
        kernels.concrete_forward[(triton.cdiv(rows, 16),)](
            logits.contiguous(), noise.contiguous(), z, rows, period, tau, K=k,
            ACC=accumulator(noise), BR=16, BK=triton.next_power_of_2(k),
        )  # fmt: skip
        return z

    def concrete_backward(self, z: Tensor, g: Tensor, tau: float) -> Tensor:
        """Return the gradient of ``logits + noise``, in one launch."""
        d, k = z.new_empty(z.shape), z.shape[-1]
        rows = z.numel() // k
        kernels.concrete_backward[(triton.cdiv(rows, 16),)](
            z.contiguous(), g.contiguous(), d, rows, tau, K=k, ACC=accumulator(z), BR=16,
            BK=triton.next_power_of_2(k),
        )  # fmt: skip
        return d


def accumulator(x: Tensor) -> Any:
    """Return the type in which sums over ``x`` are taken."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def torch_type(acc: Any) -> torch.dtype:
    """Return torch's name of an accumulator type."""
    return torch.float64 if acc == tl.float64 else torch.float32


def _row_starts(entries: Entries) -> Tensor:
    """Return the first entry of every row of every candidate, and the end."""
    offsets, total = [], 0
    for starts, count in zip(entries.starts, entries.counts, strict=True):
        offsets.append(starts[:-1] + total)
        total += count
    return torch.cat([*offsets, entries.starts[-1][-1:] + total - entries.counts[-1]])
