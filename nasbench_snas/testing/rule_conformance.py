"""Conformance checks of derivation rules, for built-in ones and third parties alike."""

from __future__ import annotations

from typing import Any, ClassVar

from nasbench_snas.api import DerivationRule
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks


class RuleConformance(DocumentationChecks, Conformance):
    """Checks of a derivation rule: a :class:`~nasbench_snas.api.DerivationRule`.

    Attributes:
        rule: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "rule"
    rule: ClassVar[type[DerivationRule]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary")
