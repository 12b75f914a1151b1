"""Triton kernels of the mix (forward, inner products, credits, the gradients of the outputs), of
poolings, and of concrete sampling.

``entries[q]`` holds the row of ``y`` (``-1 - row`` of the source itself for an identity), the unit
whose norm applies (-1: none), its edge, the target, the position in ``z``, and 1 if it is not
chosen; ``stats`` and ``addresses`` are those of ``norms.py``. Coefficients of a norm are formed
inside the kernels: no small tensor operation surrounds them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nasbench_snas.kernels.triton.norms import EPSILON


@triton.jit
def norm_of(  # type: ignore[no-untyped-def]
    entries_ptr, addresses_ptr, stats_ptr, like_ptr, q, c, inside, C: tl.constexpr,
    TRAIN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return ``mu``, ``1 / sigma``, ``gamma`` and ``beta`` of an entry for channels ``c``."""
    entry = entries_ptr + q * 6
    row = tl.load(entry)
    unit = tl.load(entry + 1)
    normed = inside & (unit >= 0)
    pointers = addresses_ptr + tl.maximum(unit, 0) * 8
    here = tl.load(entry + 2) * C + c
    gamma_at = tl.load(pointers + 2)
    learnt = normed & (gamma_at != 0)
    gamma = tl.load(gamma_at.to(like_ptr.dtype) + here, mask=learnt, other=1.0).to(ACC)
    beta_at = tl.load(pointers + 3).to(like_ptr.dtype)
    beta = tl.load(beta_at + here, mask=learnt, other=0.0).to(ACC)
    if TRAIN:
        mean = tl.load(stats_ptr + row * 5 * C + c, mask=normed, other=0.0)
        inverse = tl.load(stats_ptr + (row * 5 + 2) * C + c, mask=normed, other=1.0)
    else:
        mean_at = tl.load(pointers + 4).to(like_ptr.dtype)
        var_at = tl.load(pointers + 5).to(like_ptr.dtype)
        mean = tl.load(mean_at + here, mask=normed, other=0.0).to(ACC)
        var = tl.load(var_at + here, mask=normed, other=1.0).to(ACC)
        inverse = tl.where(normed, 1.0 / tl.sqrt(var + EPSILON), 1.0)
    return mean, inverse, gamma, beta


@triton.jit
def mix_forward(  # type: ignore[no-untyped-def]
    z_ptr, entries_ptr, addresses_ptr, stats_ptr, like_ptr, order_ptr, starts_ptr, mask_ptr, y_ptr,
    x_ptr, out_ptr, B, P, C: tl.constexpr, TRAIN: tl.constexpr, MASK: tl.constexpr,
    ADD: tl.constexpr, ACC: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Add to one block of a target's image all entries that go there (``order[starts[t]:…]``)."""
    program = tl.program_id(0)
    blocks = tl.cdiv(P, BP)
    b = (program // blocks) % B
    target = (program // (blocks * B)).to(tl.int64)
    p = (program % blocks) * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    ok = (p < P)[:, None] & inside[None, :]
    pixels = p[:, None] * C + c[None, :]
    out = out_ptr + (target * B + b) * P * C + pixels
    total = tl.zeros((BP, BC), ACC)
    if ADD:
        total = tl.load(out, mask=ok, other=0.0).to(ACC)
    for position in range(tl.load(starts_ptr + target), tl.load(starts_ptr + target + 1)):
        q = tl.load(order_ptr + position)
        entry = entries_ptr + q * 6
        if tl.load(entry + 5) == 0:
            mean, inverse, gamma, beta = norm_of(
                entries_ptr, addresses_ptr, stats_ptr, like_ptr, q, c, inside, C, TRAIN, ACC
            )
            weight = tl.load(z_ptr + tl.load(entry + 4)).to(ACC)
            if MASK:
                weight = weight * tl.load(mask_ptr + q * B + b).to(ACC)
            row = tl.load(entry)
            own = row >= 0
            base = tl.where(own, y_ptr, x_ptr) + (tl.where(own, row, -1 - row) * B + b) * P * C
            y = tl.load(base + pixels, mask=ok, other=0.0).to(ACC)
            scale = gamma * inverse
            total += weight * ((y - mean[None, :]) * scale[None, :] + beta[None, :])
    tl.store(out, total.to(out_ptr.dtype.element_ty), mask=ok)


@triton.jit
def mix_dots(  # type: ignore[no-untyped-def]
    entries_ptr, addresses_ptr, stats_ptr, like_ptr, mask_ptr, y_ptr, x_ptr, g_ptr, sums_ptr, B, P,
    C: tl.constexpr, TRAIN: tl.constexpr, MASK: tl.constexpr, ACC: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """``<m g, 1>`` and ``<m g, y - mean>`` of one entry on one image: ``sums[q, b, 2, C]``."""
    program = tl.program_id(0)
    b = program % B
    q = (program // B).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    entry = entries_ptr + q * 6
    mean, _, _, _ = norm_of(
        entries_ptr, addresses_ptr, stats_ptr, like_ptr, q, c, inside, C, TRAIN, ACC
    )
    row = tl.load(entry)
    own = row >= 0
    y_base = tl.where(own, y_ptr, x_ptr) + (tl.where(own, row, -1 - row) * B + b) * P * C
    g_base = g_ptr + (tl.load(entry + 3) * B + b) * P * C
    total = tl.zeros((BC,), ACC)
    product = tl.zeros((BC,), ACC)
    for start in range(0, P, BP):
        p = start + tl.arange(0, BP)
        ok = (p < P)[:, None] & inside[None, :]
        at = p[:, None] * C + c[None, :]
        g = tl.load(g_base + at, mask=ok, other=0.0).to(ACC)
        y = tl.load(y_base + at, mask=ok, other=0.0).to(ACC)
        total += tl.sum(g, 0)
        product += tl.sum(g * tl.where(ok, y - mean[None, :], 0.0), 0)
    if MASK:
        factor = tl.load(mask_ptr + q * B + b).to(ACC)
        total *= factor
        product *= factor
    tl.store(sums_ptr + ((q * B + b) * 2) * C + c, total, mask=inside)
    tl.store(sums_ptr + ((q * B + b) * 2 + 1) * C + c, product, mask=inside)


@triton.jit
def mix_credit(  # type: ignore[no-untyped-def]
    z_ptr, entries_ptr, addresses_ptr, stats_ptr, finals_ptr, sums_ptr, like_ptr, dz_ptr, a_ptr,
    pr_ptr, hat_ptr, B, N, C: tl.constexpr, TRAIN: tl.constexpr, ACC: tl.constexpr,
    BB: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One row that the mix reads: ``dL/dz`` of its entries, their ``a``, the row's ``p`` and ``r``.

    One program has all channels. ``finals[f]`` holds the row of the gradient, the first and last of
    the row's entries. ``hat[q, 2, C]`` receives ``z <m g, y_hat>`` and ``z <m g, 1>``: the
    gradients of learnt norms.
    """
    f = tl.program_id(0).to(tl.int64)
    first = tl.load(finals_ptr + f * 4 + 1)
    last = tl.load(finals_ptr + f * 4 + 2)
    c = tl.arange(0, BC)
    inside = c < C
    p = tl.zeros((BC,), ACC)
    r = tl.zeros((BC,), ACC)
    for q in range(first, last):
        entry = entries_ptr + q * 6
        mean, inverse, gamma, beta = norm_of(
            entries_ptr, addresses_ptr, stats_ptr, like_ptr, q, c, inside, C, TRAIN, ACC
        )
        totals = tl.zeros((BB, BC), ACC)
        products = tl.zeros((BB, BC), ACC)
        for start in range(0, B, BB):
            b = start + tl.arange(0, BB)
            ok = (b < B)[:, None] & inside[None, :]
            at = sums_ptr + (q * B + b)[:, None] * 2 * C + c[None, :]
            totals += tl.load(at, mask=ok, other=0.0)
            products += tl.load(at + C, mask=ok, other=0.0)
        total = tl.sum(totals, 0)
        place = tl.load(entry + 4)
        weight = tl.load(z_ptr + place).to(ACC)
        hat = tl.sum(products, 0) * inverse
        scale = weight * gamma * inverse
        credit = tl.sum(tl.where(inside, gamma * hat + beta * total, 0.0), 0)
        tl.store(dz_ptr + place, credit.to(dz_ptr.dtype.element_ty))
        tl.store(a_ptr + q * C + c, scale, mask=inside)
        tl.store(hat_ptr + (q * 2) * C + c, weight * hat, mask=inside)
        tl.store(hat_ptr + (q * 2 + 1) * C + c, weight * total, mask=inside)
        if TRAIN:
            normed = tl.load(entry + 1) >= 0
            slope = tl.where(normed, -scale * inverse * hat / N, 0.0)
            p += slope
            r += tl.where(normed, -scale * total / N - slope * mean, 0.0)
    tl.store(pr_ptr + f * 2 * C + c, p, mask=inside)
    tl.store(pr_ptr + (f * 2 + 1) * C + c, r, mask=inside)


@triton.jit
def upstream_rows(  # type: ignore[no-untyped-def]
    g_ptr, entries_ptr, finals_ptr, a_ptr, pr_ptr, mask_ptr, y_ptr, up_ptr, B, P,
    C: tl.constexpr, MASK: tl.constexpr, ACC: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One block of the gradient of a row that the mix reads: ``sum_q m_q a_q g + p y + r``.

    ``finals[f]`` also says (0 or 1) whether ``p`` and ``r`` are more than zero.
    """
    program = tl.program_id(0)
    blocks = tl.cdiv(P, BP)
    b = (program // blocks) % B
    f = (program // (blocks * B)).to(tl.int64)
    pixel = (program % blocks) * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    ok = (pixel < P)[:, None] & inside[None, :]
    at = pixel[:, None] * C + c[None, :]
    row = tl.load(finals_ptr + f * 4)
    normed = tl.load(finals_ptr + f * 4 + 3) != 0
    here = (row * B + b) * P * C + at
    total = tl.zeros((BP, BC), ACC)
    if normed:
        slope = tl.load(pr_ptr + f * 2 * C + c, mask=inside, other=0.0)
        constant = tl.load(pr_ptr + (f * 2 + 1) * C + c, mask=inside, other=0.0)
        y = tl.load(y_ptr + here, mask=ok, other=0.0).to(ACC)
        total = y * slope[None, :] + constant[None, :]
    for q in range(tl.load(finals_ptr + f * 4 + 1), tl.load(finals_ptr + f * 4 + 2)):
        factor = tl.load(a_ptr + q * C + c, mask=inside, other=0.0)
        if MASK:
            factor = factor * tl.load(mask_ptr + q * B + b).to(ACC)
        source = g_ptr + (tl.load(entries_ptr + q * 6 + 3) * B + b) * P * C + at
        total += tl.load(source, mask=ok, other=0.0).to(ACC) * factor[None, :]
    tl.store(up_ptr + here, total.to(up_ptr.dtype.element_ty), mask=ok)


@triton.jit
def pool_forward(  # type: ignore[no-untyped-def]
    x_ptr, jobs_ptr, y_ptr, index_ptr, B, H, W, HO, WO, C: tl.constexpr, ST: tl.constexpr,
    ACC: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One strip of one output row of a 3x3 pooling; NaN wins a maximum; padding is not counted.

    ``jobs[g]`` holds the row of ``x``, whether it is a maximum, the row of ``y`` (-1: not chosen);
    ``index[g]``
    receives which of the nine pixels was the first maximum.
    """
    strip = tl.program_id(0)
    strips = tl.cdiv(WO, BW)
    h = (strip // strips) % HO
    b = (strip // (strips * HO)) % B
    g = (strip // (strips * HO * B)).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    w = (strip % strips) * BW + tl.arange(0, BW)
    row = tl.load(jobs_ptr + g * 4 + 2)
    inside = (c < C) & (row >= 0)
    base = x_ptr + (tl.load(jobs_ptr + g * 4) * B + b) * H * W * C
    largest = tl.load(jobs_ptr + g * 4 + 1) != 0
    best = tl.zeros((BW, BC), ACC)
    total = tl.zeros((BW, BC), ACC)
    place = tl.full((BW, BC), -1, tl.int32)
    count = tl.zeros((BW, BC), ACC)
    for i in tl.static_range(3):
        hi = h * ST + i - 1
        for j in tl.static_range(3):
            wj = w * ST + j - 1
            ok = ((wj >= 0) & (wj < W) & (hi >= 0) & (hi < H))[:, None] & inside[None, :]
            at = base + (hi * W + wj)[:, None] * C + c[None, :]
            value = tl.load(at, mask=ok, other=0.0).to(ACC)
            wins = ok & ((place < 0) | (value > best) | (value != value))
            best = tl.where(wins, value, best)
            place = tl.where(wins, i * 3 + j, place)
            total += value
            count += ok.to(ACC)
    result = tl.where(largest, best, total / tl.maximum(count, 1.0))
    at = h * WO * C + w[:, None] * C + c[None, :]
    keep = (w < WO)[:, None] & inside[None, :]
    out = y_ptr + (row * B + b) * HO * WO * C + at
    tl.store(out, result.to(y_ptr.dtype.element_ty), mask=keep)
    noted = index_ptr + (g * B + b) * HO * WO * C + at
    tl.store(noted, place.to(tl.uint8), mask=keep & largest)


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
