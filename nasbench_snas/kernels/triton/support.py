"""Whether the Triton backend can run here; imports neither Triton nor the kernels."""

from __future__ import annotations

import importlib.util

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Types the Triton kernels take; sums are always in float32 or better."""


def unusable(kind: str, dtype: torch.dtype) -> str:
    """Return why Triton kernels cannot run on devices of this kind, or an empty string.

    Args:
        kind: Device type, for example ``cuda``.
        dtype: The network's type.
    """
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if kind != "cuda" or not torch.cuda.is_available():
        return f"Triton kernels need a CUDA device, not {kind!r}"
    if dtype not in DTYPES:
        return f"Triton kernels do not take {dtype}"
    return ""
