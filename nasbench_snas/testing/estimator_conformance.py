"""Conformance checks of gradient estimators, for built-in ones and third parties alike."""

from __future__ import annotations

from typing import Any, ClassVar

from nasbench_snas.api import Estimator
from nasbench_snas.testing.bias import BiasChecks
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.contract import InterfaceChecks, RandomnessChecks, StateChecks
from nasbench_snas.testing.course import CourseChecks
from nasbench_snas.testing.documentation import DocumentationChecks
from nasbench_snas.testing.gradient import GradientChecks
from nasbench_snas.testing.noise import NoiseChecks


class EstimatorConformance(
    InterfaceChecks,
    RandomnessChecks,
    StateChecks,
    BiasChecks,
    GradientChecks,
    NoiseChecks,
    CourseChecks,
    DocumentationChecks,
    Conformance,
):
    """All checks of an :class:`~nasbench_snas.api.Estimator`.

    Attributes:
        estimator: The class under test.
        settings: Keyword arguments it is constructed with; they override the estimator's own
            ``conformance_settings``, which make the checks cheap (a smaller controller, say).
        expected_failed_checks: Check to the reason why it cannot hold.
        device: Where the checks run.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "estimator"
    estimator: ClassVar[type[Estimator]]
    settings: ClassVar[dict[str, Any]] = {}
    device: ClassVar[str] = "cpu"
    documented_attributes = ("name", "reference", "evaluations", "bias")
