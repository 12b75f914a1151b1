"""Tables: the model of a table, and one module for each kind."""

__all__ = [
    "cost",
    "damage",
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
]
