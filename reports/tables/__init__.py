"""Tables: the model of a table, and one module for each kind."""

__all__ = [
    "ablation",
    "baselines",
    "checklist",
    "cost",
    "damage",
    "disconnected",
    "estimators",
    "gradients",
    "landscape",
    "measure",
    "model",
    "retrained",
    "rules",
    "selection",
    "studies",
    "table1",
    "truth",
]
