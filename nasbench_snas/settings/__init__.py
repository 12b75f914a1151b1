"""What a run may be told: validated settings, presets, and how both are read."""

__all__ = [
    "layers",
    "parameters",
    "retrain",
    "run",
    "seed_list",
    "sources",
    "toml",
    "values",
    "where",
]
