"""Exact losses and gradients of a space small enough to enumerate, and many draws in one pass."""

__all__ = [
    "compiled",
    "draws",
    "exact",
    "network",
    "table",
    "tracking",
]
