"""The primitives by themselves."""

import pytest
import torch

from nasbench_snas.kernels.operands import Candidate, Entries, UnitSpec, Upstream

EDGES, BATCH, SIDE, CHANNELS = 4, 8, 16, 16


@pytest.fixture
def place(place):
    """Device and kernels that are called one by one."""
    if place[1].sources is not None:
        pytest.skip("this backend runs whole sources (test_cell.py)")
    return place


def nodes(rows, device):
    return torch.randn(rows, BATCH, SIDE, SIDE, CHANNELS, device=device)


def whole(kernels, g):
    rows = kernels.indices(range(len(g) + 1), g.device)
    return Upstream(g, rows[:-1], rows, torch.ones(len(g), g.shape[-1], device=g.device))


SPECS = [UnitSpec("depthwise", k, d) for k, d in ((3, 1), (5, 1), (3, 2), (5, 2))] + [
    UnitSpec("point")
]


@pytest.mark.parametrize("passes", ["forward", "backward"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.kind}{s.kernel}d{s.dilation}")
def test_unit(measure, place, spec, passes):
    device, kernels = place
    x = nodes(1, device)
    weights = [torch.randn(EDGES, CHANNELS, CHANNELS, device=device)]
    taps = spec.kernel**2 if spec.kind == "depthwise" else 0
    if taps:
        weights = [torch.randn(EDGES, taps, CHANNELS, device=device), *weights]
    rows = kernels.indices([0] * EDGES, device), kernels.indices(range(EDGES), device)
    y, _, _ = kernels.unit_forward(spec, x, None, weights, *rows, True)
    dx, dweights = torch.zeros_like(x), [torch.zeros_like(w) for w in weights]
    upstream = whole(kernels, torch.randn_like(y))
    operations = 2 * y.numel() * (taps + CHANNELS)
    if passes == "forward":
        measure(lambda: kernels.unit_forward(spec, x, None, weights, *rows, True), device,
                4 * (x.numel() + y.numel()), operations)  # fmt: skip
    else:
        measure(
            lambda: kernels.unit_backward(
                spec, x, None, weights, *rows, y, upstream, dx, False, dweights
            ),
            device, 4 * (3 * x.numel() + 2 * y.numel()), 2 * operations,
        )  # fmt: skip


@pytest.mark.parametrize("passes", ["forward", "backward"])
def test_mix(measure, place, passes):
    device, kernels = place
    operations, out = 5, nodes(EDGES, device)
    candidates = [
        Candidate(y, *kernels.statistics(y))
        for y in (nodes(EDGES, device) for _ in range(operations))
    ]
    table = [[k, e, e, e, e * operations + k, e] for k in range(operations) for e in range(EDGES)]
    starts = kernels.indices(range(EDGES + 1), device)
    entries = Entries(
        kernels.indices([v for line in table for v in line], device).view(-1, 6),
        (starts,) * operations, (EDGES,) * operations,
    )  # fmt: skip
    z = torch.rand(EDGES * operations, device=device)
    size, flops = 4 * out.numel() * (operations + 1), 2 * out.numel() * operations
    if passes == "forward":
        measure(
            lambda: kernels.mix_forward(z, entries, candidates, out),
            device,
            size + 4 * out.numel(),
            flops,
        )
    else:
        none, dz = [None] * operations, torch.zeros_like(z)
        measure(lambda: kernels.mix_backward(z, entries, candidates, out, dz, none, none, True),
                device, size, 2 * flops)  # fmt: skip


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pool(measure, place, kind):
    device, kernels = place
    x = nodes(1, device)
    measure(lambda: kernels.pool_forward(kind, 1, x, True), device, 8 * x.numel(), 9 * x.numel())


def test_statistics(measure, place):
    device, kernels = place
    y = nodes(EDGES, device)
    measure(lambda: kernels.statistics(y), device, 4 * y.numel(), 4 * y.numel())
