"""Trained networks after their run: loading, accuracy on any images, export."""

__all__ = [
    "export",
    "genotypes",
    "images",
    "load",
]
