"""The contract of an objective transformer: from the loss an estimator is given to another one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Generator

    from nasbench_snas.api.estimator import Loss


class LossTransformer(ABC):
    """Something that changes the loss, whatever the estimator: a perturbation, a penalty.

    A level says which images and which alternation; it makes the loss closure. The transformers of
    a run are then applied in the order in which they are named, the first one next to the network:
    ``t_2(t_1(loss))``. The estimator sees the last. The resource term ``eta E[C]`` is added
    outside. Settings are keyword arguments of ``__init__`` with defaults; a run keeps them.

    Attributes:
        name: Key in settings and on the command line.
        summary: One line for listings.
        reference: A key of ``references.bib``, a BibTeX entry, or empty.
        captures: Whether it launches the same at every step and reads nothing back, so that a step
            may be captured as a CUDA graph.
        version: Raised when a change alters results; a run records it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str] = ""
    captures: ClassVar[bool] = False
    version: ClassVar[int] = 1

    @abstractmethod
    def transform(self, loss: Loss, generator: Generator) -> Loss:
        """Return the loss that stands in the place of ``loss``, for one step.

        Args:
            loss: What is transformed; it may be called several times, and differentiated.
            generator: The only source of randomness; a stream of its own of the run's seed.
        """

    def set_progress(self, t: float) -> None:  # noqa: B027  # nothing to do is the default
        """Set all schedules to the fraction ``t`` in [0, 1] of the run's own length."""

    def progress_values(self) -> dict[str, float]:
        """Return what schedules stand at, for logs."""
        return {}
