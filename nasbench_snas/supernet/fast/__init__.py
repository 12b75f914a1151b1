"""The fast parent: plans, passes and their derivative on fused kernels, equal to the reference."""

__all__ = [
    "graph",
    "packing",
    "parent",
    "units",
]
