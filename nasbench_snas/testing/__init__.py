"""Public conformance kit for estimators and spaces, and the exact problems behind it.

Subclass :class:`EstimatorConformance` or :class:`SpaceConformance` in a test module and name the
class under test; ``nasbench check`` runs the same checks. Needs pytest. What an estimator declares
about its gradient is described in :mod:`nasbench_snas.testing.claims`.
"""

from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.estimator_conformance import EstimatorConformance
from nasbench_snas.testing.space_conformance import SpaceConformance

__all__ = [
    "Conformance",
    "EstimatorConformance",
    "SpaceConformance",
    "target",
]
