"""The parent network's fused primitives: plain PyTorch, compiled C++, Triton, one dispatch."""

from nasbench_snas.kernels.cpu.build import build_cpu_kernels
from nasbench_snas.kernels.dispatch import BACKENDS, select_backend
from nasbench_snas.kernels.protocol import Kernels

__all__ = [
    "BACKENDS",
    "Kernels",
    "build_cpu_kernels",
    "cpu",
    "dispatch",
    "folded",
    "operands",
    "protocol",
    "select_backend",
    "sources",
    "triton",
]
