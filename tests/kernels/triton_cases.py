"""Triton kernels against plain PyTorch; run in a process of its own with TRITON_INTERPRET=1."""

import sys

import torch

from nasbench_snas.kernels.protocol import Candidate, Entries, Norm, UnitSpec, Upstream
from nasbench_snas.kernels.reference import ReferenceKernels, combine
from nasbench_snas.kernels.triton_backend import TritonKernels

REFERENCE, TRITON = ReferenceKernels(), TritonKernels()


def close(got, want, dtype):
    tolerance = {torch.float64: 2e-6, torch.float32: 2e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(got.double(), want.double(), rtol=tolerance, atol=tolerance * 10)


def indices(*values):
    return torch.tensor(values)


def depthwise(dtype, spec, channels, with_norm):
    x = torch.randn(2, 1, 4, 3, channels, dtype=dtype)
    norm = Norm(*(torch.randn(2, channels, dtype=dtype) for _ in range(4))) if with_norm else None
    weights = [torch.randn(3, spec.kernel**2, channels), torch.randn(3, channels, 4)]
    weights = [w.to(dtype) for w in weights]
    rows = indices(0, 1, 1), indices(2, 0, 2)
    results = []
    for backend in (REFERENCE, TRITON):
        torch.manual_seed(1)
        y, mean, var = backend.unit_forward(spec, x, norm, weights, *rows, True)
        y = y if not results else results[0][0]
        g, a, p, r = (
            torch.randn(*s, dtype=dtype) for s in ((2, *y.shape[1:]), (4, 4), (3, 4), (3, 4))
        )
        upstream = Upstream(g, indices(0, 1, 1, 0), indices(0, 1, 3, 4), a, p, r)
        dx, dws = torch.ones_like(x), [torch.zeros_like(w) for w in weights]
        sums = backend.unit_backward(spec, x, norm, weights, *rows, y, upstream, dx, False, dws)
        results.append([y, mean, var, dx, *dws, *([] if sums is None else [sums])])
    for got, want in zip(results[1], results[0], strict=True):
        close(got, want, dtype)


def mix(dtype, channels, masked):
    ys = [torch.randn(n, 2, 3, 5, channels, dtype=dtype) for n in (3, 1, 2)]
    table = [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1], [0, 2, 2, 1, 2, 0], [1, 0, 0, 0, 3, 1],
             [1, 0, 0, 1, 4, 0], [2, 0, 0, 0, 5, 1], [2, 1, 1, 1, 6, 0]]  # fmt: skip
    starts = (indices(0, 1, 2, 3), indices(0, 2), indices(0, 1, 2))
    mask = torch.rand(7, 2, dtype=dtype) if masked else None
    z, g = torch.randn(7, dtype=dtype), torch.randn(2, 2, 3, 5, channels, dtype=dtype)
    learnt = [torch.randn(2, channels, dtype=dtype) for _ in range(2)]
    candidates = [
        Candidate(ys[0], *REFERENCE.statistics(ys[0]), *learnt), Candidate(ys[1]),
        Candidate(ys[2], *REFERENCE.statistics(ys[2])),
    ]  # fmt: skip
    results = []
    for backend in (REFERENCE, TRITON):
        entries = Entries(torch.tensor(table), starts, (3, 2, 2), mask)
        out, dz = torch.ones_like(g), torch.ones_like(z)
        backend.mix_forward(z, entries, candidates, out)
        dg, db = ([torch.zeros_like(learnt[0]), None, None] for _ in range(2))
        ups = backend.mix_backward(z, entries, candidates, g, dz, dg, db, True)
        dys = [combine(up, y, y.shape[0]) for up, y in zip(ups, ys, strict=True)]
        added = torch.ones_like(ys[1])
        backend.add_upstream(ups[1], added)
        results.append([out, dz, dg[0], db[0], *dys, added, backend.gradient_of(ups[0], ys[0])])
    for got, want in zip(results[1], results[0], strict=True):
        close(got, want, dtype)


def small(dtype):
    y = (torch.randn(2, 3, 4, 5, 6) + 100).to(dtype)
    for got, want in zip(TRITON.statistics(y), REFERENCE.statistics(y.double()), strict=True):
        close(got, want, dtype)
    logits, noise = torch.randn(5, 3, dtype=dtype), torch.randn(2, 4, 5, 3, dtype=dtype)
    permuted = noise.permute(2, 1, 0, 3).contiguous().permute(2, 1, 0, 3)
    z = REFERENCE.concrete_forward(logits, permuted, 0.5)
    close(TRITON.concrete_forward(logits, permuted, 0.5), z, dtype)
    close(
        TRITON.concrete_backward(z, noise, 0.5), REFERENCE.concrete_backward(z, noise, 0.5), dtype
    )
    runs = []
    for backend in (REFERENCE, TRITON):
        running = (
            torch.zeros(3, 4, dtype=dtype),
            torch.ones(3, 4, dtype=dtype),
            torch.zeros(3).long(),
        )
        torch.manual_seed(2)
        mean, var = torch.randn(3, 4, dtype=dtype), torch.rand(3, 4, dtype=dtype)
        backend.update_running(running, mean, var, indices(2, 0, 2, 1), indices(1, 1, 1, 0), 9)
        runs.append(running)
    for got, want in zip(runs[1], runs[0], strict=True):
        close(got, want, dtype)


def nan(dtype):
    x = torch.randn(1, 1, 4, 4, 8, dtype=dtype)
    x[0, 0, 1, 1, 3] = float("nan")
    weights = [torch.ones(1, 9, 8, dtype=dtype), torch.eye(8, dtype=dtype)[None]]
    y, mean, _ = TRITON.unit_forward(
        UnitSpec("depthwise", 3), x, None, weights, indices(0), indices(0), True
    )
    assert torch.isnan(y[0, 0, :3, :3, 3]).all() and torch.isnan(mean[0, 3])


def parent():
    from nasbench_snas.spaces.darts_cnn import DartsCNN
    from nasbench_snas.supernet.fast import FastParent

    space, results = DartsCNN(cells=2, channels=2, nodes=1, stem_multiplier=1).build(3, 3, 4), []
    for backend in (REFERENCE, TRITON):
        torch.manual_seed(0)
        net = FastParent(space, torch.Generator().manual_seed(0), kernels=backend).double()
        z = torch.rand(
            2, space.num_edges, space.num_operations, dtype=torch.float64
        ).requires_grad_()
        logits = net(torch.randn(2, 3, 4, 4, dtype=torch.float64), z, all_operations=True)
        logits.square().sum().backward()
        results.append([logits, z.grad, *[p.grad for p in net.parameters()], *net.buffers()])
    for got, want in zip(results[1], results[0], strict=True):
        close(got, want, torch.float64)


def main():
    torch.manual_seed(0)
    specs = [UnitSpec("depthwise", k, d, s) for k, d, s in ((3, 1, 1), (3, 2, 2), (5, 1, 1))]
    for number, spec in enumerate(specs):
        depthwise(torch.float64, spec, 3 + number, number % 2 == 0)
    if "--all" in sys.argv:
        depthwise(torch.float32, UnitSpec("depthwise", 5, 2), 8, True)
        depthwise(torch.float32, UnitSpec("depthwise", 7, 1, 2), 3, False)
        parent()
    for dtype, channels, masked in (
        (torch.float64, 5, True), (torch.float64, 70, False), (torch.float32, 8, False)
    ):  # fmt: skip
        mix(dtype, channels, masked)
    small(torch.float64), small(torch.float32), nan(torch.float32)
    sys.stdout.write("all equal\n")


if __name__ == "__main__":
    main()
