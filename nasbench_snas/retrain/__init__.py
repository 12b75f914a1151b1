"""Training a derived network from scratch: images, network, loop, plan of runs."""

__all__ = [
    "accuracy",
    "network",
    "plan",
    "runner",
]
