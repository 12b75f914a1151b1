"""What an architecture costs: tables of parameters, multiply-adds, memory access; expectations."""

__all__ = [
    "control",
    "conventions",
    "expected",
    "file_table",
    "latency",
    "listing",
    "network",
    "own",
    "settings",
    "size",
    "table",
]
