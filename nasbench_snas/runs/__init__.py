"""Run folders: what stands in them, how a job works in one and continues, how many are read."""

__all__ = [
    "checkpoint",
    "folder",
    "index",
    "options",
    "provenance",
    "results",
    "resume",
    "rows",
    "schema",
    "start",
    "temporaries",
    "trackers",
]
