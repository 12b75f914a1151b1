"""Training a derived network from scratch: Tables 2 and 3 of SNAS (arXiv:1812.09926, section 3).

One step on a batch of B images minimises

    L = CE(logits, y) + a CE(auxiliary logits, y),      a = 0.4,

with label smoothing on ImageNet, path dropout of probability ``0.2 e / E`` in epoch e of E, SGD
whose learning rate changes once an epoch (cosine to 0, or 0.97^e), and clipped gradients. The test
error is that of the last epoch, never of the best.

The network, the order of the images, the augmentation and the masks come from named streams of the
seed; the state holds all of them, so that a retraining continues bit for bit.

Deviations: leftover images of an epoch are skipped (see :mod:`nasbench_snas.retrain.feed`); batch
norms use their running statistics in the test, in float32 whatever the training's precision.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_snas.compute.distributed import World, synchronise_batch_norms
from nasbench_snas.compute.modes import own_autocast, own_modes
from nasbench_snas.compute.training import (
    Progress,
    cosine_rate,
    momenta,
    peak_memory,
    require_images,
    restore_momenta,
    sgd,
)
from nasbench_snas.data.shards import move
from nasbench_snas.errors import DivergedError
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.accuracy import Evaluation, evaluate
from nasbench_snas.retrain.compiled import Compiled
from nasbench_snas.retrain.feed import make_feed
from nasbench_snas.retrain.network import check_budget, genotype_of, network_plan
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.seeding import restore_generator, stream
from nasbench_snas.settings.retrain import RetrainConfig, TrainingSettings
from nasbench_snas.settings.sources import bound
from nasbench_snas.supernet.child.kernels import child_kernels, fuse_child
from nasbench_snas.supernet.child.network import ChildNetwork

_CHECK_EVERY = 25
_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Retraining(Progress):
    """A retraining in progress; implements :class:`nasbench_snas.runs.start.Work`.

    Args:
        config: Its settings.
        registry: Where the search space comes from, if the network needs one.
        device: Where it runs.
        world: The processes that share the work.
        allow_over_budget: Whether a network above ``network.max_macs`` is trained.
        dtype: Type of the weights.
        kernels: ``auto``, ``reference`` (plain modules) or ``cpu``; see
            :func:`~nasbench_snas.supernet.child.kernels.child_kernels`.

    Attributes:
        kernels: The backend that runs: ``cpu``, or ``reference`` for the plain modules.
        compiled: The compiled network, if it is.
        epoch: Finished epochs.
        step: Finished steps.
        test: The last look at the test images, if there was one.
    """

    @own_modes()
    def __init__(
        self,
        config: RetrainConfig,
        registry: Registry,
        device: str = "cpu",
        world: World | None = None,
        *,
        allow_over_budget: bool = False,
        dtype: torch.dtype = torch.float32,
        kernels: str = "auto",
    ) -> None:
        config = config.model_copy(update={"data": bound(config.data, registry)})
        self.config = config
        self.settings: TrainingSettings = config.training
        self.device, self.world = torch.device(device), world or World()
        self.feed = make_feed(config, self.device, self.world, dtype=dtype)
        plan = network_plan(config, self.feed.shape, self.feed.num_classes, registry)
        self.cost = check_budget(config, plan, allow=allow_over_budget)
        network = ChildNetwork(genotype_of(config), plan, stream(config.seed, "theta-init"))
        self.network = network.to(self.device, dtype)
        if self.settings.sync_batchnorm:
            synchronise_batch_norms(self.network, self.world)
        if config.speed.channels_last:
            self.network.to(memory_format=torch.channels_last)
        backend, self._kernels_note = child_kernels(
            kernels, self.device, dtype, plain_because=self._plain_because()
        )
        self.kernels = "reference" if backend is None else backend.name
        if backend is not None:
            fuse_child(self.network, backend)
        self._forward: Any = self.network
        self.compiled: Compiled | None = None
        if config.speed.compile != "off":
            self.compiled = Compiled(self.network, config.speed.compile)
            self._forward = self.compiled.forward
        self._build_optimizer()
        self.masks = stream(config.seed, "path-dropout")
        self.epoch = self.step = 0
        self.elapsed = 0.0
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.test: Evaluation | None = None
        self._about = self._note()

    @property
    def note(self) -> str:
        """One line about how it computes; with the graphs that were compiled so far."""
        graphs = f"; {self.compiled.graphs} graphs compiled" if self.compiled else ""
        return self._about + graphs

    def _build_optimizer(self) -> None:
        settings = self.settings
        self.optimizer = sgd(self.network.parameters(), settings)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.amp == "fp16")

    def _plain_because(self) -> str:
        """Return the setting that only the plain modules serve, or an empty string."""
        needs = {
            "training.amp": self.settings.amp != "off",
            "training.sync_batchnorm": self.settings.sync_batchnorm,
            "speed.compile": self.config.speed.compile != "off",
        }
        return ", ".join(name for name, on in needs.items() if on)

    def _note(self) -> str:
        parts = [
            f"child: {self.cost.parameters / 1e6:.3f} M parameters, "
            f"{self.cost.macs / 1e6:.1f} M multiply-adds",
            self.feed.note,
            self._kernels_note,
        ]
        speed, world = self.config.speed, self.world
        parts += [f"autocast {self.settings.amp}"] if self.settings.amp != "off" else []
        parts += ["channels last"] if speed.channels_last else []
        parts += [f"torch.compile ({speed.compile})"] if speed.compile != "off" else []
        if world.size > 1:
            kind = "synchronised" if self.settings.sync_batchnorm else "local"
            parts.append(f"{world.size} processes, batch norms {kind}")
        return "; ".join(parts)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""
        return len(self.feed.train)

    @property
    def elements(self) -> int:
        """Size of a feature map of the first layer, over this process's part of the batch."""
        first = self.network.plan.layers[0]
        images = self.batch_size // self.world.size
        return images * first.channels * first.output_resolution**2

    @property
    def measured_images(self) -> int:
        """Test images."""
        return self.feed.test_images

    def rate(self) -> float:
        """Return the learning rate of the current epoch."""
        settings = self.settings
        if self.epoch < settings.warmup_epochs:
            return settings.lr * (self.epoch + 1) / settings.warmup_epochs
        if settings.schedule == "exponential":
            return settings.lr * settings.decay**self.epoch
        return cosine_rate(settings.lr, settings.lr_min, self.epoch, settings.epochs)

    def drop_path(self) -> float:
        """Return the probability of path dropout in the current epoch."""
        return self.settings.drop_path * self.epoch / self.settings.epochs

    @own_modes()
    def one_step(self) -> None:
        """Do the next step of the current epoch.

        Raises:
            DivergedError: The loss is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.network.train()
        images, labels = self.feed.train.next_batch()
        loss, logits = self._loss(images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        self.world.average_gradients(parameters)  # before unscaling: an overflow is everybody's
        self.scaler.unscale_(self.optimizer)
        if self.settings.clip > 0:
            nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if not self.settings.sync_batchnorm:
            self.world.average_statistics(self.network)
        self.step += 1
        self._count(loss.detach(), logits.detach(), labels)

    def _loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the training loss, a scalar, and the logits ``(B, classes)``."""
        settings = self.settings
        kind = _PRECISION.get(settings.amp)
        with own_autocast(self.device.type, kind):
            output = self._forward(images, masks=self._masks(images))
        logits = output.logits.to(self._accumulate(output.logits))
        smoothing = settings.label_smoothing
        loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        if output.auxiliary is not None:
            extra = output.auxiliary.to(logits.dtype)
            extra = functional.cross_entropy(extra, labels, label_smoothing=smoothing)
            loss = loss + self.config.network.auxiliary * extra
        return loss, logits

    @staticmethod
    def _accumulate(logits: Tensor) -> torch.dtype:
        return torch.float64 if logits.dtype == torch.float64 else torch.float32

    def _masks(self, images: Tensor) -> Tensor | None:
        """Return the own images' path-dropout masks, ``(edges, B)``; drawn for the whole batch."""
        drop = self.drop_path()
        if drop == 0 and not (self.compiled and self.settings.drop_path > 0):
            return None
        whole = len(images) * self.world.size
        if drop == 0:  # the same graph as with masks, and the same numbers as without
            edges = self.network.plan.num_edges
            return images.new_ones(edges, len(images))
        masks = self.network.draw_masks(whole, drop, self.masks)
        return move(masks[:, self.world.rows(whole)].to(images.dtype), images.device)

    def _count(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        right = (logits.argmax(dim=1) == labels).double().mean()
        both = self.world.total(torch.stack([loss.double(), right])) / self.world.size
        self.sums += torch.cat([both, both.new_ones(1)])
        if self.device.type == "cpu" or self.step % _CHECK_EVERY == 0:
            self._check_finite()

    def _check_finite(self) -> None:
        loss = float(self.sums[0])
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss became {loss}.")

    def step_event(self) -> dict[str, Any]:
        """Return what displays show after a step."""
        show = self.device.type == "cpu" or self.step % _CHECK_EVERY == 0
        loss = float(self.sums[0] / self.sums[2].clamp(min=1)) if show else None
        return {
            "kind": "step",
            "epoch": self.epoch + 1,
            "step": self.step,
            "total_steps": self.epochs * len(self.feed.train),
            **({} if loss is None else {"train_loss": loss}),
        }

    @own_modes()
    def finish_epoch(self) -> dict[str, Any]:
        """Close the epoch and return its event (without times)."""
        loss, right, steps = self.sums.tolist()
        event: dict[str, Any] = {
            "kind": "epoch",
            "epoch": self.epoch + 1,
            "step": self.step,
            "train_loss": loss / max(steps, 1),
            "train_acc": 100.0 * right / max(steps, 1),
            "theta_lr": self.rate(),
            "drop_path": self.drop_path(),
        }
        if self.compiled is not None:
            event["compiled_graphs"] = self.compiled.graphs
        self.epoch += 1
        self.sums.zero_()
        every = self.settings.test_every
        if every and self.epoch % every == 0:
            self.test = self.evaluate()
            event["test_acc"] = 100.0 * self.test.top1 / self.test.images
            event["test_loss"] = self.test.loss
        return event

    def evaluate(self) -> Evaluation:
        """Return what the network achieves on the test images now, over all processes."""
        return evaluate(
            self.network,
            self.deadline.limit(self.feed.test_batches()),
            self.feed.num_classes,
            reduce=self.world.total,
        )

    def write_epoch(self, folder: RunFolder) -> None:
        """Write nothing further: events and checkpoint say all."""

    def peak_memory(self) -> int:
        """Return the largest memory in use so far, in bytes (of the device, or of the process)."""
        return peak_memory(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and plain containers.

        Raises:
            DivergedError: The loss is not finite; no checkpoint should hold such weights.
        """
        self._check_finite()
        names = [name for name, _ in self.network.named_parameters()]
        return {
            "network": self.network.state_dict(),
            "momenta": momenta(self.optimizer, names),
            "scaler": self.scaler.state_dict(),
            "masks": self.masks.get_state(),
            "train": self.feed.train.state_dict(),
            "images": self.feed.fingerprint,
            "shape": list(self.feed.shape),
            "num_classes": self.feed.num_classes,
            "epoch": self.epoch,
            "step": self.step,
            "elapsed": self.elapsed,
            "sums": self.sums.cpu(),
        }

    @own_modes()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``.

        Raises:
            CheckpointError: The images are not those that the state was made with.
        """
        require_images(state["images"], self.feed.fingerprint, "retraining", "Hash")
        self.network.load_state_dict(state["network"])
        restore_momenta(self.optimizer, dict(self.network.named_parameters()), state["momenta"])
        self.scaler.load_state_dict(state["scaler"])
        restore_generator(self.masks, state["masks"])
        self.feed.train.load_state_dict(state["train"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.elapsed = state["elapsed"]
        self.sums = state["sums"].to(self.device)
