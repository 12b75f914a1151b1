"""The contract of a derivation rule: which architecture a search ends with. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from nasbench_snas.architecture.space import Space

RULES: Mapping[str, str] = MappingProxyType(
    {
        "argmax": "the most probable operation of every edge, none included",
        "top2": "the two strongest edges of each node, without none (DARTS)",
        "best-of-N": "the draw that validates best, by images set apart for it",
    }
)
"""The built-in rules by name, and what each does."""


class Judge(Protocol):
    """Errors of architectures with the parent's weights, on images set apart for the rule."""

    def __call__(self, z: Tensor) -> Tensor:
        """Return the misclassified fraction of each architecture ``(N, E, K)``, shape ``(N,)``."""


class DerivationRule(ABC):
    """A rule that derives the child from the distribution that a search ends with.

    Settings are keyword arguments of ``__init__`` with defaults; a run keeps them.

    Attributes:
        name: Key in settings and on the command line.
        summary: One line for listings.
        reference: A key of ``references.bib``, a BibTeX entry, or empty.
        keeps_none: Whether a child may have the operation ``none`` on an edge.
        uses_images: Whether it compares architectures on images: a part of the validation images
            is then set apart for it, and :meth:`derive` is given a :class:`Judge`.
        version: Raised when a change alters results; a run records it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str] = ""
    keeps_none: ClassVar[bool] = True
    uses_images: ClassVar[bool] = False
    version: ClassVar[int] = 1

    @abstractmethod
    def derive(self, space: Space, dist: Any, generator: Generator, judge: Judge | None) -> Tensor:
        """Return the derived architecture.

        Args:
            space: The space.
            dist: The distribution (:class:`~nasbench_snas.api.Distribution`), one replicate.
            generator: The only source of randomness.
            judge: See :attr:`uses_images`; None without them.

        Returns:
            Shape ``(E, K)``: every row one-hot, or zero where the edge is dropped.
        """
