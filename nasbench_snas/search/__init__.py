"""The architecture search: loop, optimisation levels, derivation and child validation."""

__all__ = [
    "calibrate",
    "child",
    "estimate",
    "levels",
    "load",
    "objective",
    "plan",
    "ready",
    "resource",
    "rules",
    "runner",
    "search",
]
