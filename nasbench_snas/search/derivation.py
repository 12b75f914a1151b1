"""What a search derives: its rule, its child, and the accuracy of every view of its parent."""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import DeriveRule, Distribution, Estimator
from nasbench_snas.architecture.space import Space
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.compute.training import Progress
from nasbench_snas.data import Split
from nasbench_snas.errors import ConfigError
from nasbench_snas.search.child import ChildAccuracy, child_matrix
from nasbench_snas.search.images import SearchImages
from nasbench_snas.search.selection import Selection, best_of
from nasbench_snas.search.views import SELECTED, derive
from nasbench_snas.seeding import stream
from nasbench_snas.settings.run import RunConfig
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent


class Derives(Progress):
    """The end of a search: what :class:`nasbench_snas.search.search.Search` derives from its parts.

    Attributes:
        config: Its settings.
        device: Where it runs.
        home: Where the distribution lives and random numbers are drawn.
        seed: Its seed.
        space: The space.
        estimator: The estimator.
        dist: The distribution.
        parent: The parent network.
        images: The images that measure it.
    """

    config: RunConfig
    device: torch.device
    home: torch.device
    seed: int
    space: Space
    estimator: Estimator
    dist: Distribution
    parent: FastParent | ReferenceParent
    images: SearchImages
    _selected: tuple[int, Selection] | None = None

    @property
    def derive_rule(self) -> DeriveRule:
        """How the child is derived: as the settings say, else as the estimator declares."""
        rule = self.config.child.rule
        return self.estimator.derive_rule if rule == "declared" else rule

    def derived(self) -> Tensor:
        """Return the derived architecture, shape ``(E, K)``.

        Raises:
            ConfigError: The rule is best-of-N, and no images are set apart to select by.
        """
        rule = self.derive_rule
        if rule == SELECTED:
            return self.selected().z
        return derive(rule, self.space, self.dist, stream(self.seed, "derive", self.home))

    def forget_selection(self) -> None:
        """Forget what best-of-N has chosen: weights or step are others now."""
        self._selected = None

    def selection_part(self) -> Split:
        """Return the images that best-of-N selects by; raises as :meth:`derived`."""
        if self.images.selection is None:
            raise ConfigError(
                "the derive rule best-of-N has no images to select by.",
                "child.selection_fraction is 0.",
                "Set it to 0.5, or choose child.rule = argmax.",
            )
        return self.images.selection

    @own_modes()
    def selected(self) -> Selection:
        """Return what best-of-N chooses now; made once a step. Raises as :meth:`derived`."""
        part = self.selection_part()
        if self._selected is None or self._selected[0] != self.step:
            found = best_of(
                self.parent,
                self.dist,
                stream(self.seed, "derive", self.home),
                candidates=self.config.child.candidates,
                batches=lambda: self.images.batches(part),
                deadline=self.deadline,
            )
            self._selected = (self.step, found)
        return self._selected[1]

    @own_modes()
    def child_matrix(self) -> list[ChildAccuracy]:
        """Return the accuracy of every view of the parent; see :func:`child_matrix`."""
        return child_matrix(
            self.parent,
            self.space,
            self.estimator,
            self.dist,
            stream(self.seed, "child", self.home),
            valid=self.images.reported,
            calibration=self.images.calibration,
            samples=self.config.child.samples,
            needed=self.derive_rule,
            selected=self.derived() if self.derive_rule == SELECTED else None,
            deadline=self.deadline,
        )
