"""Triton kernels of the primitives (formulas: :mod:`nasbench_snas.kernels.protocol`).

A program works on one image (``B``) of one row, a block of its pixels and a block of its channels;
sums are in float32 (float64 for float64 inputs) whatever the type in memory. Scalars are declared
as float64: undeclared, Triton hands them over in float32. ReLU is written so that NaN passes.
Pointers of the candidates come as a table of addresses, so that a whole mix is one launch.

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
def depthwise_forward(  # type: ignore[no-untyped-def]
    x_ptr, scale_ptr, shift_ptr, w_ptr, y_ptr, x_rows_ptr, w_rows_ptr, B, H, W, HO, WO,
    C: tl.constexpr, K: tl.constexpr, D: tl.constexpr, ST: tl.constexpr, NORM: tl.constexpr,
    ACC: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One strip of one output row: ``y = depthwise(relu(scale x + shift))``."""
    strip = tl.program_id(0)
    strips = tl.cdiv(WO, BW)
    h = (strip // strips) % HO
    b = (strip // (strips * HO)) % B
    g = strip // (strips * HO * B)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    w = (strip % strips) * BW + tl.arange(0, BW)
    row = tl.load(x_rows_ptr + g)
    edge = tl.load(w_rows_ptr + g)
    base = x_ptr + (row * B + b) * H * W * C
    inside = c < C
    scale = tl.full((BC,), 1.0, ACC)
    shift = tl.zeros((BC,), ACC)
    if NORM:
        scale = tl.load(scale_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
        shift = tl.load(shift_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
    total = tl.zeros((BW, BC), ACC)
    for i in tl.static_range(K):
        hi = h * ST + (i - K // 2) * D
        for j in tl.static_range(K):
            wj = w * ST + (j - K // 2) * D
            ok = ((wj >= 0) & (wj < W) & (hi >= 0) & (hi < H))[:, None] & inside[None, :]
            at = base + (hi * W + wj)[:, None] * C + c[None, :]
            value = tl.load(at, mask=ok, other=0.0).to(ACC)
            value = tl.where(ok, relu(value * scale[None, :] + shift[None, :]), 0.0)
            tap = tl.load(w_ptr + (edge * K * K + i * K + j) * C + c, mask=inside, other=0.0)
            total += value * tap.to(ACC)[None, :]
    out = y_ptr + ((g * B + b) * HO * WO + h * WO + w)[:, None] * C + c[None, :]
    tl.store(out, total.to(y_ptr.dtype.element_ty), mask=(w < WO)[:, None] & inside[None, :])


@triton.jit
def depthwise_input(  # type: ignore[no-untyped-def]
    d_ptr, w_ptr, x_ptr, scale_ptr, shift_ptr, mean_ptr, dx_ptr, sums_ptr, order_ptr, starts_ptr,
    w_rows_ptr, B, H, W, HO, WO, C: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
    ST: tl.constexpr, NORM: tl.constexpr, ADD: tl.constexpr, ACC: tl.constexpr, BW: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """One strip of ``dx`` through ReLU, over all outputs that read the row; the norm's sums."""
    strip = tl.program_id(0)
    strips = tl.cdiv(W, BW)
    h = (strip // strips) % H
    b = (strip // (strips * H)) % B
    row = strip // (strips * H * B)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    w = (strip % strips) * BW + tl.arange(0, BW)
    inside = c < C
    total = tl.zeros((BW, BC), ACC)
    first = tl.load(starts_ptr + row)
    last = tl.load(starts_ptr + row + 1)
    for position in range(first, last):
        g = tl.load(order_ptr + position)
        edge = tl.load(w_rows_ptr + g)
        base = d_ptr + (g * B + b) * HO * WO * C
        for i in tl.static_range(K):
            up = h + (K // 2 - i) * D
            hi = up // ST
            good = (up >= 0) & (up % ST == 0) & (hi < HO)
            for j in tl.static_range(K):
                left = w + (K // 2 - j) * D
                wj = left // ST
                ok = (good & (left >= 0) & (left % ST == 0) & (wj < WO))[:, None] & inside[None, :]
                at = base + (hi * WO + wj)[:, None] * C + c[None, :]
                value = tl.load(at, mask=ok, other=0.0).to(ACC)
                tap = tl.load(w_ptr + (edge * K * K + i * K + j) * C + c, mask=inside, other=0.0)
                total += value * tap.to(ACC)[None, :]
    here = ((row * B + b) * H * W + h * W + w)[:, None] * C + c[None, :]
    keep = (w < W)[:, None] & inside[None, :]
    x = tl.load(x_ptr + here, mask=keep, other=0.0).to(ACC)
    u = x
    if NORM:
        scale = tl.load(scale_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
        shift = tl.load(shift_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
        u = x * scale[None, :] + shift[None, :]
    total = tl.where(u <= 0.0, 0.0, total)
    if NORM:
        mean = tl.load(mean_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
        total = tl.where(keep, total, 0.0)
        centred = tl.where(keep, x - mean[None, :], 0.0)
        tl.store(sums_ptr + (strip * 2) * C + c, tl.sum(total, 0), mask=inside)
        tl.store(sums_ptr + (strip * 2 + 1) * C + c, tl.sum(total * centred, 0), mask=inside)
    if ADD:
        total += tl.load(dx_ptr + here, mask=keep, other=0.0).to(ACC)
    tl.store(dx_ptr + here, total.to(dx_ptr.dtype.element_ty), mask=keep)


@triton.jit
def depthwise_taps(  # type: ignore[no-untyped-def]
    d_ptr, x_ptr, scale_ptr, shift_ptr, out_ptr, x_rows_ptr, B, H, W, HO, WO, LINES,
    C: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, D: tl.constexpr, ST: tl.constexpr,
    NORM: tl.constexpr, ACC: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Partial sums of a row of taps over ``LINES`` lines of images: ``out[g, part, i, j, c]``."""
    program = tl.program_id(0)
    i = program % K
    parts = tl.cdiv(B * HO, LINES)
    part = (program // K) % parts
    g = program // (K * parts)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    j = tl.arange(0, KP)
    row = tl.load(x_rows_ptr + g)
    inside = c < C
    scale = tl.full((BC,), 1.0, ACC)
    shift = tl.zeros((BC,), ACC)
    if NORM:
        scale = tl.load(scale_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
        shift = tl.load(shift_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
    total = tl.zeros((KP, BC), ACC)
    for line in range(part * LINES, min((part + 1) * LINES, B * HO)):
        b = line // HO
        h = line % HO
        hi = h * ST + (i - K // 2) * D
        for start in range(0, WO, BW):
            w = start + tl.arange(0, BW)
            at = ((g * B + b) * HO * WO + h * WO + w)[:, None] * C + c[None, :]
            d = tl.load(d_ptr + at, mask=(w < WO)[:, None] & inside[None, :], other=0.0).to(ACC)
            wj = w[None, :] * ST + (j[:, None] - K // 2) * D
            ok = (wj >= 0) & (wj < W) & (hi >= 0) & (hi < H) & (j < K)[:, None]
            good = ok[:, :, None] & inside[None, None, :]
            place = ((row * B + b) * H * W + hi * W + wj)[:, :, None] * C + c[None, None, :]
            x = tl.load(x_ptr + place, mask=good, other=0.0).to(ACC)
            x = tl.where(good, relu(x * scale[None, None, :] + shift[None, None, :]), 0.0)
            total += tl.sum(x * d[None, :, :], 1)
    out = out_ptr + (((g * parts + part) * K + i) * K + j)[:, None] * C + c[None, :]
    tl.store(out, total, mask=(j < K)[:, None] & inside[None, :])


@triton.jit
def part_moments(  # type: ignore[no-untyped-def]
    y_ptr, out_ptr, N, PART, C: tl.constexpr, ACC: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Mean and sum of squares about it of one part of a row: ``out[part, 2, C]``, in two passes."""
    part = tl.program_id(0)
    parts = tl.cdiv(N, PART)
    row = part // parts
    first = (part % parts) * PART
    last = min(first + PART, N)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    base = y_ptr + row * N * C
    total = tl.zeros((BC,), ACC)
    for start in range(first, last, BN):
        n = start + tl.arange(0, BN)
        ok = (n < last)[:, None] & inside[None, :]
        total += tl.sum(tl.load(base + n[:, None] * C + c[None, :], mask=ok, other=0.0).to(ACC), 0)
    mean = total / (last - first)
    squares = tl.zeros((BC,), ACC)
    for start in range(first, last, BN):
        n = start + tl.arange(0, BN)
        ok = (n < last)[:, None] & inside[None, :]
        y = tl.load(base + n[:, None] * C + c[None, :], mask=ok, other=0.0).to(ACC)
        centred = tl.where(ok, y - mean[None, :], 0.0)
        squares += tl.sum(centred * centred, 0)
    tl.store(out_ptr + (part * 2) * C + c, mean, mask=inside)
    tl.store(out_ptr + (part * 2 + 1) * C + c, squares, mask=inside)


@triton.jit
def concrete_forward(  # type: ignore[no-untyped-def]
    logits_ptr, noise_ptr, z_ptr, ROWS, PERIOD, tau: tl.float64, K: tl.constexpr,
    ACC: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """``softmax((logits + noise) / tau)`` of ``BR`` rows; logits repeat with ``PERIOD``."""
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    k = tl.arange(0, BK)
    ok = (r < ROWS)[:, None] & (k < K)[None, :]
    at = r[:, None] * K + k[None, :]
    logits = tl.load(logits_ptr + (r % PERIOD)[:, None] * K + k[None, :], mask=ok, other=0.0)
    noise = tl.load(noise_ptr + at, mask=ok, other=0.0)
    score = ((logits.to(ACC) + noise.to(ACC)) / tau).to(ACC)
    score = tl.where(ok, score, float("-inf"))
    top = tl.max(score, 1)
    top = tl.where(r < ROWS, top, 0.0)
    power = tl.where(ok, tl.exp(score - top[:, None]), 0.0)
    z = power / tl.where(r < ROWS, tl.sum(power, 1), 1.0)[:, None]
    tl.store(z_ptr + at, z.to(z_ptr.dtype.element_ty), mask=ok)


@triton.jit
def concrete_backward(  # type: ignore[no-untyped-def]
    z_ptr, g_ptr, d_ptr, ROWS, tau: tl.float64, K: tl.constexpr, ACC: tl.constexpr,
    BR: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """``z (g - <g, z>) / tau`` of ``BR`` rows."""
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    k = tl.arange(0, BK)
    ok = (r < ROWS)[:, None] & (k < K)[None, :]
    at = r[:, None] * K + k[None, :]
    z = tl.load(z_ptr + at, mask=ok, other=0.0).to(ACC)
    g = tl.load(g_ptr + at, mask=ok, other=0.0).to(ACC)
    d = z * (g - tl.sum(z * g, 1)[:, None]) / tau
    tl.store(d_ptr + at, d.to(d_ptr.dtype.element_ty), mask=ok)


@triton.jit
def merge_moments(  # type: ignore[no-untyped-def]
    parts_ptr, mean_ptr, var_ptr, PARTS, PART, N, C: tl.constexpr, ACC: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """Merge the parts' moments of one row (Chan et al. 1983) into mean and biased variance."""
    row = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    mean = tl.zeros((BC,), ACC)
    squares = tl.zeros((BC,), ACC)
    for part in range(0, PARTS):
        at = parts_ptr + ((row * PARTS + part) * 2) * C + c
        delta = tl.load(at, mask=inside, other=0.0) - mean
        size = min(PART, N - part * PART)
        share = delta * size / (part * PART + size)
        squares += tl.load(at + C, mask=inside, other=0.0) + delta * share * (part * PART)
        mean += share
    tl.store(mean_ptr + row * C + c, mean.to(mean_ptr.dtype.element_ty), mask=inside)
    tl.store(var_ptr + row * C + c, (squares / N).to(var_ptr.dtype.element_ty), mask=inside)


@triton.jit
def update_running(  # type: ignore[no-untyped-def]
    mean_ptr, var_ptr, batches_ptr, new_mean_ptr, new_var_ptr, rows_ptr, w_rows_ptr, U,
    unbiased: tl.float64, momentum: tl.float64, C: tl.constexpr, ACC: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """Move one edge's running statistics by the ``U`` updates that are its own, in order."""
    edge = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    here = edge * C + c
    mean = tl.load(mean_ptr + here, mask=inside, other=0.0).to(ACC)
    var = tl.load(var_ptr + here, mask=inside, other=0.0).to(ACC)
    batches = tl.load(batches_ptr + edge)
    for i in range(0, U):
        mine = tl.load(w_rows_ptr + i) == edge
        at = tl.load(rows_ptr + i) * C + c
        new_mean = tl.load(new_mean_ptr + at, mask=inside, other=0.0).to(ACC)
        new_var = tl.load(new_var_ptr + at, mask=inside, other=0.0).to(ACC)
        new_var = (new_var * unbiased).to(ACC)
        mean = tl.where(mine, (mean + (new_mean - mean) * momentum).to(ACC), mean)
        var = tl.where(mine, (var + (new_var - var) * momentum).to(ACC), var)
        batches += mine.to(tl.int64)
    tl.store(mean_ptr + here, mean.to(mean_ptr.dtype.element_ty), mask=inside)
    tl.store(var_ptr + here, var.to(var_ptr.dtype.element_ty), mask=inside)
    if tl.program_id(1) == 0:
        tl.store(batches_ptr + edge, batches)
