"""Tables: the model of a table, and one module for each kind."""

__all__ = [
    "ablation",
    "baselines",
    "checklist",
    "columns",
    "cost",
    "damage",
    "disconnected",
    "estimators",
    "gradients",
    "landscape",
    "legend",
    "measure",
    "model",
    "retrained",
    "rules",
    "selection",
    "studies",
    "study",
    "table1",
    "truth",
]
