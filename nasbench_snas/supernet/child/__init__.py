"""Derived networks: their plan, their modules, and their chains on compiled kernels."""

__all__ = [
    "kernels",
    "network",
    "plan",
]
