"""Training a derived network from scratch: images, network, loop, plan of runs."""

__all__ = [
    "accuracy",
    "estimate",
    "network",
    "plan",
    "runner",
]
