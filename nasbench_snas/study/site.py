"""A point with its batch, its losses and its exact (or sampled) gradients."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nasbench_snas.architecture.distributions import Categorical, Distribution, one_hot
from nasbench_snas.oracle.compiled import CompiledLogits
from nasbench_snas.oracle.exact import (
    Oracle,
    distribution_gradient,
    log_probabilities,
    score_share,
)
from nasbench_snas.oracle.network import BatchedLoss, BatchedNetwork, Criterion, cross_entropy
from nasbench_snas.oracle.table import TableLoss
from nasbench_snas.seeding import stream
from nasbench_snas.stats.gradient_summary import Reference
from nasbench_snas.study.cells import load_arrays, save_arrays
from nasbench_snas.study.points import Batches, Point
from nasbench_snas.study.reference import sampled_reference, sampled_theta_reference
from nasbench_snas.study.settings import StudySettings

CREDITS_UP_TO = 1000
"""Credits ``dL/dZ`` are tabulated for at most so many architectures."""


class Site:
    """One frozen point of a study.

    Args:
        settings: The study's settings.
        point: The point.
        batches: Images to take the frozen batch (and others) from.
        file: Where tables are kept between starts.
        compiled: Whether draws run on compiled kernels, if there are any.

    Attributes:
        losses: ``L`` of all architectures, shape ``(A,)``; None with a sampled reference.
        credits_: ``dL/dZ`` of all architectures, ``(A, E, K)``, or None.
    """

    def __init__(
        self,
        settings: StudySettings,
        point: Point,
        batches: Batches,
        file: Path,
        compiled: bool = False,
    ) -> None:
        self.settings, self.point, self.batches = settings, point, batches
        fast = CompiledLogits.of(point.parent) if compiled else None
        self.network = BatchedNetwork(point.parent, fast)
        self.images, self.labels = batches.sample(
            settings.batch_size, stream(settings.seed, "frozen-batch")
        )
        self.dist = Categorical(point.probs.clamp_min(1e-300).log())
        self.losses: Tensor | None = None
        self.credits_: Tensor | None = None
        self._theta: dict[str, Tensor] = {}
        if settings.reference_draws == 0:
            self._enumerate(file)

    def _enumerate(self, file: Path) -> None:
        self.oracle = Oracle(self.network, self.images, self.labels, memory=self.settings.memory)
        stored = load_arrays(file)
        if "losses" not in stored:
            stored = {"losses": self.oracle.losses()}
            if len(stored["losses"]) <= CREDITS_UP_TO:
                stored["credits"] = self.oracle.credits()
            save_arrays(file, stored)
        self.losses, self.credits_ = stored["losses"], stored.get("credits")
        self.file = file

    def loss(
        self,
        all_operations: bool,
        *,
        criterion: Criterion = cross_entropy,
        batch: tuple[Tensor, Tensor] | None = None,
        double_backward: bool = False,
    ) -> BatchedLoss:
        """Return the loss on the network, on the frozen batch or another."""
        images, labels = batch or (self.images, self.labels)
        space = self.point.parent.space
        widest = max(layer.channels for layer in space.layers)
        bytes_ = images.shape[0] * images.shape[-1] ** 2 * widest * images.element_size()
        held = bytes_ * space.num_operations * len(space.cells[0].edges) * 4
        return BatchedLoss(
            self.network,
            images,
            labels,
            all_operations=all_operations,
            criterion=criterion,
            draws_per_pass=max(1, self.settings.memory // held),
            double_backward=double_backward,
        )

    def fast_loss(self, all_operations: bool, double_backward: bool = False) -> BatchedLoss:
        """Return a loss that looks up discrete architectures where they are tabulated."""
        loss = self.loss(all_operations, double_backward=double_backward)
        return loss if self.losses is None else TableLoss(loss, self.losses, self.credits_)

    def other_batches(self, all_operations: bool) -> list[BatchedLoss]:
        """Return losses on ``settings.batches`` further minibatches."""
        generator = stream(self.settings.seed, "other-batches")
        samples = [
            self.batches.sample(self.settings.batch_size, generator)
            for _ in range(self.settings.batches)
        ]
        return [self.loss(all_operations, batch=batch) for batch in samples]

    def reference(self, dist: Distribution) -> Reference:
        """Return the gradient of ``E[L]`` by the distribution's parameters."""
        if self.losses is not None:
            value, gradient, _ = distribution_gradient(dist, self.losses)
            return Reference.exact(gradient.numpy(), self._share(dist, self.losses, float(value)))
        generator = stream(self.settings.seed, f"{self.point.name}/reference")
        draws = self.settings.reference_draws
        return sampled_reference(self.loss(False), dist, draws, generator)

    def _share(self, dist: Distribution, losses: Tensor, expected: float) -> float:
        """Return :func:`score_share`, kept in the file: of a controller it takes half a minute."""
        key = f"share-{type(dist).__name__}-{expected:.12e}"
        stored = load_arrays(self.file)
        if key not in stored:
            stored[key] = torch.tensor(score_share(dist, losses), dtype=torch.float64)
            save_arrays(self.file, stored)
        return float(stored[key])

    def theta_reference(self, dist: Distribution) -> Reference:
        """Return the gradient of ``E[L]`` by theta."""
        if self.losses is None:
            generator = stream(self.settings.seed, f"{self.point.name}/theta-reference")
            draws = self.settings.reference_draws
            return sampled_theta_reference(self.loss(False), dist, draws, generator)
        with torch.no_grad():
            probs = log_probabilities(dist).exp()
            own = log_probabilities(self.dist).exp()
        same = bool((probs - own).abs().sum() < 1e-3)
        key = "theta" if same else f"theta-{float(probs @ self.losses):.12e}"
        if key not in self._theta:
            stored = load_arrays(self.file)
            if key not in stored:
                stored[key] = self.oracle.theta_gradient(own if same else probs)
                save_arrays(self.file, stored)
            self._theta[key] = stored[key]
        return Reference.exact(self._theta[key].numpy())

    def describe(self) -> dict[str, object]:
        """Return what the point is, for tables."""
        probs = self.point.probs
        with torch.no_grad():
            soft = float(self.loss(False)(probs[None, None])[0, 0])
            mode = one_hot(probs.argmax(dim=-1), probs.shape[1], probs.dtype)
            derived = float(self.loss(False)(mode[None, None])[0, 0])
        facts: dict[str, object] = {
            "point": self.point.name,
            "fraction": self.point.fraction,
            "normalised_entropy": self.point.entropy,
            "largest_probability": float(probs.max(dim=-1).values.prod()),
            "loss_of_mean": soft,
            "loss_of_mode": derived,
            "probs": probs.tolist(),
        }
        if self.losses is not None:
            value, gradient, law = distribution_gradient(self.dist, self.losses)
            spread = float((law * (self.losses - value) ** 2).sum().sqrt())
            facts |= {
                "expected_loss": float(value),
                "loss_std": spread,
                "gradient_norm": float(gradient.norm()),
                "best_loss": float(self.losses.min()),
            }
        return facts
