"""A source's forward and backward pass in grouped launches.

Forward: weights of all jobs, poolings; for each stage the depthwise stage, one batched matrix
product, statistics (two launches); the mix. Backward: inner products and credits, the gradients of
all rows that the mix reads; for each stage, last to first, two products, taps, inputs, the inner
norms (two launches); the sums over jobs. What one launch does for which row is in the tables of a
:class:`~nasbench_snas.kernels.triton.layout.Layout`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.kernels.operands import MOMENTUM
from nasbench_snas.kernels.sources import Slots, Source
from nasbench_snas.kernels.triton import depthwise as kernels
from nasbench_snas.kernels.triton import mix, norms
from nasbench_snas.kernels.triton.dense import dense_backward, dense_forward
from nasbench_snas.kernels.triton.launch import (
    Launcher,
    accumulator,
    blocks,
    cdiv,
    power_of_2,
    strip,
    torch_type,
)
from nasbench_snas.kernels.triton.layout import Layout, Stage

PART = 4096
"""Values a channel that one program of the statistics reduces."""

LINES = 32
"""Image lines that one program of the taps' gradient reduces."""

INPUT = 512
"""Numbers in a block of the gradient of inputs, which has the most registers to fill."""

BLOCK = 256
"""Weights that one program copies or adds."""

PIXEL_PARTS, PIXELS = (64, 32, 16, 8, 4, 2, 1), 1024
"""Numbers of parts that the pixels of a job are divided into, and pixels of a part at least."""


@dataclass(frozen=True)
class Pass:
    """What all launches of a source's pass share.

    Attributes:
        launch: Launches kernels.
        source: The source.
        layout: Its tables.
        addresses: Addresses of the units' tensors, shape ``(units, 8)``.
        x: The source's node, shape ``(rows, B, H, W, C)``.
        y: Outputs, shape ``(rows, B, H', W', C')``.
        stats: Their statistics, shape ``(rows, 5, C')``.
        weights: 1x1 weights of all jobs, shape ``(jobs, C, C')``.
        index: Which pixel was the maximum, shape ``(poolings, B, H', W', C)``, uint8.
        points: For each stage, the inputs of its 1x1 convolutions, shape ``(jobs, B, H', W', C)``
            (empty without any), kept: fewer launches and bytes than computing them again.
    """

    launch: Launcher
    source: Source
    layout: Layout
    addresses: Tensor
    x: Tensor
    y: Tensor
    stats: Tensor
    weights: Tensor
    index: Tensor
    points: list[Tensor]

    @property
    def like(self) -> Tensor:
        """A tensor of the type of weights and running statistics, which is not that of ``x`` where
        activations are stored in 16 bits."""
        units = self.source.units
        return units[0].running[0] if units else self.stats

    @property
    def pixel_parts(self) -> int:
        """Parts of the pixels whose shares of the 1x1 weights' gradients are products of their own:
        a product for each job alone would leave most of a GPU idle."""
        values = self.y.shape[1] * self.y.shape[2] * self.y.shape[3]
        return next(p for p in PIXEL_PARTS if values % p == 0 and (values >= p * PIXELS or p == 1))

    @property
    def acc(self) -> Any:
        """Type of sums."""
        return accumulator(self.x)

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Batch, height and width of the source, height and width of the outputs."""
        return (*self.x.shape[1:4], *self.y.shape[2:4])

    def empty(self, *shape: int) -> Tensor:
        """Return a tensor of the type of sums."""
        return torch.empty(shape, dtype=torch_type(self.acc), device=self.x.device)

    def inputs(self, stage: Stage) -> Tensor:
        """Return the tensor that a stage reads."""
        return self.y if stage.normed else self.x


def new_pass(launch: Launcher, source: Source, layout: Layout, addresses: Tensor, x: Tensor,
             channels: int) -> Pass:  # fmt: skip
    """Return a pass with uninitialised outputs; ``channels`` is the number of output channels."""
    _, batch, height, width, c_in = x.shape
    size = (batch, (height - 1) // source.stride + 1, (width - 1) // source.stride + 1)
    kind = torch_type(accumulator(x))
    return Pass(
        launch, source, layout, addresses, x, x.new_empty((layout.rows, *size, channels)),
        torch.empty(layout.rows, 5, channels, dtype=kind, device=x.device),
        x.new_empty((layout.weights.shape[0], c_in, channels)),
        torch.empty(len(layout.pools), *size, channels, dtype=torch.uint8, device=x.device), [],
    )  # fmt: skip


def forward(
    run: Pass, z: Tensor, mask: Tensor | None, out: Tensor, add: bool, update: bool
) -> None:
    """Compute all rows and add them to ``out``; see ``SourceKernels.source_forward``."""
    layout, launch, channels = run.layout, run.launch, run.y.shape[-1]
    gathered = run.weights[0].numel() if run.weights.shape[0] else 0
    launch(
        norms.gather_weights, (layout.weights.shape[0], cdiv(gathered, BLOCK)), run.addresses,
        run.like, layout.weights, run.weights, gathered,
        moved=lambda: [run.weights, run.weights[:]], CO=channels, BM=BLOCK,
    )  # fmt: skip
    _pool(run)
    for stage in layout.stages:
        _stage_forward(run, stage, update)
    targets, batch, height, width, _ = out.shape
    wide, pixels = blocks(channels)
    grid = (targets * batch * cdiv(height * width, pixels), cdiv(channels, wide))
    launch(
        mix.mix_forward, grid, z, layout.entries, run.addresses, run.stats, run.like, layout.order,
        layout.starts, z if mask is None else mask, run.y, run.x, out, batch, height * width,
        moved=lambda: [*_mixed(run), out, *([out[:]] if add else [])], C=channels,
        TRAIN=run.source.training, MASK=mask is not None, ADD=add, ACC=run.acc, BP=pixels, BC=wide,
    )  # fmt: skip


def _mixed(run: Pass) -> list[Tensor]:
    """Return what the mix reads: the rows of the last units, poolings, identities."""
    identity = [run.x] if run.layout.gradient_rows > run.layout.rows else []
    return [run.y[: run.layout.mixed], *identity]


def _pool(run: Pass) -> None:
    """Compute all poolings, in one launch."""
    pools, first = run.layout.pools, run.layout.first_pool
    batch, height, width, out_h, out_w = run.sizes
    channels = run.y.shape[-1]
    wide, pixels = strip(channels, out_w)
    grid = (len(pools) * batch * out_h * cdiv(out_w, pixels), cdiv(channels, wide))
    run.launch(
        mix.pool_forward, grid, run.x, pools, run.y, run.index, batch, height, width, out_h, out_w,
        moved=lambda: [run.x, run.y[first : first + len(pools)], run.index], C=channels,
        ST=run.source.stride, ACC=run.acc, BW=pixels, BC=wide,
    )  # fmt: skip


def depthwise(run: Pass, stage: Stage) -> Tensor:
    """Return the inputs of a stage's 1x1 convolutions, shape ``(jobs, B, H', W', C)``."""
    x = run.inputs(stage)
    batch, height, width, channels = x.shape[1:]
    out_h, out_w = run.sizes[3:]
    d = x.new_empty((stage.jobs.shape[0], batch, out_h, out_w, channels))
    wide, pixels = strip(channels, out_w)
    grid = (len(d) * batch * out_h * cdiv(out_w, pixels), cdiv(channels, wide))
    run.launch(
        kernels.depthwise_forward, grid, x, run.stats, run.addresses, run.like, stage.jobs, d,
        batch, height, width, out_h, out_w, moved=lambda: [_read(run, stage), d], C=channels,
        ST=stage.stride, NORM=stage.normed, KINDS=stage.kinds & 127, ACC=run.acc, BW=pixels,
        BC=wide,
    )  # fmt: skip
    return d


def _read(run: Pass, stage: Stage) -> Tensor:
    """Return as many rows as a stage reads."""
    return run.y[: stage.inner.shape[0]] if stage.normed else run.x


def _stage_forward(run: Pass, stage: Stage, update: bool) -> None:
    """Compute a stage's rows and their statistics."""
    run.points.append(depthwise(run, stage) if stage.rows else run.x.new_empty(0))
    if stage.rows:
        d, y = run.points[-1].flatten(1, 3), run.y[stage.first :].flatten(1, 3)
        weights, half = run.weights[stage.base :], stage.rows - stage.second
        torch.bmm(d[: stage.rows], weights[: stage.rows], out=y[: stage.rows])
        if stage.second:
            y[half : stage.rows].baddbmm_(d[stage.rows :], weights[stage.rows : len(d)])
    for dense in stage.dense:
        dense_forward(dense, run.inputs(stage), _norm(run, stage), run.layout.units, run.y)
    values, channels = run.y[0].numel() // run.y.shape[-1] if len(run.y) else 1, run.y.shape[-1]
    parts, wide = cdiv(values, PART), blocks(channels)[0]
    moments = run.empty(0)
    if run.source.training and stage.counted:
        y = run.y[stage.first : stage.first + stage.counted]
        moments = run.empty(stage.counted, parts, 2, channels)
        run.launch(
            norms.part_moments, (stage.counted * parts, cdiv(channels, wide)), y, moments,
            values, PART, C=channels, ACC=run.acc, BN=blocks(channels)[1], BC=wide,
        )  # fmt: skip
    run.launch(
        norms.finish_moments, (stage.owners.shape[0], cdiv(channels, wide)), moments, run.stats,
        run.addresses, stage.owners, stage.updates, run.like, stage.first, parts, PART, values,
        values / max(1, values - 1), MOMENTUM, moved=lambda: [moments, run.stats[: stage.counted]],
        C=channels, TRAIN=run.source.training, UPDATE=update and run.source.training, ACC=run.acc,
        BC=wide,
    )  # fmt: skip


def _norm(run: Pass, stage: Stage) -> Tensor | None:
    """Return the statistics that norm a stage's inputs, or None."""
    return run.stats if stage.normed else None


def backward(
    run: Pass, z: Tensor, mask: Tensor | None, g: Tensor, dz: Tensor, dx: Tensor, overwrite: bool,
    slots: Slots | None, offsets: Tensor,
) -> None:  # fmt: skip
    """Compute all gradients; see ``SourceKernels.source_backward``.

    ``offsets`` holds the places of the units' taps, 1x1 weights, gamma and beta in ``slots``,
    shape ``(units, 4)``.
    """
    layout, launch = run.layout, run.launch
    up = run.y.new_empty((layout.gradient_rows, *run.y.shape[1:]))
    hat = run.empty(layout.hats, 2, run.y.shape[-1])
    _credits(run, z, mask, g, dz, up, hat)
    jobs, channels, c_out = run.weights.shape
    parts, pixel_parts = cdiv(run.sizes[0] * run.sizes[3], LINES), run.pixel_parts
    dw = run.weights.new_empty((jobs, pixel_parts, channels, c_out))
    taps = run.empty(jobs, parts, layout.taps, channels)
    for number, stage in reversed(list(enumerate(layout.stages))):
        own = slice(stage.base, stage.base + stage.jobs.shape[0])
        sums = (dw[own], taps[own], slots) if slots is not None else None
        _stage_backward(run, stage, run.points[number], up, hat, dx, overwrite, sums)
    if slots is None:
        return
    size, wide = channels * c_out, min(64, power_of_2(max(channels, c_out)))
    launch(
        norms.add_matrices, (layout.matrices.shape[0], cdiv(size, BLOCK)), dw, layout.matrices,
        layout.members, offsets, slots.flat, size, pixel_parts, moved=lambda: [dw, dw[:, 0]],
        CO=c_out, ACC=run.acc, BP=min(16, power_of_2(pixel_parts)), BM=BLOCK,
    )  # fmt: skip
    grid = (layout.vectors.shape[0], cdiv(max(channels, c_out), wide))
    launch(
        norms.add_vectors, grid, taps, hat, layout.vectors, layout.members, offsets, slots.flat,
        parts, moved=lambda: [taps, hat], C=channels, CO=c_out, KK=layout.taps, ACC=run.acc,
        BP=min(16, power_of_2(parts)), BC=wide,
    )  # fmt: skip


def _credits(
    run: Pass, z: Tensor, mask: Tensor | None, g: Tensor, dz: Tensor, up: Tensor, hat: Tensor
) -> None:
    """Set ``dz``, the entries' rows of ``hat``, and the rows of ``up`` that the mix reads."""
    layout, launch, acc, train = run.layout, run.launch, run.acc, run.source.training
    _, batch, height, width, channels = g.shape
    count, finals, wide, pixels = layout.entries.shape[0], layout.finals.shape[0], *blocks(channels)
    factors, masked, columns = z if mask is None else mask, mask is not None, cdiv(channels, wide)
    sums, every = run.empty(count, batch, 2, channels), power_of_2(channels)
    a, pr = run.empty(count, channels), run.empty(finals, 2, channels)
    launch(
        mix.mix_dots, (count * batch, columns), layout.entries, run.addresses, run.stats, run.like,
        factors,
        run.y, run.x, g, sums, batch, height * width, moved=lambda: [*_mixed(run), g, sums],
        C=channels, TRAIN=train, MASK=masked, ACC=acc, BP=pixels, BC=wide,
    )  # fmt: skip
    launch(
        mix.mix_credit, (finals,), z, layout.entries, run.addresses, run.stats, layout.finals,
        sums, run.like, dz, a, pr, hat, batch, batch * height * width,
        moved=lambda: [sums, a, pr, a[:], a[:]], C=channels, TRAIN=train, ACC=acc,
        BB=max(1, min(16, 1024 // every)), BC=every,
    )  # fmt: skip
    grid = (finals * batch * cdiv(height * width, pixels), columns)
    launch(
        mix.upstream_rows, grid, g, layout.entries, layout.finals, a, pr, factors, run.y, up, batch,
        height * width, moved=lambda: [g, *_mixed(run), up[:finals]], C=channels, MASK=masked,
        ACC=acc, BP=pixels, BC=wide,
    )  # fmt: skip


def _stage_backward(
    run: Pass, stage: Stage, points: Tensor, up: Tensor, hat: Tensor, dx: Tensor, overwrite: bool,
    sums: tuple[Tensor, Tensor, Slots] | None,
) -> None:  # fmt: skip
    """Send the gradients of a stage's rows to its inputs; sums for its weights if wanted."""
    rows, half, x = stage.rows, stage.rows - stage.second, run.inputs(stage)
    dd = x.new_empty((stage.jobs.shape[0], *up.shape[1:4], x.shape[-1]))
    if rows:
        own = up[stage.first : stage.first + rows].flatten(1, 3)
        weights, flat = run.weights[stage.base :].transpose(1, 2), dd.flatten(1, 3)
        torch.bmm(own, weights[:rows], out=flat[:rows])
        if stage.second:
            torch.bmm(own[half:], weights[rows : len(dd)], out=flat[rows:])
        if sums is not None:
            many = run.pixel_parts
            d = points.view(len(dd) * many, -1, x.shape[-1]).transpose(1, 2)
            split, dw = own.reshape(rows * many, -1, up.shape[-1]), sums[0].flatten(0, 1)
            torch.bmm(d[: rows * many], split, out=dw[: rows * many])
            if stage.second:
                torch.bmm(d[rows * many :], split[half * many :], out=dw[rows * many :])
            _taps(run, stage, dd, sums[1])
    if not stage.normed:
        _input(run, stage, dd, up, dx, run.empty(0), not overwrite)
        for dense in stage.dense:
            gradients = None if sums is None else sums[2]
            dx += dense_backward(dense, x, None, run.layout.units, up, gradients)
        return
    t = x.new_empty((stage.inner.shape[0], *x.shape[1:]))
    strips = x.shape[2] * cdiv(x.shape[3], strip(x.shape[-1], x.shape[3], INPUT)[1])
    parts = run.empty(len(t), x.shape[1] * strips, 2, x.shape[-1])
    _input(run, stage, dd, up, t, parts, False)
    for dense in stage.dense:
        gradients = None if sums is None else sums[2]
        rest = dense_backward(dense, x, run.stats, run.layout.units, up, gradients)
        chosen = slice(dense.target, dense.target + len(dense.x_rows))
        t[chosen] = rest[dense.x_rows]
        parts[chosen] = 0
        centred = x[dense.x_rows] - run.stats[dense.x_rows, 0][:, None, None, None]
        parts[chosen, 0, 0] = t[chosen].sum((1, 2, 3), dtype=parts.dtype)
        parts[chosen, 0, 1] = (t[chosen] * centred).sum((1, 2, 3), dtype=parts.dtype)
    _inner_norm(run, stage, t, parts, up, hat)


def _taps(run: Pass, stage: Stage, dd: Tensor, out: Tensor) -> None:
    """Set the partial sums of the taps' gradients, ``out[job, part, tap, c]``."""
    x = run.inputs(stage)
    batch, height, width, channels = x.shape[1:]
    out_h, out_w = dd.shape[2:4]
    wide = min(16, power_of_2(channels))
    kinds = stage.kinds & 124
    grid = (stage.lines.shape[0] * cdiv(batch * out_h, LINES), cdiv(channels, wide))
    run.launch(
        kernels.depthwise_taps, grid, dd, x, run.stats, stage.lines, out, batch, height, width,
        out_h, out_w, LINES, moved=lambda: [dd, _read(run, stage), out], C=channels,
        KK=run.layout.taps, ST=stage.stride, NORM=stage.normed, KINDS=kinds, ACC=run.acc,
        BW=8 if kinds & ~20 else 16, BC=wide,
    )  # fmt: skip


def _input(
    run: Pass, stage: Stage, dd: Tensor, up: Tensor, dx: Tensor, sums: Tensor, add: bool
) -> None:
    """Set or add to the gradients of a stage's inputs; set the partial sums for their norms."""
    x = run.inputs(stage)
    batch, height, width, channels = x.shape[1:]
    out_h, out_w = run.sizes[3:]
    wide, pixels = strip(channels, width, INPUT)
    strips = height * cdiv(width, pixels)
    grid = (stage.targets.shape[0] * batch * strips, cdiv(channels, wide))
    norm = stage.normed
    beside = 0 if norm else len(run.layout.pools)
    run.launch(
        kernels.depthwise_input, grid, dd, up, run.index, x, run.stats, run.addresses, run.like,
        stage.targets, stage.readers, dx, sums, batch, height, width, out_h, out_w,
        moved=lambda: [dd, _read(run, stage), dx, *([dx[:]] if add else []), sums,
                       up[:beside], run.index[:beside]], C=channels,
        ST=stage.stride, NORM=norm, KINDS=stage.kinds, ADD=add, ACC=run.acc, BW=pixels, BC=wide,
    )  # fmt: skip


def _inner_norm(run: Pass, stage: Stage, t: Tensor, sums: Tensor, up: Tensor, hat: Tensor) -> None:
    """Set the gradients of the outputs that a stage's inputs are the norms of.

    Args:
        run: The pass.
        stage: The stage.
        t: Gradients of the norms' outputs, shape ``(inputs, B, H, W, C)``.
        sums: Partial sums of ``t``, and of ``t`` times the centred outputs.
        up: Where the gradients of the outputs go.
        hat: Where the gradients of gamma and beta go, for each row.
    """
    channels, values = t.shape[-1], t[0].numel() // t.shape[-1]
    wide, pixels = blocks(channels)
    columns = cdiv(channels, wide)
    pr = run.empty(len(t), 2, channels)
    own = hat[stage.hats : stage.hats + len(t)]
    run.launch(
        norms.norm_sums, (len(t), columns), sums, run.stats, stage.inner, pr, own, sums.shape[1],
        values, moved=lambda: [sums, pr, own], C=channels, BATCH=run.source.training, ACC=run.acc,
        BN=max(16, min(128, 2048 // wide)), BC=wide,
    )  # fmt: skip
    run.launch(
        norms.norm_upstream, (len(t) * cdiv(values, pixels), columns), t, run.y, run.stats,
        stage.inner, pr, up, values, moved=lambda: [t, t[:], t[:]], C=channels, ACC=run.acc,
        BP=pixels, BC=wide,
    )  # fmt: skip
