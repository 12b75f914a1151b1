"""Every primitive against plain autograd on the formulas of the protocol."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nasbench_snas.architecture.operations import Conv
from nasbench_snas.kernels.operands import EPS, Candidate, Entries, Norm, UnitSpec, Upstream
from nasbench_snas.kernels.reference import ReferenceKernels, combine, pool

REFERENCE = ReferenceKernels()
TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def indices(*values):
    return torch.tensor(values, dtype=torch.int64)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def plain_upstream(g, rows):
    """The gradient itself, row by row."""
    every = torch.arange(rows + 1)
    return Upstream(g, every[:-1], every, torch.ones(rows, g.shape[-1], dtype=g.dtype))


def weights_of(spec, edges, c_in, c_out):
    if spec.kind == "depthwise":
        return [randn(edges, spec.kernel**2, c_in), randn(edges, c_in, c_out)]
    if spec.kind == "dense":
        return [randn(edges, c_out, c_in, *conv.kernel) for conv in spec.convs]
    return [randn(edges, c_in, c_out)]


def conv2d_unit(spec, x, norm, weights, x_rows, w_rows):
    """The unit by ``conv2d`` on NCHW images, one row after another."""
    u = x if norm is None else x * norm.scale[:, None, None, None] + norm.shift[:, None, None, None]
    out = []
    for row, edge in zip(x_rows.tolist(), w_rows.tolist(), strict=True):
        h = functional.relu(u[row]).permute(0, 3, 1, 2)
        if spec.kind == "dense":
            (conv,) = spec.convs
            h = functional.conv2d(
                h, weights[0][edge], None, spec.stride, conv.padding, conv.dilation
            )
            out.append(h.permute(0, 2, 3, 1))
            continue
        point = weights[-1][edge].t()[:, :, None, None]
        if spec.kind == "depthwise":
            side, channels = spec.kernel, h.shape[1]
            taps = weights[0][edge].t().reshape(channels, 1, side, side)
            padding = spec.dilation * (side // 2)
            h = functional.conv2d(h, taps, None, spec.stride, padding, spec.dilation, channels)
            h = functional.conv2d(h, point)
        elif spec.kind == "point":
            h = functional.conv2d(h, point, stride=spec.stride)
        else:
            split = point.shape[0] - point.shape[0] // 2
            odd = (0, h.shape[3] % 2, 0, h.shape[2] % 2)
            shifted = functional.pad(h, odd)[:, :, 1:, 1:]
            halves = [
                functional.conv2d(h, point[:split], stride=2),
                functional.conv2d(shifted, point[split:], stride=2),
            ]
            h = torch.cat(halves, dim=1)
        out.append(h.permute(0, 2, 3, 1))
    return torch.stack(out)


SPECS = [
    UnitSpec("depthwise", kernel, dilation, stride)
    for kernel, dilation in ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1))
    for stride in (1, 2)
]
SPECS += [UnitSpec("point"), UnitSpec("point", stride=2), UnitSpec("shifted", stride=2)]
SPECS += [
    UnitSpec("dense", stride=stride, convs=(Conv((side, side), dilation),))
    for side, dilation in ((3, 1), (5, 2))
    for stride in (1, 2)
]


def name_of(spec):
    side, dilation = spec.kernel, spec.dilation
    if spec.convs:
        side, dilation = spec.convs[0].kernel[0], spec.convs[0].dilation
    return f"{spec.kind}-k{side}-d{dilation}-s{spec.stride}"


@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize("spec", SPECS, ids=name_of)
@pytest.mark.parametrize(
    "size", [(2, 7, 5, 3, 5), (1, 4, 6, 8, 8), (2, 9, 9, 13, 18), (3, 2, 3, 4, 9)]
)
def test_a_unit_and_all_its_gradients_equal_conv2d_under_autograd(kernels, spec, size, with_norm):
    batch, height, width, c_in, c_out = size
    x = randn(2, batch, height, width, c_in).requires_grad_()
    norm = None
    if with_norm:
        norm = Norm(randn(2, c_in), randn(2, c_in, seed=1), randn(2, c_in, seed=2), randn(2, c_in))
    weights = [w.requires_grad_() for w in weights_of(spec, 3, c_in, c_out)]
    x_rows, w_rows = indices(0, 1, 1, 0), indices(2, 0, 2, 2)
    expected = conv2d_unit(spec, x, norm, weights, x_rows, w_rows)
    plain = [w.detach() for w in weights]
    y, mean, var = kernels.unit_forward(spec, x.detach(), norm, plain, x_rows, w_rows, True)
    torch.testing.assert_close(y, expected.detach(), **TIGHT)
    expected_var, expected_mean = torch.var_mean(expected.detach().flatten(1, 3), 1, correction=0)
    torch.testing.assert_close(mean, expected_mean, **TIGHT)
    torch.testing.assert_close(var, expected_var, **TIGHT)

    g = randn(*y.shape, seed=5)
    dx, *dws = torch.autograd.grad(expected, [x, *weights], g)
    before = randn(*x.shape, seed=6)
    total, dweights = before.clone(), [torch.ones_like(w) for w in plain]
    sums = kernels.unit_backward(
        spec,
        x.detach(),
        norm,
        plain,
        x_rows,
        w_rows,
        y,
        plain_upstream(g, 4),
        total,
        False,
        dweights,
    )
    scale = 1.0 if norm is None else norm.scale[:, None, None, None]
    torch.testing.assert_close((total - before) * scale, dx, **TIGHT)
    for got, want in zip(dweights, dws, strict=True):
        torch.testing.assert_close(got - 1, want, **TIGHT)
    if norm is not None:
        d = (total - before).flatten(1, 3)
        centred = (x.detach() - norm.mean[:, None, None, None]).flatten(1, 3)
        torch.testing.assert_close(sums, torch.stack([d.sum(1), (d * centred).sum(1)]), **TIGHT)


@pytest.mark.parametrize("size", [(2, 2), (3, 4), (4, 4), (1, 5)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 2), (5, 1), (5, 2), (7, 1)])
def test_taps_that_never_meet_a_small_image_change_nothing_unless_they_are_nan(
    kernels, kernel, dilation, stride, size
):
    spec, rows = UnitSpec("depthwise", kernel, dilation, stride), indices(0)
    x = randn(1, 2, *size, 5).requires_grad_()
    weights = [w.requires_grad_() for w in weights_of(spec, 1, 5, 4)]
    expected = conv2d_unit(spec, x, None, weights, rows, rows)
    plain = [w.detach() for w in weights]
    y, _, _ = kernels.unit_forward(spec, x.detach(), None, plain, rows, rows, False)
    torch.testing.assert_close(y, expected.detach(), **TIGHT)
    g, dx, dws = randn(*y.shape), torch.empty_like(x), [torch.zeros_like(w) for w in plain]
    want = torch.autograd.grad(expected, [x, *weights], g)
    upstream = plain_upstream(g, 1)
    kernels.unit_backward(
        spec, x.detach(), None, plain, rows, rows, y, upstream, dx, True, dws
    )  # fmt: skip
    for got, right in zip([dx, *dws], want, strict=True):
        torch.testing.assert_close(got, right, **TIGHT)
    plain[0][0, 0, 2] = float("nan")
    y, _, _ = kernels.unit_forward(spec, x.detach(), None, plain, rows, rows, False)
    wrong = conv2d_unit(spec, x.detach(), None, plain, rows, rows)
    assert torch.equal(torch.isnan(y), torch.isnan(wrong))


def random_entries(draw_count, candidates, edges, targets, masked, batch):
    """Entries of every row of every candidate, some rows with several."""
    table, starts, counts = [], [], []
    for number, rows in enumerate(candidates):
        first = [0]
        for row in range(rows):
            for repeat in range(1 + (row + number) % 2):
                place = (7 * number + 3 * row + repeat) % draw_count
                target, edge = (row + repeat) % targets, (row + repeat) % edges
                table.append([number, row, row, target, place, edge])
            first.append(len(table) - sum(counts))
        starts.append(torch.tensor(first))
        counts.append(first[-1])
    mask = randn(len(table), batch).abs() if masked else None
    return Entries(torch.tensor(table), tuple(starts), tuple(counts), mask)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("channels", "size"), [(3, (3, 5)), (8, (3, 5)), (18, (3, 5)), (64, (9, 10))]
)
def test_the_mix_and_all_its_gradients_equal_autograd(kernels, channels, size, masked, affine):
    batch, edges, targets = 2, 4, 3  # the last images are worked in several blocks of pixels
    rows = [3, 1, 2]
    ys = [randn(n, batch, *size, channels, seed=i).requires_grad_() for i, n in enumerate(rows)]
    entries = random_entries(6, rows, edges, targets, masked, batch)
    z = randn(6).requires_grad_()
    gammas = [randn(edges, channels, seed=i).requires_grad_() for i in range(3)]
    betas = [randn(edges, channels, seed=9 + i).requires_grad_() for i in range(3)]
    out, used = torch.zeros(targets, batch, *size, channels, dtype=torch.float64), []
    for q, (k, row, _, target, place, edge) in enumerate(entries.table.tolist()):
        y = ys[k][row]
        if k != 1:  # the second candidate has no norm
            var, mean = torch.var_mean(y, (0, 1, 2), correction=0)
            y = (y - mean) / (var + EPS).sqrt()
            y = y * gammas[k][edge] + betas[k][edge] if affine else y
        m = entries.mask[q][:, None, None, None] if masked else 1.0
        out = out.index_add(0, indices(target), (m * z[place] * y)[None])
        used.append(k)
    g = randn(*out.shape, seed=3)
    wanted = [z, *ys, *([gammas[0], gammas[2], betas[0], betas[2]] if affine else [])]
    dz, *rest = torch.autograd.grad(out, wanted, g)

    candidates = []
    for k, y in enumerate(ys):
        mean, var = kernels.statistics(y.detach())
        learnt = (gammas[k].detach(), betas[k].detach()) if affine else (None, None)
        candidates.append(
            Candidate(y.detach(), mean, var, *learnt) if k != 1 else Candidate(y.detach())
        )
    mixed = torch.zeros_like(out)
    kernels.mix_forward(z.detach(), entries, candidates, mixed)
    torch.testing.assert_close(mixed, out.detach(), **TIGHT)
    got = torch.zeros_like(z)
    learn = [affine, False, affine]
    dgammas = [torch.zeros_like(gammas[0]) if on else None for on in learn]
    dbetas = [torch.zeros_like(gammas[0]) if on else None for on in learn]
    upstreams = kernels.mix_backward(z.detach(), entries, candidates, g, got, dgammas, dbetas, True)
    torch.testing.assert_close(got, dz, **TIGHT)
    for k, upstream in enumerate(upstreams):
        dy = combine(upstream, ys[k].detach(), rows[k])
        torch.testing.assert_close(dy, rest[k], **TIGHT)
    if affine:
        for got_, want in zip([*dgammas[::2], *dbetas[::2]], rest[3:], strict=True):
            torch.testing.assert_close(got_, want, **TIGHT)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 4, 3), (8, 8, 8), (1, 1, 9)])
def test_pooling_and_its_gradient_equal_torch(kernels, kind, stride, size):
    x = randn(2, 2, *size).round().requires_grad_()  # rounding makes ties
    expected = pool(kind, stride, x)
    y, mean, var = kernels.pool_forward(kind, stride, x.detach(), True)
    torch.testing.assert_close(y, expected.detach(), **TIGHT)
    torch.testing.assert_close(mean, y.flatten(1, 3).mean(1), **TIGHT)
    torch.testing.assert_close(var, y.flatten(1, 3).var(1, correction=0), **TIGHT)
    g = randn(*y.shape)
    (want,) = torch.autograd.grad(expected, x, g)
    total = torch.ones_like(want)
    kernels.pool_backward(kind, stride, x.detach(), y, plain_upstream(g, 2), total)
    torch.testing.assert_close(total - 1, want, **TIGHT)


def test_upstream_terms_of_shared_and_of_empty_rows_are_added(kernels):
    g = randn(3, 2, 4, 3, 5)
    upstream = Upstream(g, indices(0, 2, 1), indices(0, 2, 2, 3), randn(3, 5), mask=randn(3, 2))
    terms = upstream.a[:, None, None, None] * g[upstream.index]
    terms = terms * upstream.mask[:, :, None, None, None]
    want = torch.stack([terms[0] + terms[1], torch.zeros_like(terms[0]), terms[2]])
    total = torch.ones_like(want)
    kernels.add_upstream(upstream, total)
    torch.testing.assert_close(total, 1 + want, **TIGHT)


@settings(max_examples=25, deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 1000),
)
def test_compiled_units_equal_the_reference_at_any_size(compiled, spec, channels, size, seed):
    x = randn(3, *size, channels[0], seed=seed)  # nothing reads the last row
    weights = weights_of(spec, 2, *channels)
    rows = (indices(1, 0, 1), indices(0, 1, 1))
    results = []
    for backend in (REFERENCE, compiled):
        y, mean, var = backend.unit_forward(spec, x, None, weights, *rows, True)
        g, a = randn(2, *y.shape[1:], seed=seed), randn(4, channels[1], seed=seed)
        p, r = randn(3, channels[1], seed=1), randn(3, channels[1], seed=2)
        upstream = Upstream(g, indices(0, 1, 1, 0), indices(0, 1, 3, 4), a, p, r)
        dx, dweights = torch.full_like(x, torch.nan), [torch.zeros_like(w) for w in weights]
        backend.unit_backward(spec, x, None, weights, *rows, y, upstream, dx, True, dweights)
        results.append([y, mean, var, dx, *dweights])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-8)


def test_variance_survives_a_mean_that_is_a_million_standard_deviations_away(kernels):
    y = (randn(1, 8, 16, 16, 8) + 1e6).contiguous()
    mean, var = kernels.statistics(y)
    want = y.flatten(1, 3).var(1, correction=0)
    torch.testing.assert_close(var, want, rtol=1e-9, atol=0)
    single = (
        torch.randn(1, 8, 16, 16, 8, generator=torch.Generator().manual_seed(0)) + 1e3
    ).contiguous()
    _, var = kernels.statistics(single)
    torch.testing.assert_close(
        var.double(), single.double().flatten(1, 3).var(1, correction=0), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("channels", [3, 8])
def test_nan_and_infinity_pass_relu_pooling_and_mix(kernels, bad, channels):
    x = randn(1, 1, 6, 6, channels).float()
    x[0, 0, 2, 3, 1] = bad
    rows, spec = indices(0), UnitSpec("point")
    eye = torch.eye(channels)[None]
    y, mean, _ = kernels.unit_forward(spec, x, None, [eye], rows, rows, True)
    assert not torch.isfinite(y[0, 0, 2, 3, 1]) and not torch.isfinite(mean[0, 1])
    ones = Norm(*(torch.ones(1, channels) for _ in range(4)))
    y, _, _ = kernels.unit_forward(spec, x, ones, [eye], rows, rows, False)
    assert not torch.isfinite(y[0, 0, 2, 3, 1])
    for kind in ("max", "avg"):
        y, _, _ = kernels.pool_forward(kind, 1, x, False)
        assert (~torch.isfinite(y[0, 0, 1:4, 2:5, 1])).all()
    out = torch.zeros_like(x)
    entries = Entries(indices(0, 0, 0, 0, 0, 0)[None], (indices(0, 1),), (1,))
    kernels.mix_forward(torch.ones(1), entries, [Candidate(x)], out)
    assert not torch.isfinite(out[0, 0, 2, 3, 1])
    depthwise = UnitSpec("depthwise", 3)
    taps = [torch.ones(1, 9, channels), eye]
    y, _, _ = kernels.unit_forward(depthwise, x, None, taps, rows, rows, False)
    assert (~torch.isfinite(y[0, 0, 1:4, 2:5, 1])).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_of_a_maximum_goes_to_nan_as_in_torch(kernels, stride):
    x = randn(1, 1, 5, 5, 8)
    x[0, 0, 1, 1] = x[0, 0, 3, 2, :4] = float("nan")
    x.requires_grad_()
    y = pool("max", stride, x)
    g = randn(*y.shape)
    (want,) = torch.autograd.grad(y, x, g)
    dx = torch.zeros_like(x)
    given = (x.detach(), y.detach().contiguous(), plain_upstream(g, 1), dx)
    kernels.pool_backward("max", stride, *given)
    torch.testing.assert_close(dx, want)


def test_the_gradient_of_relu_at_nan_passes_as_in_torch(kernels):
    x = torch.full((1, 1, 2, 2, 8), float("nan"))
    rows = indices(0)
    g, dx = torch.ones_like(x), torch.zeros_like(x)
    kernels.unit_backward(
        UnitSpec("point"),
        x,
        None,
        [torch.eye(8)[None]],
        rows,
        rows,
        x,
        plain_upstream(g, 1),
        dx,
        True,
        None,
    )
    assert torch.equal(dx, torch.ones_like(x))


def test_running_statistics_move_row_by_row_as_batch_norm_moves_them(kernels):
    batches = randn(3, 50, 6)
    norm = torch.nn.BatchNorm1d(6, affine=False).double()
    for batch in batches[[2, 0, 2]]:
        norm(batch)
    running = (
        torch.zeros(2, 6).double(),
        torch.ones(2, 6).double(),
        torch.zeros(2, dtype=torch.int64),
    )
    var, mean = torch.var_mean(batches, 1, correction=0)
    kernels.update_running(running, mean, var, indices(2, 0, 2), indices(1, 1, 1), 50)
    torch.testing.assert_close(running[0][1], norm.running_mean)
    torch.testing.assert_close(running[1][1], norm.running_var)
    assert running[2].tolist() == [0, 3] and torch.equal(running[0][0], torch.zeros(6).double())


@pytest.mark.equation(5, 6, 22, 24)
@pytest.mark.parametrize("level", [0, 1000])
def test_concrete_samples_and_gradients_equal_softmax(kernels, level):
    logits, noise = (level + randn(5, 4)).requires_grad_(), randn(2, 3, 5, 4)
    want = ((logits + noise) / 0.3).softmax(-1)
    z = kernels.concrete_forward(logits.detach(), noise, 0.3)
    torch.testing.assert_close(z, want.detach(), **TIGHT)
    g = randn(*z.shape)
    (dlogits,) = torch.autograd.grad(want, logits, g)
    torch.testing.assert_close(kernels.concrete_backward(z, g, 0.3).sum((0, 1)), dlogits, **TIGHT)
