"""Conformance checks of data sets, for built-in ones and third parties alike."""

from __future__ import annotations

from typing import Any, ClassVar

from nasbench_snas.api import ImageDataset
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks


class DatasetConformance(DocumentationChecks, Conformance):
    """Checks of a data set: a :class:`~nasbench_snas.api.ImageDataset`.

    Attributes:
        dataset: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "dataset"
    dataset: ClassVar[type[ImageDataset]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary")
