"""The contract of a derivation rule: which architecture a search ends with. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from nasbench_snas.api.search_state import SearchState
    from nasbench_snas.architecture.space import Space

RULES: Mapping[str, str] = MappingProxyType(
    {
        "argmax": "the most probable operation of every edge, none included",
        "top2": "the two strongest edges of each node, without none (DARTS)",
        "sample": "one architecture drawn from the distribution",
        "best-of-N": "the draw that validates best, by images set apart for it",
        "perturbation": "what the parent cannot do without, edge by edge (DARTS-PT)",
        "shapley": "the largest Shapley values of the parent's accuracy (Shapley-NAS)",
    }
)
"""The built-in rules by name, and what each does."""


class RuleWork(NamedTuple):
    """What a rule may take, at most.

    Attributes:
        measured: Architectures whose accuracy it asks for.
        steps: Steps for which it trains the parent.
    """

    measured: int = 0
    steps: int = 0


class DerivationRule(ABC):
    """A rule that derives the child from the state that a search ends with.

    The suite's own rules come through the same interface. Settings are keyword arguments of
    ``__init__`` with defaults; a run keeps them (``--set child.parameters.NAME=…``).

    Attributes:
        name: Key in settings and on the command line.
        summary: One line for listings.
        reference: A key of ``references.bib``, a BibTeX entry, or empty.
        keeps_none: Whether a child may have the operation ``none`` on an edge.
        uses_images: Whether it compares architectures by :meth:`SearchState.accuracy`: a part of
            the validation images is then set apart for it, and the child reported on the others.
        version: Raised when a change alters children; part of a run's identity.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str] = ""
    keeps_none: ClassVar[bool] = True
    uses_images: ClassVar[bool] = False
    version: ClassVar[int] = 1

    @abstractmethod
    def derive(self, state: SearchState) -> Tensor:
        """Return the derived architecture.

        It must be a function of the state: ``state.generator`` is the only source of randomness.

        Returns:
            Shape ``(E, K)``: every row one-hot, or zero where the edge is dropped.
        """

    def work(self, space: Space, candidates: int) -> RuleWork:
        """Return what the rule may take, for the time that a run sets apart for it.

        By default it measures ``candidates`` architectures if it ``uses_images``. A rule that
        measures more, or trains by :meth:`SearchState.tune`, says so here: one that does not say
        that it trains is refused when it does.

        Args:
            space: The space.
            candidates: The setting ``child.candidates``.
        """
        return RuleWork(candidates if self.uses_images else 0)
