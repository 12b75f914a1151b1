"""Networks built from a space: the parent with all candidates, and derived child networks."""

__all__ = [
    "build",
    "child",
    "fast",
    "modules",
    "noise",
    "reference",
    "skeleton",
]
