"""What may be known of a space: the accuracy of each of its architectures, trained by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Standing:
    """Where an architecture stands in its space.

    Attributes:
        accuracy: Its accuracy, percent.
        regret: Best accuracy of the space minus its own, percentage points.
        percentile: Percentage of architectures that are worse.
        error: Standard error of the accuracy, percentage points; None where it is not given.
        among_best: Whether the accuracies cannot tell it from the best; None where not given.
    """

    accuracy: float
    regret: float
    percentile: float
    error: float | None = None
    among_best: bool | None = None


class KnownSpace(Protocol):
    """The accuracies of all architectures of a space."""

    @property
    def source(self) -> str:
        """Where they come from, for tables."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets they were measured on; the first is the main one."""

    def accuracies(self, dataset: str, choices: Tensor) -> list[float]:
        """Return accuracies in percent of architectures: operations of the edges, ``(N, E)``."""

    def standing(self, dataset: str, choice: Tensor) -> Standing:
        """Return where the architecture with operations ``choice``, shape ``(E,)``, stands."""

    def mean(self, dataset: str) -> float:
        """Return the mean over all architectures: what a uniformly random one has, percent."""

    def sample(self) -> Tensor:
        """Return a fixed sample of architectures, stratified by accuracy, shape ``(N, E)``."""
