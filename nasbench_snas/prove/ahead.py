"""Compiles the Triton kernels ahead of time, without a GPU, and reads what they use.

Compiling proves neither that a kernel is right on a GPU nor how fast it is there; it does show
spilled registers.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.kernels.triton.backend import TritonKernels
from nasbench_snas.kernels.triton.launch import REGISTERS, Launch
from nasbench_snas.supernet.fast.parent import FastParent

CAPABILITIES = (80, 90, 100, 120)
"""Compute capabilities, times ten, that the kernels are compiled for."""

OPERATIONS = (
    ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
     "dil_conv_3x3", "dil_conv_5x5"),
    ("max_pool_3x3", "skip_connect", "sep_conv_7x7", "conv_1x1"),
)  # fmt: skip
"""All operations with kernels, as two spaces offer them."""

_SIZES = {"C", "CO", "KK", "BC", "BW", "BP", "BN"}
"""Constants that depend on numbers of channels and pixels."""

_TYPES = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float64: "*fp64", torch.int64: "*i64",
    torch.uint8: "*u8", torch.float16: "*fp16",
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A kernel with the types and constants it is launched with."""

    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """What a compiled kernel uses: registers a thread; bytes of stack, local and shared memory."""

    kernel: str
    capability: int
    registers: int
    stack: int
    local: int
    shared: int


@contextmanager
def noted(kernels: TritonKernels) -> Iterator[list[Launch]]:
    """Collect what ``kernels`` would launch inside the block."""
    launches: list[Launch] = []
    kernels.launch.dry, kernels.launch.observer = True, launches.append
    try:
        yield launches
    finally:
        kernels.launch.dry, kernels.launch.observer = False, None


def variants(
    channels: int = 16, dtype: torch.dtype = torch.float32, sizes: bool = False
) -> list[Variant]:
    """Return every kernel as parents of that many channels launch it.

    Training with and without masks of the edges, several draws, evaluation, and sampling, at 32x32
    pixels; found by running them without a GPU, so that none is forgotten.

    Args:
        channels: Channels of the first cell; later ones have twice and four times as many.
        dtype: Type of activations and weights.
        sizes: Whether to return those for all numbers of channels, instead of the first one met.
    """
    kernels = TritonKernels()
    with noted(kernels) as launches:
        _run_parents(kernels, channels, dtype)
        noise = torch.zeros(2, 14, 8)
        kernels.concrete_backward(kernels.concrete_forward(noise[0], noise, 1.0), noise, 1.0)
    found: dict[str, Variant] = {}
    for launch in launches:
        variant = variant_of(launch)
        chosen = [(n, v) for n, v in variant.constants.items() if sizes or n not in _SIZES]
        found.setdefault(f"{launch.kernel.__name__} {variant.signature} {chosen}", variant)
    return list(found.values())


def _run_parents(kernels: TritonKernels, channels: int, dtype: torch.dtype) -> None:
    cells = (CellType.dense("cell", 2, 2),)
    layers = tuple(Layer("cell", channels * width, min(2, width), "cell") for width in (1, 2, 4))
    for operations in OPERATIONS:
        space = Space("parent", operations, cells, layers, 3 * channels, affine=True)
        parent = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels).to(dtype)
        images = torch.zeros(2, 3, 32, 32, dtype=dtype)
        z = torch.zeros(2, space.num_edges, space.num_operations, dtype=dtype, requires_grad=True)
        for edge_mask in (None, torch.ones(3, space.num_edges, 2)):
            parent(images, z, all_operations=True, edge_mask=edge_mask).sum().backward()
        parent.eval()
        parent(images, z, all_operations=True).sum().backward()


def variant_of(launch: Launch) -> Variant:
    """Return the types and constants of a launch."""
    names = [name for name in launch.kernel.arg_names if name not in launch.constants]
    signature = {name: "constexpr" for name in launch.kernel.arg_names}
    for name, value in zip(names, launch.arguments, strict=True):
        if isinstance(value, Tensor):
            signature[name] = _TYPES[value.dtype]
        else:
            signature[name] = "fp64" if isinstance(value, float) else "i32"
    return Variant(launch.kernel, signature, launch.constants)


def compile_kernel(variant: Variant, capability: int) -> Usage:
    """Compile one kernel and return what it uses.

    Args:
        variant: The kernel with types and constants.
        capability: For example 90 for compute capability 9.0.
    """
    # As at run time: without these hints no 128-bit loads are generated.
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, (name, what) in enumerate(variant.signature.items())
        if what.startswith("*") or (what == "i32" and name in ("P", "N"))
    }
    source = ASTSource(
        fn=variant.kernel, signature=variant.signature, constexprs=variant.constants, attrs=aligned
    )
    target = GPUTarget("cuda", capability, 32)
    options = {"num_warps": 4, "maxnreg": REGISTERS}
    compiled = triton.compile(source, target=target, options=options)
    name = variant.kernel.__name__
    return _usage(name, capability, compiled.asm["cubin"], compiled.metadata.shared)


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
