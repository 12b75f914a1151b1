"""What bounds each kernel of a step on a GPU, and how long the step should take: a prediction.

Every launch of a step is noted at its real size (tensors have no data), its kernel compiled ahead
of time, and

    time = max(bytes / bandwidth, operations / peak, programs / (occupancy * multiprocessors) waves
               of the latency of one wave) + launch

taken with the data sheet's numbers of a device. Bytes are those of all operands once; operations
are multiply-adds times two, of the taps that a kernel applies (1x1 convolutions are products of
cuBLAS, counted as operations of PyTorch). Nothing here was measured on a GPU: it is written down so
that a measurement has something to be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.architecture.space import Space
from nasbench_snas.kernels.accounting import count_step, counting_kernels
from nasbench_snas.kernels.triton.launch import Launch
from nasbench_snas.prove.ahead import Usage, Variant, compile_kernel, variant_of
from nasbench_snas.prove.timing import step_on_paper


@dataclass(frozen=True)
class Device:
    """A GPU by its data sheet.

    Attributes:
        name: Its name.
        capability: Compute capability, times ten.
        bandwidth: Bytes a second.
        peak: Operations a second in float32, without tensor cores.
        multiprocessors: How many.
        registers: Registers of a multiprocessor.
        shared: Bytes of shared memory of a multiprocessor.
        threads: Threads of a multiprocessor at most.
        launch: Seconds between two kernels of a captured graph.
    """

    name: str
    capability: int
    bandwidth: float
    peak: float
    multiprocessors: int
    registers: int = 65536
    shared: int = 228 * 1024
    threads: int = 2048
    launch: float = 2e-6


H100 = Device("H100 SXM", 90, 3.35e12, 66.9e12, 132)
"""NVIDIA's data sheet of the H100 SXM (3.35 TB/s, 66.9 TFLOP/s in float32, 132 multiprocessors);
the time between kernels is an assumption."""

LIMITS = {
    80: Device("8.0", 80, 0.0, 0.0, 0, shared=164 * 1024),
    90: H100,
    100: Device("10.0", 100, 0.0, 0.0, 0),
    120: Device("12.0", 120, 0.0, 0.0, 0, shared=100 * 1024, threads=1536),
}
"""What a multiprocessor of each compute capability has (NVIDIA's CUDA C++ Programming Guide, table
of technical specifications); rates are not needed for an occupancy."""

WAVE = 2e-6
"""Seconds of one wave of programs that do little: an assumption."""


@dataclass
class Prediction:
    """All launches of one kernel in a step.

    Attributes:
        kernel: Its name.
        launches: How many.
        bytes: Bytes they move.
        operations: Operations they do.
        seconds: How long they take.
        bound: What bounds most of that time: ``bytes``, ``operations``, ``latency`` or ``launch``.
        usage: What the variant that takes longest uses.
        occupancy: Of that variant, the share of a multiprocessor's threads.
    """

    kernel: str
    launches: int = 0
    bytes: int = 0
    operations: int = 0
    seconds: float = 0.0
    bound: str = ""
    usage: Usage | None = None
    occupancy: float = 0.0

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.operations / max(self.bytes, 1)


def occupancy(usage: Usage, device: Device, warps: int = 4) -> float:
    """Return the share of a multiprocessor's threads that can be resident."""
    threads = 32 * warps
    a_warp = -(-usage.registers * 32 // 256) * 256
    programs = min(
        device.registers // max(1, a_warp * warps),
        device.shared // max(1, usage.shared + 1024),
        device.threads // threads,
        32,
    )
    return programs * threads / device.threads


def operations_of(launch: Launch) -> int:
    """Return multiply-adds times two of a launch, from its tables' kinds."""
    sides = {2: 9, 3: 25, 4: 9, 5: 25, 6: 49}
    name, arguments = launch.kernel.__name__, launch.arguments
    tensors = [value for value in arguments if isinstance(value, Tensor)]
    if name in ("depthwise_forward", "depthwise_taps", "depthwise_input"):
        bits = int(launch.constants["KINDS"])
        taps = [number for kind, number in sides.items() if bits >> kind & 1] or [1]
        largest = max(tensors, key=lambda tensor: tensor.numel())
        return int(2 * largest.numel() * sum(taps) / len(taps))
    return 4 * sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())


def time_of(
    moved: int, operations: int, programs: int, share: float, device: Device
) -> tuple[float, str]:
    """Return the seconds of a launch and what bounds them."""
    resident = max(1.0, share * device.threads / 128) * device.multiprocessors
    parts = {
        "bytes": moved / device.bandwidth,
        "operations": operations / device.peak,
        "latency": WAVE * -(-programs // int(resident)),
    }
    bound = max(parts, key=lambda key: parts[key])
    return parts[bound] + device.launch, bound


def predict(
    space: Space, batch: int, device: Device = H100, dtype: torch.dtype = torch.float32
) -> tuple[list[Prediction], dict[str, Any]]:
    """Return the kernels of a soft step, longest first, and the whole step.

    Args:
        space: The space.
        batch: Images.
        device: The GPU.
        dtype: Type in memory.
    """
    kernels = counting_kernels()
    step = step_on_paper(space, batch, kernels, True, dtype)
    step()
    counted = count_step(step, kernels)
    noted: list[Launch] = []
    kernels.launch.observer = noted.append
    step()
    kernels.launch.observer = None
    found, compiled = _by_kernel(noted, device)
    triton_bytes = sum(launch.moved for launch in noted)
    rest = counted.launches - len(noted)
    others = (counted.bytes - triton_bytes) / device.bandwidth + rest * device.launch
    whole = {
        "launches": counted.launches,
        "Triton launches": len(noted),
        "bytes": counted.bytes,
        "kernels compiled": compiled,
        "seconds of Triton kernels": sum(one.seconds for one in found),
        "seconds of PyTorch's operations": others,
        "seconds": sum(one.seconds for one in found) + others,
        "bytes alone, seconds": counted.bytes / device.bandwidth,
    }
    return found, whole


def _by_kernel(noted: Sequence[Launch], device: Device) -> tuple[list[Prediction], int]:
    usages: dict[str, Usage] = {}
    found: dict[str, Prediction] = {}
    spent: dict[str, dict[str, float]] = {}
    longest: dict[str, float] = {}
    for launch in noted:
        variant = variant_of(launch)
        key = f"{launch.kernel.__name__} {variant.signature} {variant.constants}"
        if key not in usages:
            usages[key] = compile_kernel(variant, device.capability)
        usage, name = usages[key], launch.kernel.__name__
        share, operations = occupancy(usage, device), operations_of(launch)
        programs = 1
        for size in launch.grid:
            programs *= size
        seconds, bound = time_of(launch.moved, operations, programs, share, device)
        one = found.setdefault(name, Prediction(name))
        one.launches += 1
        one.bytes += launch.moved
        one.operations += operations
        one.seconds += seconds
        bounds = spent.setdefault(name, {})
        bounds[bound] = bounds.get(bound, 0.0) + seconds
        if seconds > longest.get(name, 0.0):
            longest[name], one.usage, one.occupancy = seconds, usage, share
    for name, one in found.items():
        one.bound = max(spent[name], key=lambda key: spent[name][key])
    return sorted(found.values(), key=lambda one: -one.seconds), len(usages)


def table(found: Sequence[Prediction], whole: dict[str, Any], device: Device = H100) -> str:
    """Return the prediction as Markdown."""
    lines = [
        f"| kernel | launches | MB | operations a byte | registers | shared | spills | occupancy | "
        f"bound by | ms on {device.name}, predicted |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        usage = one.usage
        if usage is None:
            continue
        spills = usage.stack + usage.local
        lines.append(
            f"| `{one.kernel}` | {one.launches} | {one.bytes / 1e6:.0f} | {one.intensity:.1f} | "
            f"{usage.registers} | {usage.shared} | {spills} | {one.occupancy:.0%} | {one.bound} | "
            f"{1e3 * one.seconds:.2f} |"
        )
    lines += ["", *(f"* {key}: {_number(value)}" for key, value in whole.items())]
    return "\n".join(lines) + "\n"


def resources(
    space: Space, batch: int, capabilities: Sequence[int] = tuple(LIMITS)
) -> dict[str, dict[int, tuple[Usage, float]]]:
    """Return what the variant of each kernel that uses most registers on 9.0 uses, and its
    occupancy, by kernel and capability.

    Args:
        space: The space.
        batch: Images.
        capabilities: Compute capabilities, times ten.
    """
    kernels = counting_kernels()
    step = step_on_paper(space, batch, kernels, True)
    noted: list[Launch] = []
    kernels.launch.observer = noted.append
    step()
    different: dict[str, Variant] = {}
    for launch in noted:
        variant = variant_of(launch)
        key = f"{launch.kernel.__name__} {variant.signature} {variant.constants}"
        different.setdefault(key, variant)
    chosen: dict[str, tuple[tuple[int, int], Variant]] = {}
    for variant in different.values():
        usage = compile_kernel(variant, H100.capability)
        rank = usage.stack + usage.local, usage.registers
        if usage.kernel not in chosen or rank > chosen[usage.kernel][0]:
            chosen[usage.kernel] = rank, variant
    found: dict[str, dict[int, tuple[Usage, float]]] = {}
    for name, (_, variant) in chosen.items():
        for capability in capabilities:
            usage = compile_kernel(variant, capability)
            own = usage, occupancy(usage, LIMITS[capability])
            found.setdefault(name, {})[capability] = own
    return found


def resource_table(found: dict[str, dict[int, tuple[Usage, float]]]) -> str:
    """Return :func:`resources` as Markdown: registers / shared / spilled bytes / occupancy."""
    columns = sorted({capability for own in found.values() for capability in own})
    heads = [f"{capability / 10:.1f}" for capability in columns]
    lines = [f"| kernel | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for kernel in sorted(found):
        cells = []
        for capability in columns:
            usage, share = found[kernel][capability]
            spills = usage.stack + usage.local
            cells.append(f"{usage.registers} / {usage.shared} / {spills} / {share:.0%}")
        lines.append(f"| `{kernel}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"
