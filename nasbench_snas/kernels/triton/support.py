"""Whether the Triton backend can run here; imports neither Triton nor the kernels."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Types the Triton kernels take; sums are always in float32 or better."""

NOT_INSTALLED = "triton is not installed"


def installed() -> bool:
    """Whether there is Triton at all."""
    return importlib.util.find_spec("triton") is not None


def uninterpretable() -> str:
    """Return why Triton's interpreter cannot run the kernels here, or an empty string."""
    if not installed():
        return NOT_INSTALLED
    release = {name: tuple(map(int, version(name).split(".")[:2])) for name in ("triton", "numpy")}
    if release["triton"] < (3, 8) and release["numpy"] >= (2, 4):  # loops over tensors fail
        return "Triton before 3.8 needs NumPy before 2.4 for its interpreter"
    return ""


def unusable(kind: str, dtype: torch.dtype) -> str:
    """Return why Triton kernels cannot run on devices of this kind, or an empty string.

    Args:
        kind: Device type, for example ``cuda``.
        dtype: The network's type.
    """
    if not installed():
        return NOT_INSTALLED
    if kind != "cuda" or not torch.cuda.is_available():
        return f"Triton kernels need a CUDA device, not {kind!r}"
    if dtype not in DTYPES:
        return f"Triton kernels do not take {dtype}"
    return ""
