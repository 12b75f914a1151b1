"""Policies of theta's steps: what they draw, the gradient they take, and where they are refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import small_cell
import torch
from small_cell import batch, generator
from torch import Tensor

from nasbench_snas.api import Categorical, loss_at
from nasbench_snas.cost.expected import CostModel
from nasbench_snas.cost.settings import CostSettings
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.registry import Registry
from nasbench_snas.search.levels import Learner, search_step
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.policies import Sandwich, StrictFairness, ThetaPolicy, Uniform
from nasbench_snas.search.search import Search
from nasbench_snas.settings.run import from_toml, recorded
from nasbench_snas.settings.toml import to_toml
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.testing.toy import toy_space

SPACE = replace(small_cell.SPACE, operations=(*small_cell.SPACE.operations, "sep_conv_3x3"))
E, K, RATE = SPACE.num_edges, SPACE.num_operations, 0.1
UNIT = CostModel(SPACE, CostSettings()).unit
TINY = ["data.dataset=fake", "data.fake.train_images=96", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=8", "search.epochs=2", "child.samples=1"]
POLICIES = ("uniform", "strict-fairness", "sandwich")


def policy(name: str, seed: int = 0) -> ThetaPolicy:
    if name == "sandwich":
        return Sandwich(SPACE, generator(seed), UNIT, 2)
    return {"uniform": Uniform, "strict-fairness": StrictFairness}[name](SPACE, generator(seed))


def chi_squared_of_pairs(drawn: Tensor) -> list[float]:
    """Statistics of all pairs of edges against equally likely pairs of operations."""
    found, expected = [], len(drawn) / K**2
    for first, second in itertools.combinations(range(E), 2):
        counts = torch.bincount(K * drawn[:, first] + drawn[:, second], minlength=K * K).double()
        found.append(float(((counts - expected) ** 2 / expected).sum()))
    return found


def test_uniform_draws_every_operation_of_every_edge_equally_often_and_independently() -> None:
    """Chi-squared of all pairs of edges, 15 degrees of freedom each, below 42: p > 2.2e-4.

    False alarm 7e-4. Power: an operation of one edge that is drawn with 0.28 instead of 0.25 adds
    57.6 to two statistics of mean 15, and is found with probability 0.98 by either.
    """
    one, number = policy("uniform", 1), 12_000
    drawn = torch.cat([one.draw() for _ in range(number)])
    assert drawn.shape == (number, E)
    assert max(chi_squared_of_pairs(drawn)) < 42.0
    skewed = drawn.clone()
    skewed[torch.rand(number, generator=generator(2)) < 0.04, 0] = 0
    assert max(chi_squared_of_pairs(skewed)) > 42.0


def test_strict_fairness_has_every_operation_exactly_once_and_orders_that_are_uniform() -> None:
    """24 orders of each edge: chi-squared with 23 degrees of freedom below 56, p > 1e-4."""
    one, number = policy("strict-fairness", 2), 6000
    draws = torch.stack([one.draw() for _ in range(number)])
    assert draws.shape == (number, K, E)
    assert torch.equal(draws.sort(dim=1).values, torch.arange(K)[:, None].expand(number, K, E))
    code = draws.double().mul(torch.tensor([64.0, 16.0, 4.0, 1.0])[:, None]).sum(dim=1).long()
    for edge in range(E):
        counts = torch.unique(code[:, edge], return_counts=True)[1].double()
        assert len(counts) == math.factorial(K)
        expected = number / len(counts)
        assert float(((counts - expected) ** 2 / expected).sum()) < 56.0
    same = (draws[..., 0] == draws[..., 1]).double().mean()  # edges are independent: 1/K
    assert abs(float(same) - 1 / K) < 0.02


def test_sandwich_has_the_largest_and_smallest_by_exhaustion_without_none() -> None:
    model = CostModel(SPACE, CostSettings())
    everything = torch.tensor(list(itertools.product(range(K), repeat=E)))
    cost = model.cost(torch.nn.functional.one_hot(everything, K).double())
    feasible = (everything != SPACE.operations.index("none")).all(dim=1)
    drawn = policy("sandwich").draw()
    assert drawn.shape == (4, E)
    assert torch.equal(drawn[0], everything[cost.argmax()])
    least = cost.masked_fill(~feasible, math.inf).argmin()
    assert torch.equal(drawn[1], everything[least])
    assert torch.equal(policy("sandwich", 5).draw()[:2], drawn[:2])
    rest = torch.cat([policy("sandwich", seed).draw()[2:] for seed in range(40)])
    assert set(rest.flatten().tolist()) == set(range(K))


def learner(one: ThetaPolicy | None, level_seed: int = 5) -> Learner:
    network = ReferenceParent(SPACE, generator(1)).double()
    dist = Categorical(torch.randn(E, K, generator=generator(2)).double())
    return Learner(
        estimator=SNAS(),
        dist=dist,
        parent=network,
        theta_optimizer=torch.optim.SGD(network.parameters(), lr=RATE),
        alpha_optimizer=torch.optim.SGD(dist.parameters(), lr=0.1),
        make_loss=lambda b, theta=True, single_path=False: SupernetLoss(
            network, *b, all_operations=not single_path
        ),
        cost_term=lambda: None,
        generator=generator(level_seed),
        policy=one,
    )


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("level", ["bilevel", "unrolled"])
def test_theta_moves_by_the_sum_of_the_gradients_of_its_architectures(
    name: str, level: str
) -> None:
    one = learner(policy(name, 3))
    before = {key: p.detach().clone() for key, p in one.parent.named_parameters()}
    search_step(level, one, batch(3), batch(4))  # type: ignore[arg-type]
    expected = {key: torch.zeros_like(p) for key, p in before.items()}
    for drawn in policy(name, 3).draw():
        network = ReferenceParent(SPACE, generator(1)).double()  # alone: a pass of its own
        network.train()
        images, labels = batch(3)
        logits = network(images, torch.nn.functional.one_hot(drawn, K).double()[None])[0]
        torch.nn.functional.cross_entropy(logits, labels).backward()
        for key, p in network.named_parameters():
            expected[key] += 0 if p.grad is None else p.grad
    moved = 0
    for key, p in one.parent.named_parameters():
        torch.testing.assert_close((before[key] - p.detach()) / RATE, expected[key], msg=key)
        moved += bool(expected[key].any())
    assert moved > 3


@pytest.mark.parametrize("level", ["bilevel", "unrolled"])
def test_alphas_step_is_that_of_a_search_without_policy(level: str) -> None:
    alphas = []
    for one in (learner(None), learner(policy("uniform"))):
        search_step(level, one, batch(3), batch(4))  # type: ignore[arg-type]
        alphas.append(one.dist.alpha.detach().clone())  # type: ignore[union-attr]
    assert torch.equal(*alphas)


def test_the_measured_loss_is_the_mean_over_the_architectures() -> None:
    one = learner(policy("strict-fairness", 3))
    result = search_step("bilevel", one, batch(3), batch(4), train_alpha=False)
    again = learner(None)
    z = torch.nn.functional.one_hot(policy("strict-fairness", 3).draw(), K).double()[None]
    losses = SupernetLoss(again.parent, *batch(3))(z)  # type: ignore[arg-type]
    assert losses.shape == (1, K) and result.loss == pytest.approx(float(losses.detach().mean()))


def config(*more: str, estimator: str = "snas") -> Any:
    return plan_run(Registry(), estimator, "snas-unit", assignments=[*TINY, *more]).config


def search(name: str, *more: str, estimator: str = "snas") -> Search:
    chosen = ["search.level=bilevel", f"search.theta_policy={name}", *more]
    return Search(config(*chosen, estimator=estimator), Registry(), kernels="reference")


def test_joint_refuses_every_policy() -> None:
    for name in POLICIES:
        with pytest.raises(ConfigError, match=f"{name}' cannot be used at the level 'joint'") as e:
            config(f"search.theta_policy={name}")
        assert "bilevel" in e.value.fix and "one backward pass" in e.value.why
    with pytest.raises(ConfigError, match="no step of theta's own"):
        search_step("joint", learner(policy("uniform")), batch(3), None)


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"theta_random is a setting of .* 'sandwich'"):
        config("search.level=bilevel", "search.theta_random=3")
    with pytest.raises(ConfigError, match="theta_policy"):
        config("search.level=bilevel", "search.theta_policy=fair")
    with pytest.raises(ConfigError, match="no largest and smallest"):
        Sandwich(toy_space(), generator(), torch.ones(5, 4), 2)


def test_only_runs_with_a_policy_have_it_in_their_identity() -> None:
    plain, chosen = config("search.level=bilevel"), []
    assert not {"theta_policy", "theta_random"} & plain.identity(1)["search"].keys()
    for more in (["uniform"], ["sandwich"], ["sandwich", "search.theta_random=4"]):
        one = config("search.level=bilevel", f"search.theta_policy={more[0]}", *more[1:])
        assert ("theta_random" in one.identity(1)["search"]) == (more[0] == "sandwich")
        assert from_toml(to_toml(one, {})).digest(1) == one.digest(1)
        chosen.append(one)
    assert len({one.digest(1) for one in (plain, *chosen)}) == 4
    assert len({one.comparison() for one in (plain, *chosen)}) == 4
    values = plain.model_dump()
    for key in ("theta_policy", "theta_random"):
        values["search"].pop(key)  # a run of before
    assert recorded(values).digest(1) == plain.digest(1)


@pytest.mark.parametrize("name", POLICIES)
def test_a_continued_search_draws_on_where_it_stopped(name: str) -> None:
    straight, first = search(name), search(name)
    for _ in range(4):
        straight.one_step()
    for _ in range(2):
        first.one_step()
    second = search(name)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.one_step()
    for key, value in straight.parent.state_dict().items():
        assert torch.equal(value, second.parent.state_dict()[key]), key
    assert torch.equal(straight.dist.alpha, second.dist.alpha)  # type: ignore[arg-type]
    states = [s.state_dict()["generators"]["theta-policy"] for s in (straight, second, first)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
    assert "theta-policy" not in search("estimator").state_dict()["generators"]


def means(one: Search) -> dict[str, Tensor]:
    """Running means of the candidate operations, one by one."""
    named = one.parent.canonical(one.parent.state_dict())
    return {k: v.clone() for k, v in named.items() if "operations" in k and "running_mean" in k}


def test_operations_that_are_not_drawn_see_no_image() -> None:
    still = {}
    for name in ("estimator", "uniform"):
        one = search(name, estimator="gdas")
        one.dense = True  # as on a GPU, and as with estimators that need every operation
        train = one.train_stream.next_batch()
        before = means(one)
        search_step("bilevel", one.learner, train, train, train_alpha=False)
        after = means(one)
        same = [torch.equal(value, after[key]) for key, value in before.items()]
        still[name] = sum(same) / len(same)
    assert still["estimator"] == 0 and 0.3 < still["uniform"] < 1


def test_transformers_change_the_loss_of_the_drawn_architectures() -> None:
    seen: list[Tensor] = []
    one = learner(policy("strict-fairness", 3))

    class Watch:
        watch = None

        def loss(self, loss: Any, role: str) -> Any:
            return loss_at(loss, lambda z: (seen.append(z), z)[1]) if role == "theta" else loss

        def penalty(self, dist: Any, role: str) -> None:
            return None

    one.transformers = Watch()  # type: ignore[assignment]
    search_step("bilevel", one, batch(3), batch(4))
    assert torch.equal(seen[0][0].argmax(dim=-1), policy("strict-fairness", 3).draw())
