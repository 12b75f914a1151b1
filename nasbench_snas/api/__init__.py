"""The contracts of the suite: what authors of plug-ins subclass, and what they compute with.

There are eight kinds of plug-in: estimators, spaces, operations, data sets, cost criteria,
derivation rules, transformers of the loss and early stops. Names are imported when they are first
used, so that a data set or a criterion brings in no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasbench_snas.api.criterion import CostCriterion
    from nasbench_snas.api.dataset import ImageDataset, Images
    from nasbench_snas.api.epoch_state import EpochState
    from nasbench_snas.api.estimator import (
        AnnealedPathwise,
        DeriveRule,
        Estimator,
        Loss,
        Pathwise,
        Score,
        score_term,
        straight_through,
    )
    from nasbench_snas.api.rule import RULES, DerivationRule, RuleWork
    from nasbench_snas.api.search_state import SearchState
    from nasbench_snas.api.stop import EarlyStop, Verdict
    from nasbench_snas.api.transformer import (
        LossStep,
        LossTransformer,
        Role,
        loss_at,
        loss_plus,
    )
    from nasbench_snas.architecture.candidates import CandidateOperation
    from nasbench_snas.architecture.distributions import (
        Categorical,
        Distribution,
        gumbel,
        one_hot,
    )
    from nasbench_snas.architecture.genotype import Genotype
    from nasbench_snas.architecture.operations import Conv, OperationCost
    from nasbench_snas.architecture.schedules import ScheduleKind, anneal
    from nasbench_snas.architecture.space import Space, SpaceFamily

_MODULES = {
    "api.criterion": ("CostCriterion",),
    "api.dataset": ("ImageDataset", "Images"),
    "api.epoch_state": ("EpochState",),
    "api.estimator": (
        "AnnealedPathwise",
        "DeriveRule",
        "Estimator",
        "Loss",
        "Pathwise",
        "Score",
        "score_term",
        "straight_through",
    ),
    "api.rule": ("RULES", "DerivationRule", "RuleWork"),
    "api.search_state": ("SearchState",),
    "api.stop": ("EarlyStop", "Verdict"),
    "api.transformer": ("LossStep", "LossTransformer", "Role", "loss_at", "loss_plus"),
    "architecture.candidates": ("CandidateOperation",),
    "architecture.distributions": ("Categorical", "Distribution", "gumbel", "one_hot"),
    "architecture.genotype": ("Genotype",),
    "architecture.operations": ("Conv", "OperationCost"),
    "architecture.schedules": ("ScheduleKind", "anneal"),
    "architecture.space": ("Space", "SpaceFamily"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "RULES",
    "AnnealedPathwise",
    "CandidateOperation",
    "Categorical",
    "Conv",
    "CostCriterion",
    "DerivationRule",
    "DeriveRule",
    "Distribution",
    "EarlyStop",
    "EpochState",
    "Estimator",
    "Genotype",
    "ImageDataset",
    "Images",
    "Loss",
    "LossStep",
    "LossTransformer",
    "OperationCost",
    "Pathwise",
    "Role",
    "RuleWork",
    "ScheduleKind",
    "Score",
    "SearchState",
    "Space",
    "SpaceFamily",
    "Verdict",
    "anneal",
    "gumbel",
    "loss_at",
    "loss_plus",
    "one_hot",
    "score_term",
    "straight_through",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"nasbench_snas.{_HOMES[name]}"), name)
