"""The contract of an early stop: when a search ends before its planned epochs. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from nasbench_snas.api.epoch_state import EpochState
    from nasbench_snas.architecture.space import Space


@dataclass(frozen=True)
class Verdict:
    """That a search ends now.

    Attributes:
        reason: Why, in one line for people.
        back: How many epochs ago the architecture stood that the search ends with; 0: now.
    """

    reason: str
    back: int = 0


class EarlyStop(ABC):
    """Something that looks at a search after each epoch, and may end it.

    It sees the distribution and a loss, not the estimator, and works with any. All stops of a run
    look at every epoch (after those of theta alone); the first that ends it is recorded. Settings
    are keyword arguments of ``__init__`` with defaults; a run keeps them (``--set stop.NAME.x=…``).

    Attributes:
        name: Key in settings and on the command line.
        summary: One line for listings.
        reference: A key of ``references.bib``, a BibTeX entry, or empty.
        needs_derived: Whether it looks at the derived architecture; derive rules that compare
            architectures on images are then refused.
        needs_double_backward: Whether it differentiates gradients of the loss.
        version: Raised when a change alters results; part of a run's identity.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str] = ""
    needs_derived: ClassVar[bool] = False
    needs_double_backward: ClassVar[bool] = False
    version: ClassVar[int] = 1

    @property
    def memory(self) -> int:
        """Largest :attr:`Verdict.back` that it may return: so many epochs are kept."""
        return 0

    def check(self, space: Space) -> None:  # noqa: B027  # the default: every space will do
        """Raise a :class:`ConfigError` where the stop has no meaning in a space."""

    @abstractmethod
    def decide(self, state: EpochState) -> Verdict | None:
        """Return a verdict that ends the search, or None.

        Called once after every epoch; what it measures it hands to ``state.log``.
        ``state.generator`` is the only source of randomness. It must change nothing of the search.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and plain containers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  # the default: nothing
        """Restore what :meth:`state_dict` returned."""
