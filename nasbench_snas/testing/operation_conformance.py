"""Conformance checks of candidate operations, for built-in ones and third parties alike."""

from __future__ import annotations

from typing import Any, ClassVar

from nasbench_snas.api import CandidateOperation
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks


class OperationConformance(DocumentationChecks, Conformance):
    """Checks of a candidate operation: a :class:`~nasbench_snas.api.CandidateOperation`.

    Attributes:
        operation: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "operation"
    operation: ClassVar[type[CandidateOperation]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary")
