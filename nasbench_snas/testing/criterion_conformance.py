"""Conformance checks of cost criteria, for built-in ones and third parties alike."""

from __future__ import annotations

from typing import Any, ClassVar

from nasbench_snas.api import CostCriterion
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks


class CriterionConformance(DocumentationChecks, Conformance):
    """Checks of a cost criterion: a :class:`~nasbench_snas.api.CostCriterion`.

    Attributes:
        criterion: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "criterion"
    criterion: ClassVar[type[CostCriterion]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary")
