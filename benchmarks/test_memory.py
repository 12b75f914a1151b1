"""Peak memory of a step, in a process of its own; the time it takes is that process's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SIZE = os.environ.get("NASBENCH_BENCHMARK_SIZE", "tiny")

SCRIPT = """
import resource, sys
import torch
from parents import batch, parent, step, weights
from nasbench_snas.kernels import select_backend
size, which, device = sys.argv[1:]
kernels = None if which == "parent" else select_backend("auto", device, wait=True)[0]
net = parent(size, kernels, device, which == "recompute")
images, labels = batch(size, device)
z = weights(net.space, 1, False, device)
step(net, images[:2], labels[:2], z, all_operations=True)
def used():
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = used()
step(net, images, labels, z, all_operations=True)
print(used() - before)
"""


@pytest.mark.parametrize("which", ["parent", "fast", "recompute"])
def test_peak_growth(benchmark, device, which):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    grown = []

    def run():
        command = [sys.executable, "-c", SCRIPT, SIZE, which, device]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        grown.append(int(done.stdout.split()[-1]))

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(
        peak_growth_bytes=max(grown), size=SIZE, device=device, torch=torch.__version__
    )
    assert grown[0] >= 0
