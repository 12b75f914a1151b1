"""Triton kernels around the convolutions: statistics and batch norms, weights, their gradients.

``stats[row]`` holds five vectors for each row of a source's outputs: mean, biased variance, ``1 /
sigma``, scale and shift of the norm (the last two for inner norms only). ``addresses[unit]`` holds
the addresses of a unit's taps, 1x1 weights, gamma, beta, running mean, running variance and number
of batches (0 for None).
"""

from __future__ import annotations

import triton
import triton.language as tl

from nasbench_snas.kernels.operands import EPS

EPSILON = tl.constexpr(EPS)

PARALLEL = tl.constexpr(16)
"""Parts of a row that are merged side by side."""


@triton.jit
def part_moments(  # type: ignore[no-untyped-def]
    y_ptr, out_ptr, N, PART, C: tl.constexpr, ACC: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Mean and sum of squares about it of one part of a row: ``out[part, 2, C]``, in two passes."""
    part = tl.program_id(0).to(tl.int64)
    parts = tl.cdiv(N, PART)
    row = part // parts
    first = (tl.program_id(0) % parts) * PART
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
def merged(  # type: ignore[no-untyped-def]
    parts_ptr, c, inside, PARTS, PART, N, C: tl.constexpr, ACC: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Merge the parts' moments of one row (Chan et al. 1983) into mean and biased variance; parts
    side by side, in two passes over their few numbers."""
    total = tl.zeros((PARALLEL, BC), ACC)
    for start in range(0, PARTS, PARALLEL):
        part = start + tl.arange(0, PARALLEL)
        ok = (part < PARTS)[:, None] & inside[None, :]
        size = tl.minimum(PART, N - part * PART).to(ACC)
        at = parts_ptr + part[:, None] * 2 * C + c[None, :]
        total += tl.load(at, mask=ok, other=0.0) * (size / N)[:, None]
    mean = tl.sum(total, 0)
    squares = tl.zeros((PARALLEL, BC), ACC)
    for start in range(0, PARTS, PARALLEL):
        part = start + tl.arange(0, PARALLEL)
        ok = (part < PARTS)[:, None] & inside[None, :]
        size = tl.minimum(PART, N - part * PART).to(ACC)
        at = parts_ptr + part[:, None] * 2 * C + c[None, :]
        delta = tl.where(ok, tl.load(at, mask=ok, other=0.0) - mean[None, :], 0.0)
        squares += tl.load(at + C, mask=ok, other=0.0) + delta * delta * size[:, None]
    return mean, tl.sum(squares, 0) / N


@triton.jit(do_not_specialize=["FIRST"])
def finish_moments(  # type: ignore[no-untyped-def]
    parts_ptr, stats_ptr, addresses_ptr, owners_ptr, updates_ptr, like_ptr, FIRST, PARTS, PART, N,
    unbiased: tl.float64, momentum: tl.float64, C: tl.constexpr, TRAIN: tl.constexpr,
    UPDATE: tl.constexpr, ACC: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Statistics and norms of all rows of one edge's unit; move its running statistics, in order.

    ``owners[o]`` holds the unit, the edge, the first and last of its rows in ``updates`` (-1: not
    chosen), and whether another unit follows. Without ``TRAIN`` the running statistics are the
    statistics.
    """
    owner = owners_ptr + tl.program_id(0) * 6
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    pointers = addresses_ptr + tl.load(owner) * 8
    here = tl.load(owner + 1) * C + c
    first = tl.load(owner + 2)
    last = tl.load(owner + 3)
    inner = inside & (tl.load(owner + 4) != 0)
    gamma_at = tl.load(pointers + 2)
    learnt = inside & (gamma_at != 0)
    gamma = tl.load(gamma_at.to(like_ptr.dtype) + here, mask=learnt, other=1.0).to(ACC)
    beta_at = tl.load(pointers + 3).to(like_ptr.dtype)
    beta = tl.load(beta_at + here, mask=learnt, other=0.0).to(ACC)
    mean_at = tl.load(pointers + 4).to(like_ptr.dtype)
    var_at = tl.load(pointers + 5).to(like_ptr.dtype)
    running_mean = tl.load(mean_at + here, mask=inside, other=0.0).to(ACC)
    running_var = tl.load(var_at + here, mask=inside, other=0.0).to(ACC)
    seen = 0
    for i in range(first, last):
        row = tl.load(updates_ptr + i)
        if row >= 0:
            mean = running_mean
            var = running_var
            if TRAIN:
                parts = parts_ptr + (row - FIRST) * PARTS * 2 * C
                mean, var = merged(parts, c, inside, PARTS, PART, N, C, ACC, BC)
                running_mean = (running_mean + (mean - running_mean) * momentum).to(ACC)
                running_var = (running_var + (var * unbiased - running_var) * momentum).to(ACC)
            inverse = 1.0 / tl.sqrt(var + EPSILON)
            scale = gamma * inverse
            stats = stats_ptr + row * 5 * C + c
            tl.store(stats, mean, mask=inside)
            tl.store(stats + C, var, mask=inside)
            tl.store(stats + 2 * C, inverse, mask=inside)
            tl.store(stats + 3 * C, scale, mask=inner)
            tl.store(stats + 4 * C, beta - mean * scale, mask=inner)
            seen += 1
    if UPDATE:
        tl.store(mean_at + here, running_mean.to(like_ptr.dtype.element_ty), mask=inside)
        tl.store(var_at + here, running_var.to(like_ptr.dtype.element_ty), mask=inside)
        if tl.program_id(1) == 0:
            count_at = tl.load(pointers + 6).to(tl.pointer_type(tl.int64)) + tl.load(owner + 1)
            tl.store(count_at, tl.load(count_at) + seen)


@triton.jit
def norm_sums(  # type: ignore[no-untyped-def]
    sums_ptr, stats_ptr, rows_ptr, pr_ptr, hat_ptr, PARTS, N, C: tl.constexpr, BATCH: tl.constexpr,
    ACC: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Backward pass of one row of an inner norm, from partial sums ``sums[t, part, 2, C]``.

    ``hat[t, 2, C]`` receives ``<t, y_hat>`` and ``<t, 1>``; ``pr[t, 2, C]`` the factor of ``y`` and
    the constant (``BATCH``: the statistics were those of ``y``).
    """
    t = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    total = tl.zeros((BN, BC), ACC)
    product = tl.zeros((BN, BC), ACC)
    for start in range(0, PARTS, BN):
        part = start + tl.arange(0, BN)
        at = sums_ptr + (t * PARTS + part)[:, None] * 2 * C + c[None, :]
        ok = (part < PARTS)[:, None] & inside[None, :]
        total += tl.load(at, mask=ok, other=0.0)
        product += tl.load(at + C, mask=ok, other=0.0)
    row = tl.maximum(tl.load(rows_ptr + t), 0)  # of what is not chosen, the result is not used
    stats = stats_ptr + row * 5 * C + c
    inverse = tl.load(stats + 2 * C, mask=inside, other=0.0)
    one = tl.sum(total, 0)
    hat = tl.sum(product, 0) * inverse
    tl.store(hat_ptr + t * 2 * C + c, hat, mask=inside)
    tl.store(hat_ptr + (t * 2 + 1) * C + c, one, mask=inside)
    p = tl.zeros((BC,), ACC)
    r = tl.zeros((BC,), ACC)
    if BATCH:
        mean = tl.load(stats, mask=inside, other=0.0)
        scale = tl.load(stats + 3 * C, mask=inside, other=0.0)
        p = -scale * inverse * hat / N
        r = -scale * one / N - p * mean
    tl.store(pr_ptr + t * 2 * C + c, p, mask=inside)
    tl.store(pr_ptr + (t * 2 + 1) * C + c, r, mask=inside)


@triton.jit
def norm_upstream(  # type: ignore[no-untyped-def]
    t_ptr, y_ptr, stats_ptr, rows_ptr, pr_ptr, up_ptr, N, C: tl.constexpr, ACC: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One block of the gradient of an inner unit's output: ``scale t + p y + r`` (row -1: none)."""
    program = tl.program_id(0)
    blocks = tl.cdiv(N, BP)
    t = (program // blocks).to(tl.int64)
    n = (program % blocks) * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    row = tl.load(rows_ptr + t)
    ok = (n < N)[:, None] & inside[None, :] & (row >= 0)
    row = tl.maximum(row, 0)
    at = n[:, None] * C + c[None, :]
    scale = tl.load(stats_ptr + (row * 5 + 3) * C + c, mask=inside, other=0.0)
    p = tl.load(pr_ptr + t * 2 * C + c, mask=inside, other=0.0)
    r = tl.load(pr_ptr + (t * 2 + 1) * C + c, mask=inside, other=0.0)
    g = tl.load(t_ptr + t * N * C + at, mask=ok, other=0.0).to(ACC)
    y = tl.load(y_ptr + row * N * C + at, mask=ok, other=0.0).to(ACC)
    d = g * scale[None, :] + y * p[None, :] + r[None, :]
    tl.store(up_ptr + row * N * C + at, d.to(up_ptr.dtype.element_ty), mask=ok)


@triton.jit
def gather_weights(  # type: ignore[no-untyped-def]
    addresses_ptr, like_ptr, rows_ptr, out_ptr, SIZE, CO: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Copy one block of a job's 1x1 weights, zero outside its columns.

    ``rows[g]`` holds the unit (-1: none, all zeros), the edge, the first and the last column.
    """
    g = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BM + tl.arange(0, BM)
    unit = tl.load(rows_ptr + g * 4)
    edge = tl.load(rows_ptr + g * 4 + 1)
    column = at % CO
    own = (column >= tl.load(rows_ptr + g * 4 + 2)) & (column < tl.load(rows_ptr + g * 4 + 3))
    weight = (
        tl.load(addresses_ptr + tl.maximum(unit, 0) * 8 + 1).to(like_ptr.dtype) + edge * SIZE + at
    )
    value = tl.load(weight, mask=(at < SIZE) & own, other=0.0)
    tl.store(out_ptr + g * SIZE + at, value.to(out_ptr.dtype.element_ty), mask=at < SIZE)


@triton.jit(do_not_specialize=["PARTS"])
def add_matrices(  # type: ignore[no-untyped-def]
    dw_ptr, lines_ptr, list_ptr, offsets_ptr, out_ptr, SIZE, PARTS, CO: tl.constexpr,
    ACC: tl.constexpr, BP: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Store one block of the gradient of one edge's 1x1 weights: the sum over jobs and parts.

    ``lines[l]`` holds the unit, the edge, the first and last column, the first and last of its jobs
    in ``list`` (-1: not chosen).
    """
    line = lines_ptr + tl.program_id(0) * 6
    at = tl.program_id(1) * BM + tl.arange(0, BM)
    column = at % CO
    ok = (at < SIZE) & (column >= tl.load(line + 2)) & (column < tl.load(line + 3))
    totals = tl.zeros((BP, BM), ACC)
    for i in range(tl.load(line + 4), tl.load(line + 5)):
        job = tl.load(list_ptr + i)
        for start in range(0, PARTS, BP):
            part = start + tl.arange(0, BP)
            place = dw_ptr + (job * PARTS + part)[:, None] * SIZE + at[None, :]
            good = ((part < PARTS) & (job >= 0))[:, None] & ok[None, :]
            totals += tl.load(place, mask=good, other=0.0).to(ACC)
    total = tl.sum(totals, 0)
    out = out_ptr + tl.load(offsets_ptr + tl.load(line) * 4 + 1) + tl.load(line + 1) * SIZE + at
    tl.store(out, total.to(out_ptr.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=["PARTS"])
def add_vectors(  # type: ignore[no-untyped-def]
    taps_ptr, hat_ptr, lines_ptr, list_ptr, offsets_ptr, out_ptr, PARTS, C: tl.constexpr,
    CO: tl.constexpr, KK: tl.constexpr, ACC: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Store the gradient of one tap, gamma or beta: the sum over jobs (and parts) or entries.

    ``lines[l]`` holds 0 for taps (1 for gamma and beta), which tap (or of ``hat``'s two), the unit,
    which of its tensors, the row of that, the first and last of its jobs in ``list`` (-1: not
    chosen).
    """
    line = lines_ptr + tl.program_id(0) * 8
    which = tl.load(line + 1)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    place = out_ptr + tl.load(offsets_ptr + tl.load(line + 2) * 4 + tl.load(line + 3))
    row = tl.load(line + 4)
    first = tl.load(line + 5)
    last = tl.load(line + 6)
    if tl.load(line) == 0:
        inside = c < C
        totals = tl.zeros((BP, BC), ACC)
        for i in range(first, last):
            job = tl.load(list_ptr + i)
            taps = taps_ptr + (job * PARTS * KK + which) * C + c
            for start in range(0, PARTS, BP):
                part = start + tl.arange(0, BP)
                good = ((part < PARTS) & (job >= 0))[:, None] & inside[None, :]
                at = taps[None, :] + part[:, None] * KK * C
                totals += tl.load(at, mask=good, other=0.0)
        total = tl.sum(totals, 0)
        tl.store(place + row * C + c, total.to(out_ptr.dtype.element_ty), mask=inside)
    else:
        inside = c < CO
        total = tl.zeros((BC,), ACC)
        for i in range(first, last):
            place_of = tl.load(list_ptr + i)
            hat = hat_ptr + (place_of * 2 + which) * CO + c
            total += tl.load(hat, mask=inside & (place_of >= 0), other=0.0)
        tl.store(place + row * CO + c, total.to(out_ptr.dtype.element_ty), mask=inside)
