"""Where gradients are compared: theta, the architecture's probabilities and one batch, all frozen.

Points lie on a short joint training (:class:`~nasbench_snas.study.settings.Recipe`) or are a
finished run's checkpoint. Theta adapts to the estimator that trains it, so there are two
trajectories: ``snas`` (one concrete sample for both) and ``uniform`` (theta: a uniformly drawn
path; alpha: ``1/(n-1) sum_i (L_i - mean L) grad log p(Z_i)``, n = 4). Everything is float64, and
batch norms use batch statistics throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nasbench_snas.api import Estimator
from nasbench_snas.architecture.distributions import Categorical, Distribution, gumbel, one_hot
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.oracle.network import BatchedLoss, BatchedNetwork
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import find_run
from nasbench_snas.seeding import stream
from nasbench_snas.study.settings import StudySettings, Trajectory, fraction_of
from nasbench_snas.supernet.reference import ReferenceParent

_PATHS = 4


@dataclass(frozen=True)
class Batches:
    """Normalised images to train on and to measure on.

    Attributes:
        images: Shape ``(N, C, H, W)``, float64, augmentation left out.
        labels: Shape ``(N,)``.
        classes: Number of classes.
    """

    images: Tensor
    labels: Tensor
    classes: int

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a random minibatch without repeated images."""
        index = torch.randperm(len(self.labels), generator=generator)[:size]
        return self.images[index], self.labels[index]


@dataclass(frozen=True)
class Point:
    """One frozen point.

    Attributes:
        name: For example ``init``, ``snas/mid`` or a run's id.
        fraction: Progress of the training that led to it; NaN for a run.
        parent: The network, float64.
        probs: Probabilities of the operations, shape ``(E, K)``.
    """

    name: str
    fraction: float
    parent: ReferenceParent
    probs: Tensor

    @property
    def entropy(self) -> float:
        """Mean entropy of the edges over ``log K``."""
        edges = torch.special.entr(self.probs).sum(dim=-1).mean()
        return float(edges / torch.tensor(float(self.probs.shape[1])).log())


def load_batches(settings: StudySettings) -> Batches:
    """Return the training images of the settings, normalised."""
    from nasbench_snas.data import load_splits, make_augmenter

    splits = load_splits(settings.data, settings.seed)
    augmenter = make_augmenter(settings.data, splits.statistics, splits.image_shape)
    images, labels = splits.train.gather()
    return Batches(augmenter.plain(images).double(), labels, splits.num_classes)


def study_points(
    settings: StudySettings, registry: Registry, batches: Batches, root: Path
) -> Iterator[Point]:
    """Yield the points of a study, in the order of training.

    Args:
        settings: The settings.
        registry: Where the space comes from.
        batches: Images.
        root: Folder of the runs, for points that are runs.
    """
    for point in settings.points:
        if fraction_of(point) is None:
            find_run(root, point)  # a wrong name is told before anything is trained
    fractions = sorted({f for p in settings.points if (f := fraction_of(p)) is not None})
    names = {fraction_of(p): p for p in settings.points}
    space = build_space(settings, registry, batches)
    for index, trajectory in enumerate(settings.trajectories):
        for fraction, parent, dist in _train(settings, space, batches, trajectory, fractions):
            if fraction > 0 or index == 0:
                label = names[fraction] if fraction == 0 else f"{trajectory}/{names[fraction]}"
                yield Point(label, fraction, parent, dist.probs.detach()[0])
    for point in settings.points:
        if fraction_of(point) is None:
            yield run_point(root, point, registry)


def build_space(settings: StudySettings, registry: Registry, batches: Batches) -> Space:
    """Return the settings' space for these images."""
    from nasbench_snas.settings.parameters import create

    channels, _, width = batches.images.shape[1:]
    family = create(registry.space(settings.space.name), settings.space.parameters, "space")
    space: Space = family.build(channels, batches.classes, width)
    return space


def run_point(root: Path, run: str, registry: Registry) -> Point:
    """Return the point at which a run's last checkpoint stands.

    Raises:
        CheckpointError: There is no such run, or it is damaged.
    """
    from nasbench_snas.search.load import load_search

    search = load_search(find_run(root, run), registry)
    parent = ReferenceParent(search.space, stream(search.seed, "theta-init"))
    parent.load_canonical(search.parent.canonical(search.parent.state_dict()))
    probs = search.dist.marginals(stream(search.seed, "report"))[0].double()
    return Point(run, float("nan"), parent.double(), probs / probs.sum(dim=-1, keepdim=True))


def _train(
    settings: StudySettings,
    space: Space,
    batches: Batches,
    trajectory: Trajectory,
    fractions: list[float],
) -> Iterator[tuple[float, ReferenceParent, Categorical]]:
    """Yield a copy of the network and the distribution at each fraction of the recipe."""
    recipe, seed = settings.recipe, settings.seed
    parent = ReferenceParent(space, stream(seed, "theta-init")).double()
    shape = (space.num_edges, space.num_operations)
    logits = 1e-3 * torch.randn(shape, generator=stream(seed, "alpha-init"), dtype=torch.float64)
    dist, network = Categorical(logits), BatchedNetwork(parent)
    data, noise = stream(seed, f"{trajectory}/data"), stream(seed, f"{trajectory}/noise")
    groups = [
        {"params": list(parent.parameters()), "lr": recipe.theta_lr},
        {"params": [dist.alpha], "lr": recipe.alpha_lr},
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.5, 0.999))
    marks = {round(f * recipe.steps): f for f in fractions}
    for step in range(max(marks, default=0) + 1):
        if step in marks:
            yield marks[step], _copy(parent), Categorical(dist.alpha.detach())
        loss = BatchedLoss(network, *batches.sample(recipe.batch_size, data))
        optimiser.zero_grad()
        progress = step / recipe.steps
        tau = recipe.tau_start + (recipe.tau_end - recipe.tau_start) * progress
        objective = _concrete(loss, dist, tau, noise)
        if trajectory == "uniform":
            objective = _uniform_path(loss, dist, noise)
        torch.autograd.backward(objective)
        optimiser.step()


def _concrete(
    loss: BatchedLoss, dist: Categorical, tau: float, generator: torch.Generator
) -> Tensor:
    z = (dist.perturb(dist.noise(1, 1, generator)) / tau).softmax(dim=-1)
    return loss(z).sum()


def _uniform_path(loss: BatchedLoss, dist: Categorical, generator: torch.Generator) -> Tensor:
    shape = (1, 1, dist.num_edges, dist.num_operations)
    uniform = one_hot(
        gumbel(shape, generator, dist.dtype).argmax(dim=-1), dist.num_operations, dist.dtype
    )
    paths = dist.hard(dist.noise(1, _PATHS, generator))
    with torch.no_grad():
        losses = loss(paths)
    advantage = (losses - losses.mean()) * _PATHS / (_PATHS - 1)
    score = (advantage * dist.log_prob(paths).sum(dim=-1)).mean()
    return loss(uniform).sum() + score


def _copy(parent: ReferenceParent) -> ReferenceParent:
    other = ReferenceParent(parent.space, stream(0, "copy")).double()
    other.load_state_dict(parent.state_dict())
    return other


def distribution_at(
    estimator: Estimator, space: Space, probs: Tensor, generator: torch.Generator
) -> Distribution:
    """Return the estimator's own distribution at the law ``probs``.

    A factorised categorical is set to it. Any other distribution is fitted: its parameters
    minimise the cross-entropy ``-E_{Z ~ probs} log p(Z)`` on 256 fixed draws (200 steps of Adam,
    rate 0.02), so that gradients are compared at nearly the same law.

    Raises:
        ConfigError: The estimator needs another network.
    """
    if estimator.partial_channels != 1:
        raise ConfigError(f"{estimator.name} needs a network with partial channels.")
    dist = estimator.make_distribution(space, generator).double()
    logits = probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
    if type(dist) is Categorical:
        return Categorical(logits)
    draws = Categorical(logits)
    z = draws.hard(draws.noise(1, 256, generator))
    optimiser = torch.optim.Adam(dist.parameters(), lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        torch.autograd.backward(-dist.log_prob(z).sum(dim=-1).mean())
        optimiser.step()
    return dist
