"""Public conformance kits for plug-ins of every kind, and the exact problems behind them.

Subclass :class:`EstimatorConformance`, :class:`SpaceConformance`, … in a test module and name the
class under test; ``nasbench check`` runs the same checks. Needs pytest. What an estimator declares
about its gradient is described in :mod:`nasbench_snas.testing.claims`.
"""

from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.criterion_conformance import CriterionConformance
from nasbench_snas.testing.dataset_conformance import DatasetConformance
from nasbench_snas.testing.estimator_conformance import EstimatorConformance
from nasbench_snas.testing.operation_conformance import OperationConformance
from nasbench_snas.testing.rule_conformance import RuleConformance
from nasbench_snas.testing.space_conformance import SpaceConformance
from nasbench_snas.testing.stop_conformance import StopConformance
from nasbench_snas.testing.transformer_conformance import TransformerConformance

__all__ = [
    "Conformance",
    "CriterionConformance",
    "DatasetConformance",
    "EstimatorConformance",
    "OperationConformance",
    "RuleConformance",
    "SpaceConformance",
    "StopConformance",
    "TransformerConformance",
    "target",
]
