"""The C++ kernels: sources, compilation at first use, and the backend that calls them."""

__all__ = [
    "backend",
    "build",
]
