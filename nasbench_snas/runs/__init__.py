"""Run folders: what stands in them, how a job works in one and continues, how many are read."""

__all__ = [
    "binding",
    "checkpoint",
    "events",
    "folder",
    "index",
    "job",
    "named",
    "options",
    "pack",
    "plugins",
    "progress",
    "provenance",
    "results",
    "resume",
    "rows",
    "schema",
    "start",
    "temporaries",
    "trackers",
]
