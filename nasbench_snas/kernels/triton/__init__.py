"""The Triton kernels: bodies, plans of launches, the backend, compilation ahead of time."""

__all__ = [
    "backend",
    "launch",
    "support",
]
