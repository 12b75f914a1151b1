"""Devices, backends and the measurement itself.

Every benchmark records in ``extra_info``: device, torch, bytes moved and operations (on paper), and
the fraction of the roofline measured on this machine: the least time that its bytes at copy speed
or its operations at matrix-product speed would take, over the median time.
"""

import platform
import time

import pytest
import torch

from nasbench_snas.kernels import select_backend
from nasbench_snas.kernels.cpu import build
from nasbench_snas.kernels.triton import support as triton_support

COMBINATIONS = [("cpu", "reference"), ("cpu", "cpu"), ("cuda", "reference"), ("cuda", "triton")]


def _why_not(device, backend):
    """Return why a combination cannot run here, or an empty string."""
    if device == "cuda" and not torch.cuda.is_available():
        return "no CUDA device"
    if backend == "cpu" and (why := build.missing_compiler()):
        return why
    if backend == "triton":
        return triton_support.unusable(device, torch.float32)
    return ""


@pytest.fixture
def why_not():
    """The function that says why a combination cannot run here."""
    return _why_not


@pytest.fixture(params=COMBINATIONS, ids=lambda pair: "-".join(pair))
def place(request):
    """Device and kernels; skipped with the reason where they cannot run."""
    device, backend = request.param
    if why := _why_not(device, backend):
        pytest.skip(why)
    return device, select_backend(backend, device)[0]


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """A device; skipped with the reason where there is none."""
    if why := _why_not(request.param, "reference"):
        pytest.skip(why)
    return request.param


def best_of(function, device, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(scope="session")
def roofline():
    """Measured rates of a device: operations per second, bytes per second."""
    known = {}

    def rates(device):
        if device not in known:
            size = 512 if device == "cpu" else 4096
            a = torch.randn(size, size, device=device)
            x = torch.empty(2**22 if device == "cpu" else 2**27, device=device)
            y = torch.ones_like(x)
            compute = 2 * size**3 / best_of(lambda: a @ a, device)
            known[device] = compute, 2 * 4 * x.numel() / best_of(lambda: x.copy_(y), device)
        return known[device]

    return rates


@pytest.fixture
def measure(benchmark, roofline):
    """Return ``run(step, device, bytes_moved, operations)``: times a step, fills ``extra_info``.

    ``costs`` returns both, and is called only if there is a time to compare them with.
    """

    def run(step, device, bytes_moved=0, operations=0, costs=None, **info):
        events = []

        def on_cuda():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            step()
            end.record()
            torch.cuda.synchronize()
            events.append(start.elapsed_time(end) / 1e3)

        target = on_cuda if device == "cuda" else step
        benchmark.pedantic(target, rounds=5, warmup_rounds=1)
        name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
        extra = {
            "device": name or device,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        if costs is not None and benchmark.stats is not None:
            bytes_moved, operations = costs()
        extra |= {"bytes": bytes_moved, "operations": operations, **info}
        if events:
            extra["median_event_seconds"] = sorted(events[-5:])[2]
        if benchmark.stats is not None and (bytes_moved or operations):
            compute, copy = roofline(device)
            floor = max(operations / compute, bytes_moved / copy)
            median = extra.get("median_event_seconds", benchmark.stats.stats.median)
            extra["fraction_of_roofline"] = floor / median
        benchmark.extra_info.update(extra)

    return run
