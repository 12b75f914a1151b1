"""Planted faults that the sanitizer must find; run with TRITON_INTERPRET=1 in its own process."""

import sys

import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError

from nasbench_snas.prove.sanitizer import sanitized


@triton.jit
def doubled(x_ptr, out_ptr, N, MASK: tl.constexpr, BN: tl.constexpr):  # type: ignore[no-untyped-def]
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = n < N if MASK else n >= 0
    tl.store(out_ptr + n, 2 * tl.load(x_ptr + n, mask=inside, other=0.0), mask=n < N)


@triton.jit
def running(x_ptr, out_ptr):  # type: ignore[no-untyped-def]
    """Every program adds to what the one before it has written."""
    n = tl.program_id(0)
    before = tl.load(out_ptr + n - 1, mask=n > 0, other=0.0)
    tl.store(out_ptr + n, before + tl.load(x_ptr + n))


@triton.jit
def by_address(table_ptr, out_ptr):  # type: ignore[no-untyped-def]
    pointer = tl.load(table_ptr).to(out_ptr.dtype)
    tl.store(out_ptr, tl.load(pointer))


def refused(run):
    try:
        run()
    except InterpreterError as error:
        return "outside of every tensor" in str(error)
    return False


def main():
    x, out = torch.arange(6.0), torch.zeros(6)
    with sanitized([], seed=0):
        doubled[(2,)](x, out, 6, MASK=True, BN=4)
        assert torch.equal(out, 2 * x)
        # an out-of-bounds read whose value is never used: results are right
        assert refused(lambda: doubled[(2,)](x, out, 6, MASK=False, BN=4))
        # inside of the storage, but outside of the tensor that was handed over
        assert refused(lambda: doubled[(1,)](x[:4], out[:4], 6, MASK=True, BN=8))
    wanted, seen = x.cumsum(0), []
    for seed in range(4):
        out = torch.zeros(6)
        with sanitized([], seed=seed):
            running[(6,)](x, out)
        seen.append(out)
    assert not all(torch.equal(out, wanted) for out in seen)
    out = torch.zeros(6)
    running[(6,)](x, out)
    assert torch.equal(out, wanted)  # in order, nothing shows
    hidden, table = torch.ones(1), torch.tensor([0])
    table[0] = hidden.data_ptr()
    with sanitized([], seed=0):
        assert refused(lambda: by_address[(1,)](table, out))
    with sanitized([hidden], seed=0):
        by_address[(1,)](table, out)
        assert torch.empty(3).isnan().all()
    assert float(out[0]) == 1
    sys.stdout.write("all found\n")


if __name__ == "__main__":
    main()
