"""What an architecture costs: tables of parameters, multiply-adds, memory access; expectations."""

__all__ = [
    "control",
    "conventions",
    "expected",
    "listing",
    "network",
    "settings",
    "size",
    "table",
]
