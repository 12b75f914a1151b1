"""Conformance checks of objective transformers, for built-in ones and third parties alike."""

from __future__ import annotations

from typing import Any, ClassVar

from nasbench_snas.api import LossTransformer
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks


class TransformerConformance(DocumentationChecks, Conformance):
    """Checks of an objective transformer: a :class:`~nasbench_snas.api.LossTransformer`.

    Attributes:
        transformer: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "transformer"
    transformer: ClassVar[type[LossTransformer]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary")
