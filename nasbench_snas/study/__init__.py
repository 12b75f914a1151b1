"""The study of gradients: bias, variance and error of estimators at points of real searches."""

__all__ = [
    "decomposition",
    "plan",
    "settings",
    "study",
]
