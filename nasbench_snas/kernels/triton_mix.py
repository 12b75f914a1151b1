"""Triton kernels of the mix: forward, inner products, credits, and the upstream gradient of a
candidate.

``addresses`` holds for every candidate the addresses of ``y``, ``mean``, ``var``, ``gamma`` and
``beta`` (0 for None), all of one type; ``table`` is that of
:class:`~nasbench_snas.kernels.protocol.Entries`. Coefficients of a norm are formed inside the
kernels: no small tensor operation surrounds them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nasbench_snas.kernels.protocol import EPS

EPSILON = tl.constexpr(EPS)


@triton.jit
def norm_of(table_ptr, addresses_ptr, like_ptr, q, c, inside, C: tl.constexpr, ACC: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return ``mu``, ``1 / sigma``, ``gamma`` and ``beta`` of an entry for channels ``c``."""
    entry = table_ptr + q * 6
    pointers = addresses_ptr + tl.load(entry) * 5
    stat = tl.load(entry + 2)
    edge = tl.load(entry + 5)
    mean_at = tl.load(pointers + 1)
    gamma_at = tl.load(pointers + 3)
    has_norm = inside & (mean_at != 0)
    learnt = inside & (gamma_at != 0)
    mean_ptr = mean_at.to(like_ptr.dtype)
    var_ptr = tl.load(pointers + 2).to(like_ptr.dtype)
    gamma_ptr = gamma_at.to(like_ptr.dtype)
    beta_ptr = tl.load(pointers + 4).to(like_ptr.dtype)
    mean = tl.load(mean_ptr + stat * C + c, mask=has_norm, other=0.0).to(ACC)
    var = tl.load(var_ptr + stat * C + c, mask=has_norm, other=0.0).to(ACC)
    inverse = tl.where(has_norm, 1.0 / tl.sqrt(var + EPSILON), 1.0)
    gamma = tl.load(gamma_ptr + edge * C + c, mask=learnt, other=1.0).to(ACC)
    beta = tl.load(beta_ptr + edge * C + c, mask=learnt, other=0.0).to(ACC)
    return mean, inverse, gamma, beta


@triton.jit
def mix_forward(  # type: ignore[no-untyped-def]
    z_ptr, table_ptr, addresses_ptr, order_ptr, starts_ptr, mask_ptr, out_ptr, B, P,
    C: tl.constexpr, MASK: tl.constexpr, ACC: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Add to one block of a target's image all entries that go there (``order[starts[t]:…]``)."""
    program = tl.program_id(0)
    blocks = tl.cdiv(P, BP)
    b = (program // blocks) % B
    target = program // (blocks * B)
    p = (program % blocks) * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    ok = (p < P)[:, None] & inside[None, :]
    out = out_ptr + (target * B + b) * P * C + p[:, None] * C + c[None, :]
    total = tl.load(out, mask=ok, other=0.0).to(ACC)
    for position in range(tl.load(starts_ptr + target), tl.load(starts_ptr + target + 1)):
        q = tl.load(order_ptr + position)
        entry = table_ptr + q * 6
        mean, inverse, gamma, beta = norm_of(
            table_ptr, addresses_ptr, out_ptr, q, c, inside, C, ACC
        )
        weight = tl.load(z_ptr + tl.load(entry + 4)).to(ACC)
        if MASK:
            weight = weight * tl.load(mask_ptr + q * B + b).to(ACC)
        y_ptr = tl.load(addresses_ptr + tl.load(entry) * 5).to(out_ptr.dtype)
        at = y_ptr + (tl.load(entry + 1) * B + b) * P * C + p[:, None] * C + c[None, :]
        y = tl.load(at, mask=ok, other=0.0).to(ACC)
        scale = gamma * inverse
        total += weight * ((y - mean[None, :]) * scale[None, :] + beta[None, :])
    tl.store(out, total.to(out_ptr.dtype.element_ty), mask=ok)


@triton.jit
def mix_dots(  # type: ignore[no-untyped-def]
    table_ptr, addresses_ptr, mask_ptr, g_ptr, sums_ptr, B, P, C: tl.constexpr, MASK: tl.constexpr,
    ACC: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """``<m g, 1>`` and ``<m g, y - mean>`` of one entry on one image: ``sums[q, b, 2, C]``."""
    program = tl.program_id(0)
    b = program % B
    q = program // B
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    entry = table_ptr + q * 6
    mean, _, _, _ = norm_of(table_ptr, addresses_ptr, g_ptr, q, c, inside, C, ACC)
    y_ptr = tl.load(addresses_ptr + tl.load(entry) * 5).to(g_ptr.dtype)
    y_base = y_ptr + (tl.load(entry + 1) * B + b) * P * C
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
    z_ptr, table_ptr, addresses_ptr, row_starts_ptr, sums_ptr, like_ptr, dz_ptr, a_ptr, p_ptr,
    r_ptr, hat_ptr, B, N, C: tl.constexpr, BATCH: tl.constexpr, ACC: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One row of a candidate: ``dL/dz`` of its entries, ``a``, and the row's ``p`` and ``r``.

    ``hat[q, 2, C]`` receives ``<m g, y_hat>`` and ``<m g, 1>``, from which learnt norms take their
    gradients.
    """
    row = tl.program_id(0)
    first = tl.load(row_starts_ptr + row)
    last = tl.load(row_starts_ptr + row + 1)
    for block in tl.static_range((C + BC - 1) // BC):
        c = block * BC + tl.arange(0, BC)
        inside = c < C
        p = tl.zeros((BC,), ACC)
        r = tl.zeros((BC,), ACC)
        for q in range(first, last):
            entry = table_ptr + q * 6
            mean, inverse, gamma, beta = norm_of(
                table_ptr, addresses_ptr, like_ptr, q, c, inside, C, ACC
            )
            total = tl.zeros((BC,), ACC)
            product = tl.zeros((BC,), ACC)
            for b in range(0, B):
                at = sums_ptr + ((q * B + b) * 2) * C + c
                total += tl.load(at, mask=inside, other=0.0)
                product += tl.load(at + C, mask=inside, other=0.0)
            place = tl.load(entry + 4)
            weight = tl.load(z_ptr + place).to(ACC)
            hat = product * inverse
            scale = weight * gamma * inverse
            credit = tl.sum(tl.where(inside, gamma * hat + beta * total, 0.0), 0)
            before = tl.load(dz_ptr + place).to(ACC)
            tl.store(dz_ptr + place, (before + credit).to(dz_ptr.dtype.element_ty))
            tl.store(a_ptr + q * C + c, scale, mask=inside)
            tl.store(hat_ptr + (q * 2) * C + c, hat, mask=inside)
            tl.store(hat_ptr + (q * 2 + 1) * C + c, total, mask=inside)
            if BATCH:
                has_norm = tl.load(addresses_ptr + tl.load(entry) * 5 + 1) != 0
                slope = tl.where(has_norm, -scale * inverse * hat / N, 0.0)
                p += slope
                r += tl.where(has_norm, -scale * total / N - slope * mean, 0.0)
        tl.store(p_ptr + row * C + c, p, mask=inside)
        tl.store(r_ptr + row * C + c, r, mask=inside)


@triton.jit
def upstream_rows(  # type: ignore[no-untyped-def]
    g_ptr, index_ptr, starts_ptr, a_ptr, p_ptr, r_ptr, mask_ptr, y_ptr, out_ptr, B, P,
    C: tl.constexpr, MASK: tl.constexpr, SLOPE: tl.constexpr, ADD: tl.constexpr,
    ACC: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One block of one row's gradient: ``sum_q m_q a_q g[index_q] + p y + r``."""
    program = tl.program_id(0)
    blocks = tl.cdiv(P, BP)
    b = (program // blocks) % B
    row = program // (blocks * B)
    pixel = (program % blocks) * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    ok = (pixel < P)[:, None] & inside[None, :]
    at = pixel[:, None] * C + c[None, :]
    here = (row * B + b) * P * C + at
    total = tl.zeros((BP, BC), ACC)
    if SLOPE:
        slope = tl.load(p_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
        constant = tl.load(r_ptr + row * C + c, mask=inside, other=0.0).to(ACC)
        y = tl.load(y_ptr + here, mask=ok, other=0.0).to(ACC)
        total = y * slope[None, :] + constant[None, :]
    if ADD:
        total += tl.load(out_ptr + here, mask=ok, other=0.0).to(ACC)
    for q in range(tl.load(starts_ptr + row), tl.load(starts_ptr + row + 1)):
        factor = tl.load(a_ptr + q * C + c, mask=inside, other=0.0).to(ACC)
        if MASK:
            factor = factor * tl.load(mask_ptr + q * B + b).to(ACC)
        source = g_ptr + (tl.load(index_ptr + q) * B + b) * P * C + at
        total += tl.load(source, mask=ok, other=0.0).to(ACC) * factor[None, :]
    tl.store(out_ptr + here, total.to(out_ptr.dtype.element_ty), mask=ok)
