"""Where a run computes: the device, the threads of a process, the processes of a job."""

__all__ = [
    "deadline",
    "device",
    "distributed",
    "launched",
    "modes",
    "threads",
    "training",
]
