"""Which kernel backend runs: by device, by what is built, or as forced.

``auto`` takes Triton on CUDA, the compiled kernels on CPU if they are built, and plain PyTorch
otherwise. When the compiled kernels are missing, they are built in the background for the next run;
a caller with so much work that waiting for the compiler pays says so. The environment variable
``NASBENCH_KERNELS`` replaces ``auto``.
"""

from __future__ import annotations

import logging
import os

import torch

from nasbench_snas.errors import ConfigError, MissingDependencyError, suggest
from nasbench_snas.kernels.folded import FoldedKernels
from nasbench_snas.kernels.protocol import Kernels

logger = logging.getLogger("nasbench_snas")

WAIT_SECONDS = 300.0
"""How long a run waits for another process that is compiling."""

BACKENDS = ("auto", "reference", "cpu", "triton")
"""What ``--kernels`` accepts."""


def select_backend(
    name: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    wait: bool = False,
) -> tuple[Kernels, str]:
    """Return a backend that is usable now, and one line that says which one and why.

    Args:
        name: One of :data:`BACKENDS`. ``auto`` never fails; a backend asked for by name is built
            first if need be.
        device: Where the network runs.
        dtype: The network's type.
        wait: Whether ``auto`` may wait for the compiler.

    Raises:
        ConfigError: Unknown name, or a backend that cannot run on this device or type.
        MissingDependencyError: A backend asked for by name cannot be built.
    """
    forced = os.environ.get("NASBENCH_KERNELS", "")
    name = forced if name == "auto" and forced else name
    if name not in BACKENDS:
        raise ConfigError(f"unknown kernels {name!r}.", suggest(name, BACKENDS))
    kind = torch.device(device).type
    if name == "reference":
        return FoldedKernels(), "kernels: reference (plain PyTorch), as asked for"
    if name == "cpu" or (name == "auto" and kind == "cpu"):
        return _cpu(name, kind, dtype, wait)
    if name == "triton" or (name == "auto" and kind == "cuda"):
        return _triton(name, kind, dtype)
    return FoldedKernels(), f"kernels: reference (plain PyTorch); nothing faster for {kind}"


def _cpu(name: str, kind: str, dtype: torch.dtype, wait: bool) -> tuple[Kernels, str]:
    from nasbench_snas.kernels.cpu import build

    asked = name == "cpu"
    if kind != "cpu" or dtype not in (torch.float32, torch.float64):
        why = f"the compiled kernels run on CPU in float32 and float64, not on {kind} in {dtype}"
        if asked:
            raise ConfigError(f"kernels 'cpu' cannot be used: {why}.", fix="Use --kernels auto.")
        return FoldedKernels(), f"kernels: reference (plain PyTorch); {why}"
    if build.is_built() or asked or (wait and build.can_build()):
        try:
            if not build.is_built():
                logger.warning("compiling the C++ kernels, once: under a minute on two cores")
                build.build_or_note_failure(WAIT_SECONDS)
            from nasbench_snas.kernels.cpu.backend import CpuKernels

            return CpuKernels(build.load_cpu_kernels()), "kernels: cpu (compiled C++)"
        except MissingDependencyError as error:
            if asked:
                raise
            return FoldedKernels(), f"kernels: reference (plain PyTorch); {error.what.rstrip('.')}"
    why = build.build_in_background()
    return FoldedKernels(), f"kernels: reference (plain PyTorch); {why}"


def _triton(name: str, kind: str, dtype: torch.dtype) -> tuple[Kernels, str]:
    from nasbench_snas.kernels.triton import support as triton_support

    why = triton_support.unusable(kind, dtype)
    if not why:
        from nasbench_snas.kernels.triton.backend import TritonKernels

        return TritonKernels(), "kernels: triton"
    if name == "triton":
        raise MissingDependencyError(
            f"kernels 'triton' cannot be used: {why}.", fix="Use --kernels auto."
        )
    return FoldedKernels(), f"kernels: reference (plain PyTorch); {why}"
