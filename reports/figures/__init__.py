"""Figures: one module for each kind, one style."""

__all__ = [
    "files",
    "gradients",
    "landscape",
    "style",
]
