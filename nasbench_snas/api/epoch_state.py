"""What an early stop may look at after an epoch: what a derivation rule sees, and a loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from nasbench_snas.api.estimator import Loss
from nasbench_snas.api.search_state import SearchState
from nasbench_snas.architecture.distributions import Distribution
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import PluginError


class EpochState(SearchState):
    """The state of a search after an epoch, as an early stop sees it.

    Args:
        space: The space.
        dist: The distribution.
        generator: The only source of randomness of the stop.
        epoch: Finished epochs.
        epochs: Planned epochs.
        derive: Returns the derived architecture, shape ``(E, K)``.
        loss: Returns a loss on so many images.

    Attributes:
        logged: What the stop has measured, by name.
    """

    def __init__(
        self,
        space: Space,
        dist: Distribution,
        generator: torch.Generator,
        *,
        epoch: int,
        epochs: int,
        derive: Callable[[], Tensor],
        loss: Callable[[int], Loss],
    ) -> None:
        super().__init__(space, dist, generator)
        self.epoch, self.epochs = epoch, epochs
        self._derive, self._loss = derive, loss
        self.logged: dict[str, float] = {}

    @cached_property
    def derived(self) -> Tensor:
        """The architecture that the run's derive rule would give now, shape ``(E, K)``."""
        return self._derive()

    def loss(self, images: int) -> Loss:
        """Return the loss with the parent's weights on the first images that alpha is trained on.

        Those of the architecture split, at the level ``joint`` of the training split; in fixed
        order, without augmentation. Batch norms use the statistics of these images, and nothing of
        the parent changes. With ``needs_double_backward`` it can be differentiated twice.

        Args:
            images: How many; fewer where there are not so many.
        """
        return self._loss(images)

    def log(self, name: str, value: float) -> None:
        """Add a measured number to the epoch's event, by a name that nothing else there has.

        Raises:
            PluginError: It is not finite.
        """
        if not math.isfinite(value):
            raise PluginError(
                f"a stop measured {name} = {value}.", "Expected a finite number.", "Mend the stop."
            )
        self.logged[name] = float(value)

    def tune(self, z: Tensor, steps: int) -> None:
        """Refuse: a stop only looks.

        Raises:
            PluginError: Always.
        """
        raise PluginError(
            "a stop trained the parent.",
            "It must change nothing of the search.",
            "Leave state.tune to derivation rules.",
        )

    def accuracy(self, z: Tensor) -> Tensor:
        """Refuse: no images are set apart for a stop to measure accuracies on.

        Raises:
            PluginError: Always.
        """
        raise PluginError(
            "a stop asked for accuracies.",
            "No images are set apart for it; accuracies are reported on all others.",
            "Use state.loss, which is on images that alpha is trained on.",
        )
