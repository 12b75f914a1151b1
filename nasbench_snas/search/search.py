"""One architecture search as an object: its parts, one step, one epoch, its complete state.

Every source of randomness is a named stream of the run's seed. The state holds all of them and the
position in the epoch, so that a search continued from any checkpoint is bit-equal to one that
never stopped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Estimator
from nasbench_snas.architecture.space import Space
from nasbench_snas.compute.distributed import World, synchronise_batch_norms
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.compute.training import (
    cosine_rate,
    peak_memory,
    sgd,
)
from nasbench_snas.cost.size import check_memory
from nasbench_snas.data import Split, load_splits, make_augmenter, stream_of
from nasbench_snas.data.shards import ShardAugment, ShardedStream
from nasbench_snas.oracle.tracking import GradientTracker
from nasbench_snas.registry import Registry
from nasbench_snas.search.captured import Captured, CapturedLoss, capturable
from nasbench_snas.search.composed import Composed
from nasbench_snas.search.criterion import cost_of
from nasbench_snas.search.derivation import Derives
from nasbench_snas.search.images import SearchImages
from nasbench_snas.search.levels import Batch, Learner, search_step
from nasbench_snas.search.objective import SupernetLoss, losses_and_errors
from nasbench_snas.search.optimizers import alpha_optimizer
from nasbench_snas.search.path_dropout import path_dropout
from nasbench_snas.search.policies import make_policy
from nasbench_snas.search.ranking import Ranking
from nasbench_snas.search.resource import ResourceTerm
from nasbench_snas.search.rules import make_rule
from nasbench_snas.search.state import restore, state_of
from nasbench_snas.search.temperatures import check_temperatures
from nasbench_snas.search.totals import StepTotals
from nasbench_snas.search.unrolled import refuse_noisy_differences
from nasbench_snas.search.views import spread, view_weights
from nasbench_snas.seeding import stream
from nasbench_snas.settings.parameters import create
from nasbench_snas.settings.run import RunConfig, SearchSettings
from nasbench_snas.settings.sources import bound
from nasbench_snas.supernet.build import build_parent, kernels_name
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent

_STREAMS = ("noise", "validation", "path-dropout", "cost", "report")


class Search(Derives):
    """A search in progress.

    Args:
        config: Its settings, plug-in settings resolved.
        registry: Where estimator and space come from.
        device: Where it runs.
        kernels: Backend of the parent network.
        world: The processes that share the work.
        planned_epochs: Epochs to come, so that a long search may wait for the compiler.

    Attributes:
        note: One line about the backend that runs.
        kernels: The backend's name (``plain`` where the reference parent runs).
        epoch: Finished epochs.
        step: Finished steps.
    """

    @own_modes()
    def __init__(
        self,
        config: RunConfig,
        registry: Registry,
        device: str = "cpu",
        kernels: str = "auto",
        world: World | None = None,
        planned_epochs: int = 0,
    ) -> None:
        config = config.model_copy(update={"data": bound(config.data, registry)})
        self.config, self.device = config, torch.device(device)
        self.settings: SearchSettings = config.search
        self.seed, self.world = config.seed, world or World()
        self._load_data()
        channels, _, width = self.splits.image_shape
        family = create(registry.space(config.space.name), config.space.parameters, "space")
        self.space: Space = family.build(channels, self.splits.num_classes, width)
        check_memory(self.space)
        refuse_noisy_differences(self.space, self.settings)
        known = family.known() if self.settings.track_truth else None
        estimator_class = registry.estimator(config.estimator.name)
        self.estimator: Estimator = create(
            estimator_class, config.estimator.parameters, "estimator"
        )
        check_temperatures(config.estimator.parameters, torch.float32)
        self.rule = make_rule(registry, self.derive_rule, config.child.parameters)
        if self.rule.uses_images:
            self.check_rule()  # refused now, not after the training
        alpha_init = stream(self.seed, "alpha-init")
        self.dist: Distribution = self.estimator.make_distribution(self.space, alpha_init)
        # With several processes, gradients are averaged where the network is.
        on_host = self.dist.on_host and self.world.size == 1
        self.home = torch.device("cpu") if on_host else self.device
        self.estimator.to(self.home)
        self.dist.to(self.home)
        composed = Composed(config, registry, self.space, self.home)
        parent, self.note = build_parent(
            self.space,
            stream(self.seed, "theta-init"),
            kernels=kernels,
            device=self.device,
            dtype=torch.float32,
            partial_channels=self.estimator.partial_channels,
            double_backward=self.settings.level == "unrolled"
            or self.estimator.needs_double_backward
            or composed.double_backward,
            plain_as=composed.plain,
            auxiliary_skip=composed.auxiliary_skip,
            synchronised=self.settings.sync_batchnorm,
            autocast=self.settings.amp != "off",
            batch_size=self.settings.batch_size,
            steps=self.steps_per_epoch * planned_epochs,
        )
        self.parent: FastParent | ReferenceParent = parent
        self.kernels = kernels_name(parent)
        if self.settings.sync_batchnorm:
            synchronise_batch_norms(parent, self.world)
        if self.settings.level == "unrolled" and self.estimator.needs_double_backward:
            self.estimator.tunes_variance = False  # third derivatives of batch norm do not exist
            self.note += "; the control variate is not tuned at this level"
        self.generators = {name: stream(self.seed, name, self.home) for name in _STREAMS}
        self.generators["path-dropout"] = stream(self.seed, "path-dropout", self.device)
        self.generators |= composed.generators
        self.transformers = composed.transformers()
        if self.transformers is not None:
            self.transformers.attach(parent)
        on_gpu = self.device.type == "cuda"
        self.dense = self.estimator.dense and on_gpu
        # Transformers may ask for other weights than the estimator does.
        fused = isinstance(parent, FastParent) and parent.chooses
        self.chooses = on_gpu and fused and not composed.members
        self.captured = None
        if composed.captures and capturable(parent, self.estimator, self.device):
            self.captured = Captured(parent)
            self.note += "; steps are captured as CUDA graphs"
        self.totals = StepTotals(self.device)
        own = cost_of(registry, config.cost, self.space)
        self.resource = ResourceTerm(self.space, config.cost, self.generators["cost"], own)
        self.policy = make_policy(self.settings, self.space, self.resource.model.unit, self.seed)
        if self.policy is not None:
            self.generators["theta-policy"] = self.policy.generator
        self._build_learner()
        self.tracker = GradientTracker(self.settings.track_gradients, self.seed)
        self.epoch = self.step = 0
        self.elapsed = 0.0
        self.history: list[Tensor] = []
        self.stops = composed.watching(self)
        self.ranking = None if known is None else Ranking(known, self, self.settings.epochs)

    @property
    def sums(self) -> dict[str, float]:
        """Sums over the steps of the epoch."""
        return self.totals.read()

    @property
    def bilevel(self) -> bool:
        """Whether alpha has images of its own."""
        return self.settings.level != "joint"

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""
        return len(self.train_stream)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.settings.epochs

    def _load_data(self) -> None:
        config = self.config
        splits = load_splits(config.data, self.seed, bilevel=self.bilevel)
        self.splits = splits.to(self.device)
        self.augment = make_augmenter(config.data, splits.statistics, splits.image_shape)
        self.images = SearchImages(self.splits, self.augment, config)
        self.train_stream = self.batches_of(self.splits.train, "data")
        self.arch_stream = self.batches_of(self.splits.arch, "arch") if self.splits.arch else None

    def batches_of(self, split: Split, name: str) -> ShardedStream:
        """Return the training batches of a split, by random streams called after ``name``."""
        size, rows = self.settings.batch_size, self.world.rows(self.settings.batch_size)
        whole = stream_of(
            split,
            size,
            stream(self.seed, f"{name}-order", self.device),
            ShardAugment(self.augment, rows, self.device),
            augment_generator=stream(self.seed, f"{name}-augment", self.device),
        )
        return ShardedStream(whole, rows, self.device)

    def _build_learner(self) -> None:
        theta = self.settings.theta
        self.learner = Learner(
            estimator=self.estimator,
            dist=self.dist,
            parent=self.parent,
            theta_optimizer=sgd(self.parent.parameters(), theta),
            alpha_optimizer=alpha_optimizer(self.settings.alpha, self.estimator, self.dist),
            make_loss=self._make_loss,
            cost_term=lambda: self.resource.term(self.dist),
            generator=self.generators["noise"],
            theta_clip=theta.clip,
            alpha_clip=self.settings.alpha.clip,
            reduce=self.world.average_gradients,
            share=self.world.mean,
            transformers=self.transformers,
            policy=self.policy,
            check=self.totals.check,
        )

    def _make_loss(
        self,
        batch: Batch,
        *,
        theta: bool = True,
        path_dropout: bool = True,
        single_path: bool = False,
    ) -> SupernetLoss:
        images, labels = batch
        every = self.estimator.needs_all_operations or self.dense
        options: dict[str, Any] = {
            "all_operations": every and not single_path,
            "edge_mask": self._path_dropout(len(labels)) if path_dropout else None,
            "autocast": self.settings.amp == "bf16",
            "share": self.world.mean if self.world.size > 1 else None,
            "single_path": self.chooses
            and path_dropout
            and (single_path or (self.estimator.single_path and not every)),
        }
        if self.captured is not None and path_dropout:
            return CapturedLoss(self.captured, images, labels, theta, **options)
        return SupernetLoss(self.parent, images, labels, **options)

    def _path_dropout(self, batch: int) -> Tensor | None:
        """Return the factors of path dropout for a batch, or None; see :func:`path_dropout`."""
        generator = self.generators["path-dropout"]
        return path_dropout(self.space, self.settings.drop_path, batch, self.world, generator)

    def theta_rate(self) -> float:
        """Return theta's learning rate of the current epoch: a cosine from ``lr`` to ``lr_min``."""
        theta = self.settings.theta
        return cosine_rate(theta.lr, theta.lr_min, self.epoch, self.settings.epochs)

    def tell_progress(self, step: int) -> None:
        """Set everything that moves over the run to where it is in ``step``."""
        progress = step / max(self.total_steps - 1, 1)
        self.estimator.set_progress(progress)
        if self.transformers is not None:
            self.transformers.progress = progress
        self.set_auxiliary(shown=True)

    @own_modes()
    def one_step(self) -> None:
        """Do the next step of the current epoch.

        Raises:
            DivergedError: The loss is not finite.
        """
        for group in self.learner.theta_optimizer.param_groups:
            group["lr"] = self.theta_rate()
        self.tell_progress(self.step)
        self.parent.train()
        self.estimator.train()
        train_batch = self.train_stream.next_batch()
        arch_batch = self.arch_stream.next_batch() if self.arch_stream else None
        result = search_step(
            self.settings.level,
            self.learner,
            train_batch,
            arch_batch,
            train_alpha=self.epoch >= self.settings.alpha_from_epoch,
            hessian=self.settings.unrolled_hessian,
        )
        if not self.settings.sync_batchnorm:
            self.world.average_statistics(self.parent)
        self.resource.update(self.dist)
        self.step += 1
        self.totals.add(result.measured, self.step)
        if self.tracker.due(self.step):
            batch = arch_batch or train_batch
            loss = self._make_loss(batch, path_dropout=False)
            found = self.tracker.measure(
                self.step, self.estimator, self.dist, loss, self.parent, batch
            )
            self.totals.add_values({"tracked": 1.0, **found})

    @own_modes()
    def finish_epoch(self) -> dict[str, Any]:
        """Validate, close the epoch, and return its event (without times)."""
        sums = self.sums
        steps = sums.get("steps", 1.0)
        event: dict[str, Any] = {
            "kind": "epoch",
            "epoch": self.epoch + 1,
            "step": self.step,
            "train_loss": sums.get("loss", 0.0) / steps,
            "train_acc": 100.0 * (1 - sums.get("error", 0.0) / steps),
            "resource_term": sums.get("cost", 0.0) / steps,
            "theta_lr": self.theta_rate(),
        }
        tracked = sums.get("tracked", 0.0)
        for key in [name for name in sums if name.startswith("gradient_")]:
            event[key] = sums[key] / tracked
        self.epoch += 1
        self.totals.begin()
        last = self.epoch == self.settings.epochs
        event |= self.measure(last or self.epoch % self.settings.validate_every == 0)
        if self.ranking is not None:
            event["truth"] = self.ranking.epoch()
            self.apart = self.ranking.seconds
        if self.transformers is not None:
            event |= self.transformers.values()
        if self.stops is not None:
            event |= self.stops.after_epoch(event)
        return event

    @property
    def ended(self) -> bool:
        """Whether the search is over: its epochs are done, or a stop has ended it."""
        stopped = self.stops is not None and self.stops.stopped is not None
        return stopped or super().ended

    @own_modes()
    def measure(self, validated: bool = True) -> dict[str, Any]:
        """Return the metrics of the architecture, and with ``validated`` those of the parent."""
        parent = {}
        if validated:
            parent["search_acc"], parent["search_loss"] = self.validate()
        return parent | self._architecture_metrics()

    def _architecture_metrics(self) -> dict[str, Any]:
        probs = self.dist.marginals(self.generators["report"])[0]
        self.history.append(probs.detach().cpu().float())
        return {
            **spread(self.space, probs),
            "expected_cost": self.resource.expected(probs),
            **self.resource.values(),
            **self.estimator.progress_values(),
        }

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        """Return accuracy in percent and loss in nats on the reporting part of ``search_valid``.

        The weights are the estimator's declared search view, drawn anew for each batch; batch
        norms use their running statistics. Processes take the batches in turn.
        """
        self.parent.eval()
        self.estimator.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        view = self.estimator.search_view
        for number, (images, labels) in enumerate(self.deadline.limit(self.images.reported())):
            generator = self.generators["validation"]
            z = view_weights(view, self.space, self.estimator, self.dist, generator)
            if z is None:
                z = self.dist.hard(self.dist.noise(1, 1, generator))[0, 0]
            if number % self.world.size == self.world.rank:
                logits = self.parent(images, z[None].to(self.device))
                losses, errors = losses_and_errors(logits, labels)
                means = torch.stack([1 - errors[0], losses[0], torch.ones_like(losses[0])])
                sums += len(labels) * means.double()
        right, loss, seen = self.world.total(sums).tolist()
        return 100.0 * right / seen, loss / seen

    def peak_memory(self) -> int:
        """Return the largest memory in use so far, in bytes (of the device, or of the process)."""
        return peak_memory(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and plain containers."""
        return state_of(self)

    @own_modes()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``.

        Raises:
            CheckpointError: The images are not those that the state was made with.
        """
        restore(self, state)
