"""Run folders: what stands in them, how a job works in one and continues, how many are read."""

__all__ = [
    "binding",
    "checkpoint",
    "events",
    "folder",
    "index",
    "named",
    "options",
    "pack",
    "plugins",
    "provenance",
    "results",
    "resume",
    "rows",
    "schema",
    "start",
    "temporaries",
    "trackers",
]
