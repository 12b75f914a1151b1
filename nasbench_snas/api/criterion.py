"""The contract of a cost criterion: what each operation on each edge costs. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from nasbench_snas.architecture.space import Space


class CostCriterion(ABC):
    """A cost that is linear in the choice: a table of one number for each edge and operation.

    The cost of an architecture ``Z`` is ``sum_ij Z_ij^T C(O_ij)`` (SNAS, arXiv:1812.09926, eq. 10),
    so that its expectation and its gradient are exact. Settings are keyword arguments of
    ``__init__`` with defaults; a run keeps them.

    Attributes:
        name: Key in settings and on the command line.
        summary: One line for listings.
        reference: A key of ``references.bib``, a BibTeX entry, or empty.
        unit: What one unit of the table is, for example ``ms``.
        places: Settings that say where files lie and decide no result.
        version: Raised when a change alters results; a run records it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    unit: ClassVar[str]
    reference: ClassVar[str] = ""
    places: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    @abstractmethod
    def table(self, space: Space) -> Any:
        """Return the cost of each operation on each edge, summed over the cells that share it.

        Returns:
            Shape ``(E, K)``, finite and not negative, rows in the order of ``space.edge_names``,
            columns in that of ``space.operations``: nested lists, a numpy array or a tensor.

        Raises:
            ConfigError: The criterion does not know this space.
        """

    def fingerprint(self) -> str | None:
        """Return a text that changes with what is read from files, or None if nothing is.

        It is part of a run's identity, and a continued run refuses another one.
        """
        return None

    def outside(self, space: Space) -> float:
        """Return what all architectures of the space cost besides (stem, preprocessing, head)."""
        return 0.0
