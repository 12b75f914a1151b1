"""What a search derives: its rule, its child, and the accuracy of every view of its parent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nasbench_snas.api import DerivationRule, Distribution, Estimator, RuleWork, SearchState
from nasbench_snas.architecture.space import Space
from nasbench_snas.compute.distributed import World
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.compute.training import Progress
from nasbench_snas.data import Split, Splits
from nasbench_snas.data.batches import Batch
from nasbench_snas.data.shards import ShardedStream
from nasbench_snas.errors import ConfigError
from nasbench_snas.search.child import ChildAccuracy, accuracies, child_matrix
from nasbench_snas.search.images import SearchImages
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.search.rules import derive_by
from nasbench_snas.search.selection import Selection, select
from nasbench_snas.search.transform import Transformers
from nasbench_snas.search.tuning import Tuning
from nasbench_snas.search.views import VIEWS
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
        world: The processes that share the work.
        space: The space.
        estimator: The estimator.
        dist: The distribution.
        parent: The parent network.
        splits: All its images.
        images: The images that measure it.
        rule: What derives its child.
        transformers: What changes its losses.
    """

    config: RunConfig
    device: torch.device
    home: torch.device
    seed: int
    world: World
    space: Space
    estimator: Estimator
    dist: Distribution
    parent: FastParent | ReferenceParent
    splits: Splits
    images: SearchImages
    rule: DerivationRule
    transformers: Transformers | None
    _selected: tuple[int, Selection] | None = None

    @property
    def derive_rule(self) -> str:
        """How the child is derived: as the settings say, else as the estimator declares."""
        rule = self.config.child.rule
        return self.estimator.derive_rule if rule == "declared" else rule

    def derived(self) -> Tensor:
        """Return the derived architecture, shape ``(E, K)``.

        Raises:
            ConfigError: The rule compares architectures, and no images are set apart for it.
            PluginError: The rule returns no architecture of the space.
        """
        if self.rule.uses_images:
            return self.selected().z
        return derive_by(self.rule, self._state())

    def valid_batches(self) -> Iterator[Batch]:
        """Yield all normalised batches of ``search_valid``, both parts, in fixed order."""
        return self.images.batches(self.images.splits.search_valid)

    def set_auxiliary(self, *, shown: bool) -> None:
        """Set the weight of auxiliary skip connections that children have not: as now, or 0."""
        changed = self.transformers
        if changed is None or not changed.adds_auxiliary_skip:
            return
        if isinstance(self.parent, ReferenceParent):  # no other has them
            self.parent.set_auxiliary_weight(changed.auxiliary_weight if shown else 0.0)

    @contextmanager
    def as_children(self) -> Iterator[None]:
        """While children are measured inside the parent: it has nothing that they have not."""
        self.set_auxiliary(shown=False)
        try:
            yield
        finally:
            self.set_auxiliary(shown=True)

    def forget_selection(self) -> None:
        """Forget what the rule has chosen: weights or step are others now."""
        self._selected = None

    def selection_part(self) -> Split:
        """Return the images that the rule selects by; raises as :meth:`derived`."""
        if self.images.selection is None:
            raise ConfigError(
                f"the derive rule {self.derive_rule} has no images to select by.",
                "child.selection_fraction is 0.",
                "Set it to 0.5, or choose child.rule = argmax.",
            )
        return self.images.selection

    @property
    def rule_work(self) -> RuleWork:
        """What the rule may take."""
        return self.rule.work(self.space, self.config.child.candidates)

    def check_rule(self) -> None:
        """Refuse what a rule that compares cannot do; raises as :meth:`derived`."""
        self.selection_part()
        if self.rule_work.steps and self.world.size > 1:
            raise ConfigError(
                f"the derive rule {self.derive_rule} trains the parent, which it does in one "
                f"process only; there are {self.world.size}.",
                "Its training is no part of the job that is shared.",
                "Choose a rule that does not (perturbation: child.parameters.tune_steps=0), or "
                "start one process.",
            )

    @own_modes()
    def selected(self) -> Selection:
        """Return what a rule that compares chooses now; made once a step; raises as there."""
        part = self.selection_part()
        if self._selected is None or self._selected[0] != self.step:
            theta, steps = self.config.search.theta, self.rule_work.steps
            with (
                self.as_children(),
                Tuning(self.parent, self._tuning_losses(), theta, steps) as tuning,
            ):
                found = select(self.rule, self._state(part, tuning), len(part))
            self._selected = (self.step, found)
        return self._selected[1]

    def _tuning_losses(self) -> Callable[[], SupernetLoss]:
        """Return what hands out the losses of training batches, from streams of their own."""
        batches = self.batches_of(self.splits.train, "derive")
        autocast = self.config.search.amp == "bf16"
        return lambda: SupernetLoss(self.parent, *batches.next_batch(), autocast=autocast)

    @abstractmethod
    def batches_of(self, split: Split, name: str) -> ShardedStream:
        """Return the training batches of a split, by random streams called after ``name``."""

    def _measure_on(self, part: Split) -> Callable[[Tensor], Tensor]:
        """Return what measures accuracies of weights ``(S, E, K)`` on the images of ``part``."""
        return lambda z: accuracies(
            self.parent, z, lambda: self.images.batches(part), self.deadline
        )

    def _state(self, part: Split | None = None, tuning: Tuning | None = None) -> SearchState:
        """Return what the rule looks at; ``part``: images that it may measure on."""
        return SearchState(
            self.space,
            self.dist,
            stream(self.seed, "derive", self.home),
            candidates=self.config.child.candidates,
            measure=None if part is None else self._measure_on(part),
            train=tuning,
            expired=lambda: self.deadline.leaves_out(),
        )

    @own_modes()
    def child_matrix(self) -> list[ChildAccuracy]:
        """Return the accuracy of every view of the parent; see :func:`child_matrix`."""
        rule = self.derive_rule
        derived = None if rule in VIEWS else self.derived()
        with self.as_children():
            return child_matrix(
                self.parent,
                self.space,
                self.estimator,
                self.dist,
                stream(self.seed, "child", self.home),
                valid=self.images.reported,
                calibration=self.images.calibration,
                samples=self.config.child.samples,
                needed=rule,
                derived=derived,
                deadline=self.deadline,
            )
