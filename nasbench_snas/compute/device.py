"""Where a run computes."""

from __future__ import annotations

import os

import torch

from nasbench_snas.compute.launched import launch_number
from nasbench_snas.errors import ConfigError, MissingDependencyError


def resolve_device(name: str, *, deterministic: bool = True) -> str:
    """Return ``cpu`` or ``cuda:i`` for ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.

    Under torchrun, ``auto`` and ``cuda`` mean the GPU of this process's local rank.

    Args:
        name: What was asked for; ``auto`` takes a GPU if there is one.
        deterministic: On CUDA, use deterministic algorithms only (some are slower).

    Raises:
        ConfigError: The name is not a device.
        MissingDependencyError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{launch_number('LOCAL_RANK', 0)}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"unknown device {name!r}.", "Known: auto, cpu, cuda, cuda:0 …"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported.", "Known: auto, cpu, cuda, cuda:0 …")
    if device.type == "cpu":
        return "cpu"
    if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
        raise MissingDependencyError(
            f"there is no device {name!r}.",
            f"CUDA devices found: {torch.cuda.device_count()}.",
            "Use --device cpu, or install a driver (`nasbench doctor` tells more).",
        )
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        # Otherwise every torch.empty is filled with NaN: one more launch and one more pass over
        # memory each, for tensors that kernels write in full.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.cuda.set_device(device.index or 0)  # pinned memory and first uses belong there as well
    return f"cuda:{device.index or 0}"
