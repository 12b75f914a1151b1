"""Regularised evolution: dynamics of the population, theta, state; and steps of every level."""

from __future__ import annotations

import math
from collections import deque

import pytest
import torch

from nasbench_snas.api import Categorical
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.regularized_evolution import RegularizedEvolution
from nasbench_snas.registry import Registry
from nasbench_snas.search.levels import Learner, search_step
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.seeding import stream
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.testing.bench import tiny_space
from nasbench_snas.testing.problems import toy_problem

SECOND_TIER = (
    "straight-through",
    "proxyless",
    "reinmax",
    "drnas",
    "arsm",
    "unordered-set",
    "sum-and-sample",
    "vargrad",
    "nes",
    "hard-concrete",
    "fair-darts",
    "pc-darts",
    "regularized-evolution",
)
COSTS = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.8, 0.6], [0.7, 0.4, 0.0], [0.3, 0.9, 0.5]])


def additive(z: torch.Tensor) -> torch.Tensor:
    """A loss whose optimum is known: the cheapest operation on every edge."""
    return (z * COSTS.to(z.dtype)).sum((-1, -2))


def steps(estimator, dist, count: int, seed: int = 0):
    generator = stream(seed, "evolution")
    for _ in range(count):
        noise = estimator.noise(dist, 1, generator)
        yield noise, estimator.surrogate(additive, dist, noise)


def test_population_finds_the_optimum_of_an_additive_loss():
    estimator, dist = RegularizedEvolution(20, 6), Categorical(torch.zeros(4, 3).double())
    for _ in steps(estimator, dist, 400):
        pass
    best = torch.nn.functional.one_hot(COSTS.argmin(-1), 3).double()
    assert torch.equal(dist.mode()[0], best)
    assert estimator.progress_values()["best_loss"] == pytest.approx(float(additive(best)))
    assert float(dist.probs[0].detach().max(-1).values.mean()) > 0.6  # the population has converged


def test_random_selection_does_not_find_it():
    """A tournament of one selects nothing: the population keeps drifting."""
    estimator, dist = RegularizedEvolution(20, 1), Categorical(torch.zeros(4, 3).double())
    losses = [float(value) for _, value in steps(estimator, dist, 400)]
    assert sum(losses[200:]) / 200 > float(COSTS.min(-1).values.sum()) + 0.5


def test_dynamics_equal_an_independent_simulation_with_a_queue():
    """Algorithm 1 written with a deque, fed with the same uniforms."""
    size, rivals, edges, operations = 8, 3, 4, 3
    estimator, dist = RegularizedEvolution(size, rivals), Categorical(torch.zeros(4, 3).double())
    population: deque[tuple[list[int], float]] = deque()  # oldest first
    for step, (noise, value) in enumerate(steps(estimator, dist, 60)):
        u = noise[0, 0].tolist()
        if step < size:
            child = [int(x * operations) for x in u[rivals + 2 :]]
        else:
            # The ring's place i holds the member born at the last step congruent to i.
            ages = [(step - 1 - i) % size for i in range(size)]
            ring = [population[size - 1 - age] for age in ages]
            candidates = [ring[int(x * size)] for x in u[:rivals]]
            child = list(min(candidates, key=lambda member: member[1])[0])
            edge = int(u[rivals] * edges)
            child[edge] = (child[edge] + 1 + int(u[rivals + 1] * (operations - 1))) % operations
        loss = sum(float(COSTS[e, k]) for e, k in enumerate(child))
        assert float(value) == pytest.approx(loss, rel=1e-6)
        population.append((child, loss))
        if len(population) > size:
            population.popleft()
        counts = torch.zeros(edges, operations, dtype=torch.float64)
        for member, _ in population:
            for e, k in enumerate(member):
                counts[e, k] += 1
        expected = (counts + 1 / operations) / (len(population) + 1)
        torch.testing.assert_close(dist.probs[0].detach(), expected)
    members = {tuple(member) for member, _ in population}
    assert {tuple(row) for row in estimator.members.tolist()} == members


def test_oldest_member_leaves_even_if_it_is_the_best():
    estimator, dist = RegularizedEvolution(3, 1), Categorical(torch.zeros(1, 3).double())
    for loss in (0.0, 1.0, 2.0, 3.0):
        noise = estimator.noise(dist, 1, stream(int(loss), "age"))
        estimator.surrogate(lambda z, v=loss: z.sum((-1, -2)) * 0 + v, dist, noise)
    assert sorted(estimator.fitness.tolist()) == [1.0, 2.0, 3.0]


def test_losses_that_are_not_numbers_never_win():
    estimator, dist = RegularizedEvolution(2, 2), Categorical(torch.zeros(1, 3).double())
    for value in (math.nan, 5.0):
        noise = estimator.noise(dist, 1, stream(0, "nan"))
        estimator.surrogate(lambda z, v=value: z.sum((-1, -2)) * 0 + v, dist, noise)
    assert estimator.progress_values()["best_loss"] == 5.0


def test_theta_gets_the_gradient_of_the_child():
    problem = toy_problem("exponential", 2, 3)
    estimator, dist = RegularizedEvolution(4, 2, n=2), problem.distribution()
    for seed in range(6):
        noise = estimator.noise(dist, 1, stream(seed, "theta"))
        child = estimator.weights(dist, noise)
        assert child.shape == (1, 2, 2, 3) and bool((child.sum(-1) == 1).all())
        expected = torch.autograd.grad(problem.loss(child).mean(), problem.loss.theta)[0]
        value = estimator.surrogate(problem.loss, dist, noise).sum()
        got, alpha = torch.autograd.grad(value, [problem.loss.theta, dist.alpha], allow_unused=True)
        assert alpha is None
        torch.testing.assert_close(got, expected)
    assert int(estimator.born) == 12


def test_evaluation_mode_leaves_population_and_alpha_alone():
    estimator, dist = RegularizedEvolution(4, 2), Categorical(torch.zeros(4, 3).double())
    for _ in steps(estimator, dist, 9):
        pass
    before = {k: v.clone() for k, v in estimator.state_dict().items()}
    alpha = dist.alpha.detach().clone()
    estimator.eval()
    for _ in steps(estimator, dist, 3, seed=1):
        pass
    assert all(torch.equal(v, before[k]) for k, v in estimator.state_dict().items())
    assert torch.equal(dist.alpha, alpha)


def test_resumed_population_continues_bit_by_bit():
    kept, dist = RegularizedEvolution(6, 3), Categorical(torch.zeros(4, 3).double())
    for _ in steps(kept, dist, 10):
        pass
    resumed, other = RegularizedEvolution(6, 3), Categorical(torch.zeros(4, 3).double())
    resumed.load_state_dict(kept.state_dict())
    other.load_state_dict(dist.state_dict())
    for left, right in zip(
        steps(kept, dist, 20, seed=2), steps(resumed, other, 20, seed=2), strict=True
    ):
        assert torch.equal(left[1], right[1])
    assert torch.equal(dist.alpha, other.alpha)


def test_replicates_propose_independent_children_from_one_population():
    estimator, dist = RegularizedEvolution(5, 2), Categorical(torch.zeros(4, 3).double())
    for _ in steps(estimator, dist, 12):
        pass
    estimator.eval()
    copies = dist.replicate(7)
    noise = estimator.noise(copies, 7, stream(3, "replicates"))
    children = estimator.weights(copies, noise)
    members = torch.nn.functional.one_hot(estimator.members, 3).double()
    changed = (children[:, 0, None] != members).any(-1).sum(-1)  # edges, for each member
    assert bool((changed == 1).any(1).all())  # one mutation away from some member
    single = estimator.surrogate(additive, dist, noise[2:3])
    torch.testing.assert_close(estimator.surrogate(additive, copies, noise)[2:3], single)


def test_impossible_tournaments_are_refused():
    with pytest.raises(ConfigError, match="tournament"):
        RegularizedEvolution(population=5, tournament=6)


# Every estimator of the second tier on a real parent


def learner_of(name: str) -> Learner:
    space = tiny_space()
    estimator = Registry().estimator(name)()
    parent = ReferenceParent(space, stream(0, "theta"), partial_channels=estimator.partial_channels)
    dist = estimator.make_distribution(space, stream(0, "alpha"))
    return Learner(
        estimator=estimator,
        dist=dist,
        parent=parent,
        theta_optimizer=torch.optim.SGD(parent.parameters(), lr=0.05, momentum=0.9),
        alpha_optimizer=torch.optim.Adam(dist.parameters(), lr=0.01),
        make_loss=lambda batch, theta=True: SupernetLoss(
            parent, *batch, all_operations=estimator.needs_all_operations
        ),
        cost_term=lambda: None,
        generator=stream(0, "draws"),
    )


@pytest.mark.parametrize("level", ["joint", "bilevel", "unrolled"])
@pytest.mark.parametrize("name", SECOND_TIER)
def test_search_steps_move_alpha_and_theta_of_a_network(name, level):
    learner = learner_of(name)
    start = [p.detach().clone() for p in (*learner.dist.parameters(), *learner.parent.parameters())]
    images = torch.randn((6, 1, 4, 4), generator=stream(0, "images"))
    batch = (images, torch.tensor([0, 1, 2, 1, 0, 2]))
    before = torch.get_rng_state()
    for _ in range(2):
        result = search_step(level, learner, batch, batch)
        assert math.isfinite(result.loss) and 0 <= result.error <= 1
    assert torch.equal(before, torch.get_rng_state())
    after = [p.detach() for p in (*learner.dist.parameters(), *learner.parent.parameters())]
    assert all(torch.isfinite(p).all() for p in after)
    assert not torch.equal(start[0], after[0])
    assert any(not torch.equal(a, b) for a, b in zip(start[2:], after[2:], strict=True))


@pytest.mark.parametrize("name", SECOND_TIER)
def test_two_replicates_of_a_network_loss_come_out_of_one_pass(name):
    learner = learner_of(name)
    learner.estimator.eval()
    images = torch.randn((6, 1, 4, 4), generator=stream(0, "images"))
    loss = learner.make_loss((images, torch.tensor([0, 1, 2, 1, 0, 2])))
    copies = learner.dist.replicate(2)
    noise = learner.estimator.noise(copies, 2, stream(0, "noise"))
    value = learner.estimator.surrogate(loss, copies, noise)
    value.sum().backward()
    assert value.shape == (2,) and value.dtype == torch.float32
    grads = [p.grad for p in copies.parameters() if p.grad is not None]
    assert bool(grads) == learner.estimator.has_alpha_gradient
    assert all(torch.isfinite(g).all() and bool(g.flatten(1).any(1).all()) for g in grads)
