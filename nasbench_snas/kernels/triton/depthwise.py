"""Triton kernels of the convolutions of a source (formulas: :mod:`nasbench_snas.kernels.protocol`).

One launch serves all candidates: a program looks up in a table what its row is and branches to a
body whose kernel side and dilation are compile-time constants. A row of taps is unrolled; with all
rows unrolled, the loads of 5x5 and 7x7 taps would fill the registers. Tables are made once per plan
(``layout.py``); bit ``k`` of ``KINDS`` says whether kind ``k`` occurs at all. Kinds: 0 and 1
a 1x1 convolution's pixels (1: those of a factorised reduction's second half); 2 to 6 depthwise 3x3,
5x5, dilated 3x3, dilated 5x5, 7x7; 7 to 9 maximum, average, identity; 15 nothing (zeros).

A program works on one image (``B``) of one row, a block of its pixels and a block of its channels;
sums are in float32 (float64 for float64 inputs) whatever the type in memory. Row numbers are
int64, so that tensors may have more than 2^31 elements. Scalars are declared as float64:
undeclared, Triton hands them over in float32. ReLU is written so that NaN passes.

The kernels are checked against plain PyTorch in Triton's interpreter and compiled ahead of time for
several architectures. Neither proves anything about their speed on a GPU, where they have not been
measured.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def relu(x):  # type: ignore[no-untyped-def]
    """Return ``max(x, 0)``, NaN for NaN (``tl.maximum`` would return 0)."""
    return tl.where(x < 0.0, 0.0, x)


@triton.jit
def window(  # type: ignore[no-untyped-def]
    total, base, w_ptr, scale, shift, h, w, c, inside, H, W, C: tl.constexpr, K: tl.constexpr,
    D: tl.constexpr, ST: tl.constexpr, NORM: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return ``total + depthwise(relu(scale x + shift))`` of a strip of pixels ``(h, w)``."""
    for i in range(K):
        hi = h * ST + (i - K // 2) * D
        for j in tl.static_range(K):
            wj = w * ST + (j - K // 2) * D
            ok = ((wj >= 0) & (wj < W) & (hi >= 0) & (hi < H))[:, None] & inside[None, :]
            at = base + (hi * W + wj)[:, None] * C + c[None, :]
            value = tl.load(at, mask=ok, other=0.0).to(ACC)
            if NORM:
                value = tl.where(ok, value * scale[None, :] + shift[None, :], 0.0)
            tap = tl.load(w_ptr + (i * K + j) * C + c, mask=inside, other=0.0)
            total += relu(value) * tap.to(ACC)[None, :]
    return total


@triton.jit
def depthwise_forward(  # type: ignore[no-untyped-def]
    x_ptr, stats_ptr, addresses_ptr, like_ptr, jobs_ptr, d_ptr, B, H, W, HO, WO, C: tl.constexpr,
    ST: tl.constexpr, NORM: tl.constexpr, KINDS: tl.constexpr, ACC: tl.constexpr,
    BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One strip of one output row of one job: the input of its 1x1 convolution.

    ``jobs[g]`` holds the row of ``x`` (and of ``stats``), the kind, the unit, the row of its taps.
    """
    strip = tl.program_id(0)
    strips = tl.cdiv(WO, BW)
    h = (strip // strips) % HO
    b = (strip // (strips * HO)) % B
    g = (strip // (strips * HO * B)).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    w = (strip % strips) * BW + tl.arange(0, BW)
    inside = c < C
    row = tl.load(jobs_ptr + g * 4)
    kind = tl.load(jobs_ptr + g * 4 + 1)
    edge = tl.load(jobs_ptr + g * 4 + 3)
    taps_at = tl.load(addresses_ptr + tl.load(jobs_ptr + g * 4 + 2) * 8).to(like_ptr.dtype)
    base = x_ptr + (row * B + b) * H * W * C
    scale = tl.full((BC,), 1.0, ACC)
    shift = tl.zeros((BC,), ACC)
    if NORM:
        scale = tl.load(stats_ptr + (row * 5 + 3) * C + c, mask=inside, other=0.0)
        shift = tl.load(stats_ptr + (row * 5 + 4) * C + c, mask=inside, other=0.0)
    total = tl.zeros((BW, BC), ACC)
    if KINDS & 3:
        if kind < 2:
            offset = kind.to(tl.int32)
            hi = h * ST + offset
            wj = w * ST + offset
            ok = ((wj < W) & (hi < H))[:, None] & inside[None, :]
            value = tl.load(base + (hi * W + wj)[:, None] * C + c[None, :], mask=ok, other=0.0)
            value = value.to(ACC)
            if NORM:
                value = tl.where(ok, value * scale[None, :] + shift[None, :], 0.0)
            total = relu(value)
    if KINDS & 4:
        if kind == 2:
            total = window(total, base, taps_at + edge * 9 * C, scale, shift, h, w, c, inside,
                           H, W, C, 3, 1, ST, NORM, ACC)  # fmt: skip
    if KINDS & 8:
        if kind == 3:
            total = window(total, base, taps_at + edge * 25 * C, scale, shift, h, w, c, inside,
                           H, W, C, 5, 1, ST, NORM, ACC)  # fmt: skip
    if KINDS & 16:
        if kind == 4:
            total = window(total, base, taps_at + edge * 9 * C, scale, shift, h, w, c, inside,
                           H, W, C, 3, 2, ST, NORM, ACC)  # fmt: skip
    if KINDS & 32:
        if kind == 5:
            total = window(total, base, taps_at + edge * 25 * C, scale, shift, h, w, c, inside,
                           H, W, C, 5, 2, ST, NORM, ACC)  # fmt: skip
    if KINDS & 64:
        if kind == 6:
            total = window(total, base, taps_at + edge * 49 * C, scale, shift, h, w, c, inside,
                           H, W, C, 7, 1, ST, NORM, ACC)  # fmt: skip
    out = d_ptr + ((g * B + b) * HO + h) * WO * C + w[:, None] * C + c[None, :]
    tl.store(out, total.to(d_ptr.dtype.element_ty), mask=(w < WO)[:, None] & inside[None, :])


@triton.jit
def readers_of(  # type: ignore[no-untyped-def]
    total, base, w_ptr, h, w, c, inside, HO, WO, C: tl.constexpr, K: tl.constexpr,
    D: tl.constexpr, ST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return ``total`` plus the gradient that a strip of pixels gets from a depthwise output."""
    for i in range(K):
        up = h + (K // 2 - i) * D
        hi = up // ST
        good = (up >= 0) & (up % ST == 0) & (hi < HO)
        for j in tl.static_range(K):
            left = w + (K // 2 - j) * D
            wj = left // ST
            ok = (good & (left >= 0) & (left % ST == 0) & (wj < WO))[:, None] & inside[None, :]
            at = base + (hi * WO + wj)[:, None] * C + c[None, :]
            tap = tl.load(w_ptr + (i * K + j) * C + c, mask=inside, other=0.0)
            total += tl.load(at, mask=ok, other=0.0).to(ACC) * tap.to(ACC)[None, :]
    return total


@triton.jit
def pooled(  # type: ignore[no-untyped-def]
    total, base, index_base, largest, h, w, c, inside, H, W, HO, WO, C: tl.constexpr,
    ST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return ``total`` plus the gradient that a strip gets from a 3x3 pooling's output.

    A maximum goes to the pixel noted in ``index``; an average is over the pixels inside.
    """
    for i in range(3):
        up = h + 1 - i
        hi = up // ST
        good = (up >= 0) & (up % ST == 0) & (hi < HO)
        high = tl.minimum(hi * ST + 2, H) - tl.maximum(hi * ST - 1, 0)
        for j in tl.static_range(3):
            left = w + 1 - j
            wj = left // ST
            ok = (good & (left >= 0) & (left % ST == 0) & (wj < WO))[:, None] & inside[None, :]
            at = (hi * WO + wj)[:, None] * C + c[None, :]
            value = tl.load(base + at, mask=ok, other=0.0).to(ACC)
            place = tl.load(index_base + at, mask=ok & largest, other=0).to(tl.int32)
            wide = tl.minimum(wj * ST + 2, W) - tl.maximum(wj * ST - 1, 0)
            count = tl.maximum(high * wide, 1).to(ACC)
            share = tl.where(largest, value, value / count[:, None])
            total += tl.where(largest & (place != i * 3 + j), 0.0, share)
    return total


@triton.jit
def depthwise_input(  # type: ignore[no-untyped-def]
    d_ptr, up_ptr, index_ptr, x_ptr, stats_ptr, addresses_ptr, like_ptr, targets_ptr, readers_ptr,
    dx_ptr, sums_ptr, B, H, W, HO, WO, C: tl.constexpr, ST: tl.constexpr, NORM: tl.constexpr,
    KINDS: tl.constexpr, ADD: tl.constexpr, ACC: tl.constexpr, BW: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """One strip of ``dx``: through ReLU from all jobs that read the row, and from poolings and the
    identity; the norm's sums.

    ``targets[t]`` holds the row of ``x``, and the first and last of the ``readers``: the row of
    ``d`` (of ``up`` for poolings and identity), the kind, the unit (row of ``index``), the taps'
    row.
    """
    strip = tl.program_id(0)
    strips = tl.cdiv(W, BW)
    h = (strip // strips) % H
    b = (strip // (strips * H)) % B
    target = (strip // (strips * H * B)).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    w = (strip % strips) * BW + tl.arange(0, BW)
    inside = c < C
    keep = (w < W)[:, None] & inside[None, :]
    row = tl.load(targets_ptr + target * 4)
    total = tl.zeros((BW, BC), ACC)
    rest = tl.zeros((BW, BC), ACC)
    first = tl.load(targets_ptr + target * 4 + 1)
    last = tl.load(targets_ptr + target * 4 + 2)
    for reader in range(first, last):
        g = tl.load(readers_ptr + reader * 4)
        kind = tl.load(readers_ptr + reader * 4 + 1)
        unit = tl.load(readers_ptr + reader * 4 + 2)
        edge = tl.load(readers_ptr + reader * 4 + 3)
        base = d_ptr + (g * B + b) * HO * WO * C
        if KINDS & 3:
            if kind < 2:
                up = h - kind.to(tl.int32)
                left = w - kind.to(tl.int32)
                good = (up >= 0) & (up % ST == 0) & (up // ST < HO)
                ok = (good & (left >= 0) & (left % ST == 0) & (left // ST < WO))[:, None]
                at = base + (up // ST * WO + left // ST)[:, None] * C + c[None, :]
                total += tl.load(at, mask=ok & inside[None, :], other=0.0).to(ACC)
        if KINDS & 4:
            if kind == 2:
                taps = tl.load(addresses_ptr + unit * 8).to(like_ptr.dtype) + edge * 9 * C
                total = readers_of(total, base, taps, h, w, c, inside, HO, WO, C, 3, 1, ST, ACC)
        if KINDS & 8:
            if kind == 3:
                taps = tl.load(addresses_ptr + unit * 8).to(like_ptr.dtype) + edge * 25 * C
                total = readers_of(total, base, taps, h, w, c, inside, HO, WO, C, 5, 1, ST, ACC)
        if KINDS & 16:
            if kind == 4:
                taps = tl.load(addresses_ptr + unit * 8).to(like_ptr.dtype) + edge * 9 * C
                total = readers_of(total, base, taps, h, w, c, inside, HO, WO, C, 3, 2, ST, ACC)
        if KINDS & 32:
            if kind == 5:
                taps = tl.load(addresses_ptr + unit * 8).to(like_ptr.dtype) + edge * 25 * C
                total = readers_of(total, base, taps, h, w, c, inside, HO, WO, C, 5, 2, ST, ACC)
        if KINDS & 64:
            if kind == 6:
                taps = tl.load(addresses_ptr + unit * 8).to(like_ptr.dtype) + edge * 49 * C
                total = readers_of(total, base, taps, h, w, c, inside, HO, WO, C, 7, 1, ST, ACC)
        if KINDS & 384:
            if (kind == 7) | (kind == 8):
                rest = pooled(
                    rest, up_ptr + (g * B + b) * HO * WO * C,
                    index_ptr + (unit * B + b) * HO * WO * C, kind == 7, h, w, c, inside, H, W,
                    HO, WO, C, ST, ACC,
                )  # fmt: skip
        if KINDS & 512:
            if kind == 9:
                at = up_ptr + ((g * B + b) * H + h) * W * C + w[:, None] * C + c[None, :]
                rest += tl.load(at, mask=keep, other=0.0).to(ACC)
    inner = ((row * B + b) * H + h) * W * C + w[:, None] * C + c[None, :]
    x = tl.load(x_ptr + inner, mask=keep, other=0.0).to(ACC)
    u = x
    if NORM:
        scale = tl.load(stats_ptr + (row * 5 + 3) * C + c, mask=inside, other=0.0)
        shift = tl.load(stats_ptr + (row * 5 + 4) * C + c, mask=inside, other=0.0)
        u = x * scale[None, :] + shift[None, :]
    total = tl.where(u <= 0.0, 0.0, total)
    if NORM:
        mean = tl.load(stats_ptr + row * 5 * C + c, mask=inside, other=0.0)
        total = tl.where(keep, total, 0.0)
        centred = tl.where(keep, x - mean[None, :], 0.0)
        sums = sums_ptr + strip.to(tl.int64) * 2 * C + c
        tl.store(sums, tl.sum(total, 0), mask=inside)
        tl.store(sums + C, tl.sum(total * centred, 0), mask=inside)
    total += rest
    here = dx_ptr + ((target * B + b) * H + h) * W * C + w[:, None] * C + c[None, :]
    if ADD:
        total += tl.load(here, mask=keep, other=0.0).to(ACC)
    tl.store(here, total.to(dx_ptr.dtype.element_ty), mask=keep)


@triton.jit
def tap_sums(  # type: ignore[no-untyped-def]
    d_ptr, x_ptr, out_ptr, scale, shift, i, part, c, inside, B, H, W, HO, WO, LINES,
    C: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, D: tl.constexpr, ST: tl.constexpr,
    NORM: tl.constexpr, ACC: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Store row ``i`` of the taps' gradient over one part of the lines of a row's images."""
    j = tl.arange(0, KP)
    total = tl.zeros((KP, BC), ACC)
    for line in range(part * LINES, min((part + 1) * LINES, B * HO)):
        b = (line // HO).to(tl.int64)
        h = line % HO
        hi = h * ST + (i - K // 2) * D
        for start in range(0, WO, BW):
            w = start + tl.arange(0, BW)
            at = d_ptr + (b * HO + h) * WO * C + w[:, None] * C + c[None, :]
            d = tl.load(at, mask=(w < WO)[:, None] & inside[None, :], other=0.0).to(ACC)
            wj = w[None, :] * ST + (j[:, None] - K // 2) * D
            ok = (wj >= 0) & (wj < W) & (hi >= 0) & (hi < H) & (j < K)[:, None]
            good = ok[:, :, None] & inside[None, None, :]
            place = x_ptr + b * H * W * C + (hi * W + wj)[:, :, None] * C + c[None, None, :]
            x = tl.load(place, mask=good, other=0.0).to(ACC)
            if NORM:
                x = tl.where(good, x * scale[None, None, :] + shift[None, None, :], 0.0)
            total += tl.sum(relu(x) * d[None, :, :], 1)
    out = out_ptr + (i * K + j)[:, None] * C + c[None, :]
    tl.store(out, total, mask=(j < K)[:, None] & inside[None, :])


@triton.jit
def depthwise_taps(  # type: ignore[no-untyped-def]
    d_ptr, x_ptr, stats_ptr, lines_ptr, out_ptr, B, H, W, HO, WO, LINES, C: tl.constexpr,
    KK: tl.constexpr, ST: tl.constexpr, NORM: tl.constexpr, KINDS: tl.constexpr,
    ACC: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Partial sums of one row of taps of one job: ``out[g, part, tap, c]``.

    ``lines[l]`` holds the row of ``d`` and ``out``, the kind, which row of taps, the row of ``x``.
    """
    parts = tl.cdiv(B * HO, LINES)
    part = tl.program_id(0) % parts
    line = lines_ptr + (tl.program_id(0) // parts) * 4
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    g = tl.load(line)
    kind = tl.load(line + 1)
    i = tl.load(line + 2).to(tl.int32)
    row = tl.load(line + 3)
    scale = tl.full((BC,), 1.0, ACC)
    shift = tl.zeros((BC,), ACC)
    if NORM:
        scale = tl.load(stats_ptr + (row * 5 + 3) * C + c, mask=inside, other=0.0)
        shift = tl.load(stats_ptr + (row * 5 + 4) * C + c, mask=inside, other=0.0)
    d = d_ptr + g * B * HO * WO * C
    x = x_ptr + row * B * H * W * C
    out = out_ptr + (g * parts + part) * KK * C
    if KINDS & 4:
        if kind == 2:
            tap_sums(d, x, out, scale, shift, i, part, c, inside, B, H, W, HO, WO, LINES, C,
                     3, 4, 1, ST, NORM, ACC, BW, BC)  # fmt: skip
    if KINDS & 8:
        if kind == 3:
            tap_sums(d, x, out, scale, shift, i, part, c, inside, B, H, W, HO, WO, LINES, C,
                     5, 8, 1, ST, NORM, ACC, BW, BC)  # fmt: skip
    if KINDS & 16:
        if kind == 4:
            tap_sums(d, x, out, scale, shift, i, part, c, inside, B, H, W, HO, WO, LINES, C,
                     3, 4, 2, ST, NORM, ACC, BW, BC)  # fmt: skip
    if KINDS & 32:
        if kind == 5:
            tap_sums(d, x, out, scale, shift, i, part, c, inside, B, H, W, HO, WO, LINES, C,
                     5, 8, 2, ST, NORM, ACC, BW, BC)  # fmt: skip
    if KINDS & 64:
        if kind == 6:
            tap_sums(d, x, out, scale, shift, i, part, c, inside, B, H, W, HO, WO, LINES, C,
                     7, 8, 1, ST, NORM, ACC, BW, BC)  # fmt: skip
