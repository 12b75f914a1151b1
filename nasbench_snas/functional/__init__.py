"""The estimators for a function of one's own, differentiable or black-box, of categoricals.

Every estimator that fits has a function of its own name, with underscores for dashes:
``functional.rloo(logits, f, generator=generator, n=8)`` is ``estimate(..., estimator="rloo")``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from nasbench_snas.functional.compare import Comparison, GradientRow, compare_gradients
from nasbench_snas.functional.estimation import estimate, make_estimator, variance_objective
from nasbench_snas.registry import Registry

__all__ = [
    "Comparison",
    "GradientRow",
    "compare",
    "compare_gradients",
    "estimate",
    "make_estimator",
    "variance_objective",
]


def __getattr__(name: str) -> Any:
    """Return the functional form of the estimator ``name`` (with underscores for dashes)."""
    wanted = name.replace("_", "-")
    if not name.startswith("_") and any(e.name == wanted for e in Registry().estimators()):
        return partial(estimate, estimator=wanted)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names and the functional forms."""
    forms = [entry.name.replace("-", "_") for entry in Registry().estimators()]
    return sorted([*__all__, *forms])
