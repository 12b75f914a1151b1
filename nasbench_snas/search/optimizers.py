"""The optimiser of a search's distribution."""

from __future__ import annotations

from typing import Any

import torch

from nasbench_snas.api import Distribution, Estimator
from nasbench_snas.settings.run import AlphaSettings

PAPER_ALPHA = {"lr": 3e-4, "betas": (0.5, 0.999), "eps": 1e-8, "weight_decay": 1e-3}
"""Appendix G.1 of SNAS, arXiv:1812.09926."""


def alpha_defaults(estimator: type[Estimator]) -> dict[str, Any]:
    """Return the optimiser settings of ``estimator``: the paper's, or its own where declared."""
    return PAPER_ALPHA | dict(getattr(estimator, "optimizer_defaults", {}))


def alpha_optimizer(
    settings: AlphaSettings, estimator: Estimator, dist: Distribution
) -> torch.optim.Optimizer:
    """Return the optimiser of the distribution and of control-variate parameters."""
    chosen = alpha_defaults(type(estimator))
    given = settings.model_dump(include={"lr", "betas", "eps", "weight_decay"})
    chosen |= {key: value for key, value in given.items() if value is not None}
    control = [p for p in estimator.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": list(dist.parameters())}]
    if control:
        groups.append({"params": control, "weight_decay": 0.0})
    if estimator.exponentiated:  # p * exp(-lr g), renormalised, is a plain step of the logits
        return torch.optim.SGD(groups, lr=chosen["lr"])
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=chosen["lr"], weight_decay=chosen["weight_decay"])
    return torch.optim.Adam(
        groups,
        lr=chosen["lr"],
        betas=tuple(chosen["betas"]),
        eps=chosen["eps"],
        weight_decay=chosen["weight_decay"],
    )
