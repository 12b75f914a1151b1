"""Triton kernels, interpreted, against plain PyTorch; that they are right on a GPU is not shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nasbench_snas.kernels.triton import support

pytest.importorskip("triton")

CASES = Path(__file__).with_name("triton_cases.py")
ROOT = Path(__file__).parents[2]


def interpret(*arguments, cases=CASES):
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(cases), *arguments], env=environment, capture_output=True, text=True,
        timeout=1800, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(bool(support.uninterpretable()), reason=support.uninterpretable())
def test_interpreted_kernels_equal_plain_pytorch():
    """Kernels in cells; whole parents take minutes: ``triton_cases.py --all``, by hand."""
    done = interpret()
    assert done.returncode == 0 and "all equal" in done.stdout, done.stderr[-3000:]


def test_planted_reads_out_of_bounds_and_dependence_on_the_order_are_found():
    done = interpret(cases=CASES.with_name("sanitizer_cases.py"))
    assert done.returncode == 0 and "all found" in done.stdout, done.stderr[-3000:]
