"""Genotypes found in texts as they stand in files: logs, modules, tables, shell lines."""

__all__ = [
    "aliases",
    "benchmarks",
    "decode",
    "fields",
    "scan",
    "select",
    "surroundings",
    "values",
]
