"""Pictures of cells."""

__all__ = [
    "cell",
    "evolution",
]
