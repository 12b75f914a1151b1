"""Gradient tracking beside a search changes nothing of the search."""

from __future__ import annotations

import torch

from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.oracle.tracking import GradientTracker, summary
from nasbench_snas.registry import Registry
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.spaces.snas_unit import SnasUnit
from nasbench_snas.supernet.reference import ReferenceParent


def test_tracking_leaves_estimator_network_and_random_numbers_alone() -> None:
    space = SnasUnit(nodes=2, channels=2).build(1, 3, 5)
    generator = torch.Generator().manual_seed(0)
    parent = ReferenceParent(space, generator)
    images = torch.randn(6, 1, 5, 5, generator=generator)
    labels = torch.randint(3, (6,), generator=generator)
    loss = SupernetLoss(parent, images, labels)
    estimator = Registry().estimator("reinforce")()
    dist = Categorical(torch.randn(3, 3, generator=generator))
    estimator.surrogate(loss, dist, estimator.noise(dist, 1, generator))
    before = {k: v.clone() for k, v in parent.state_dict().items()}
    state = {k: v.clone() for k, v in estimator.state_dict().items()}
    random = torch.random.get_rng_state()
    tracker = GradientTracker(5, seed=0, draws=64)
    first = tracker.measure(5, estimator, dist, loss, parent, (images, labels))
    assert tracker.due(5) and not tracker.due(6)
    assert estimator.training and parent.training
    assert all(torch.equal(v, before[k]) for k, v in parent.state_dict().items())
    assert all(torch.equal(v, state[k]) for k, v in estimator.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    assert dist.alpha.grad is None and all(p.grad is None for p in parent.parameters())
    again = tracker.measure(5, estimator, dist, loss, parent, (images, labels))
    other = tracker.measure(10, estimator, dist, loss, parent, (images, labels))
    assert first == again != other
    assert first["gradient_variance"] > 0
    assert {"gradient_bias_sq", "gradient_cosine", "gradient_exact_norm"} <= set(first)


def test_summary_is_debiased() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.tensor([1.0, -1.0], dtype=torch.float64)
    found = [
        summary(exact + torch.randn(16, 2, generator=generator, dtype=torch.float64), exact)
        for _ in range(400)
    ]
    bias = sum(f["gradient_bias_sq"] for f in found) / len(found)
    variance = sum(f["gradient_variance"] for f in found) / len(found)
    assert abs(bias) < 0.02
    assert abs(variance - 2) < 0.15
