"""Compiles the Triton kernels ahead of time, without a GPU, and reads what they use.

Compiling proves neither that a kernel is right on a GPU nor how fast it is there; it does show
spilled registers.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nasbench_snas.kernels import triton_kernels, triton_mix

CAPABILITIES = (80, 90, 100, 120)
"""Compute capabilities, times ten, that the kernels are compiled for."""

_INTEGERS = {
    "B", "H", "W", "HO", "WO", "P", "N", "PART", "PARTS", "LINES", "ROWS", "PERIOD", "U",
}  # fmt: skip
_WIDE = {
    "x_rows_ptr", "w_rows_ptr", "order_ptr", "starts_ptr", "table_ptr", "addresses_ptr",
    "row_starts_ptr", "index_ptr", "rows_ptr", "batches_ptr",
}  # fmt: skip
_SUMS = {"parts_ptr", "sums_ptr", "a_ptr", "p_ptr", "r_ptr", "hat_ptr"}


@dataclass(frozen=True)
class Usage:
    """What a compiled kernel uses: registers a thread; bytes of stack, local and shared memory."""

    kernel: str
    capability: int
    registers: int
    stack: int
    local: int
    shared: int


def variants(channels: int = 16) -> list[tuple[Any, dict[str, Any]]]:
    """Return the kernels and the constants a parent of that many channels uses them with."""
    import triton.language as tl

    wide, pixels = min(64, channels), max(8, 1024 // min(64, channels))
    acc = {"C": channels, "ACC": tl.float32, "BC": wide}
    strip = {**acc, "BW": min(pixels, 32), "ST": 1}
    result: list[tuple[Any, dict[str, Any]]] = []
    for side, dilation in ((3, 1), (5, 1), (3, 2), (5, 2)):
        taps = {"K": side, "D": dilation}
        padded = 4 if side == 3 else 8
        strip_width = 16 if side == 3 else 8  # wider ones spill on capability 8.0
        narrow = {"BC": min(16, channels), "BW": strip_width, "KP": padded, "NORM": True}
        result += [
            (triton_kernels.depthwise_forward, {**strip, **taps, "NORM": True}),
            (triton_kernels.depthwise_input, {**strip, **taps, "NORM": True, "ADD": False}),
            (triton_kernels.depthwise_taps, {**strip, **taps, **narrow}),
        ]
    image = {**acc, "BP": pixels, "MASK": False}
    result += [
        (triton_kernels.part_moments, {**acc, "BN": pixels}),
        (triton_kernels.merge_moments, acc),
        (triton_kernels.update_running, acc),
        (triton_mix.mix_forward, image),
        (triton_mix.mix_dots, image),
        (triton_mix.mix_credit, {**acc, "BATCH": True}),
        (triton_mix.upstream_rows, {**image, "SLOPE": True, "ADD": False}),
    ]
    rows = {"K": 8, "ACC": tl.float32, "BR": 16, "BK": 8}
    return [*result, (triton_kernels.concrete_forward, rows),
            (triton_kernels.concrete_backward, rows)]  # fmt: skip


def compile_kernel(kernel: Any, constants: dict[str, Any], capability: int, kind: str) -> Usage:
    """Compile one kernel and return what it uses.

    Args:
        kernel: The Triton function.
        constants: Its compile-time arguments.
        capability: For example 90 for compute capability 9.0.
        kind: Type of the activations, ``fp32`` or ``bf16``.
    """
    signature = {}
    for name in kernel.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif name.endswith("_ptr"):
            wide, summed = name in _WIDE, name in _SUMS
            signature[name] = "*i64" if wide else "*fp32" if summed else f"*{kind}"
        else:
            signature[name] = "i32" if name in _INTEGERS else "fp64"
    # As at run time: without these hints no 128-bit loads are generated.
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, (name, what) in enumerate(signature.items())
        if what.startswith("*") or name == "P"
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": 4})
    return _usage(kernel.__name__, capability, compiled.asm["cubin"], compiled.metadata.shared)


def _usage(name: str, capability: int, cubin: bytes, shared: int) -> Usage:
    tool = Path(os.path.dirname(triton.__file__)) / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tool), "--dump-resource-usage", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", text)
    if found is None:
        raise RuntimeError(f"no resource usage in the output of {tool}: {text[:200]}")
    registers, stack, _, local = map(int, found.groups())
    return Usage(name, capability, registers, stack, local, shared)
