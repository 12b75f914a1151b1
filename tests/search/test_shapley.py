"""The derive rule shapley: against the exact value by enumeration of all coalitions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nasbench_snas.api import Categorical, RuleWork, SearchState
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.load import load_search
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.rules import derive_by
from nasbench_snas.search.runner import RunOptions, run_search
from nasbench_snas.search.shapley import Shapley, shapley_values
from nasbench_snas.testing.toy import toy_space

WEIGHTS = torch.tensor([[0.3, 0.7], [0.6, 0.4]])
PLAYERS = WEIGHTS.numel()
TINY = ["data.dataset=fake", "data.fake.train_images=96", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=16", "search.epochs=1", "child.samples=1"]
TINY += ["child.recalibration_images=16", "child.rule=shapley", "child.parameters.samples=2"]


def game(seed: int) -> Any:
    """A worth of every coalition of four players, drawn at random: sixteen numbers."""
    table = 100 * torch.rand(2**PLAYERS, generator=torch.Generator().manual_seed(seed)).double()
    bits = 2 ** torch.arange(PLAYERS)
    return lambda z: table[((z.flatten(1) != 0) * bits).sum(dim=1)]


def present(players: tuple[int, ...]) -> Tensor:
    mask = torch.zeros(PLAYERS)
    mask[list(players)] = 1
    return (WEIGHTS * mask.view_as(WEIGHTS))[None]


def exact(worth: Any) -> Tensor:
    """Shapley's formula: a sum over coalitions without the player, with factorial weights."""
    values = torch.zeros(PLAYERS, dtype=torch.float64)
    for player in range(PLAYERS):
        others = [p for p in range(PLAYERS) if p != player]
        for size in range(PLAYERS):
            weight = math.factorial(size) * math.factorial(PLAYERS - size - 1)
            for chosen in itertools.combinations(others, size):
                gain = worth(present((*chosen, player))) - worth(present(chosen))
                values[player] += weight / math.factorial(PLAYERS) * float(gain[0])
    return values.view_as(WEIGHTS)


ALL = torch.tensor(list(itertools.permutations(range(PLAYERS))))


@pytest.mark.parametrize("seed", range(4))
def test_over_all_orders_it_is_the_shapley_value(seed: int) -> None:
    worth = game(seed)
    found = shapley_values(worth, WEIGHTS, ALL)
    assert torch.allclose(found, exact(worth), rtol=0, atol=1e-10)
    whole, empty = worth(WEIGHTS[None])[0], worth(torch.zeros_like(WEIGHTS)[None])[0]
    assert float(found.sum()) == pytest.approx(float(whole - empty))  # efficiency


def test_random_orders_estimate_it_without_bias() -> None:
    """Largest of four |z|, 2000 orders, bound 4.0: a false alarm in 2.5e-4 of seeds.

    Power: a mean that is off by 5 percent points (of 100) is 5 to 9 standard errors away.
    """
    worth, number = game(7), 2000
    generator = torch.Generator().manual_seed(1)
    orders = torch.stack([torch.randperm(PLAYERS, generator=generator) for _ in range(number)])
    each = torch.stack([shapley_values(worth, WEIGHTS, one[None]).flatten() for one in orders])
    error = each.std(dim=0) / math.sqrt(number)
    assert torch.allclose(each.mean(dim=0), shapley_values(worth, WEIGHTS, orders).flatten())
    assert float(((each.mean(dim=0) - exact(worth).flatten()) / error).abs().max()) < 4.0
    assert float((5 / error).min()) > 4.5


def test_a_permutation_ends_below_the_threshold_and_the_rest_counts_as_zero() -> None:
    values = {4: 100.0, 3: 80.0, 2: 40.0, 1: 90.0, 0: 0.0}
    asked: list[int] = []

    def worth(z: Tensor) -> Tensor:
        asked.append(len(z))
        return torch.tensor([values[int(n)] for n in (z.flatten(1) != 0).sum(dim=1)])

    orders = torch.tensor([[2, 0, 1, 3], [3, 1, 2, 0]])
    found = shapley_values(worth, WEIGHTS, orders, threshold=0.5).flatten()
    assert found.tolist() == [40 / 2, 40 / 2, 20 / 2, 20 / 2]
    assert asked == [1, 2, 2]  # nothing is measured beyond the end
    assert shapley_values(worth, WEIGHTS, orders, threshold=0.0).sum() == 100.0


def test_what_is_not_measured_ends_a_permutation() -> None:
    lost = lambda z: torch.full((len(z),), -math.inf)  # noqa: E731
    assert not shapley_values(lost, WEIGHTS, ALL).any()
    told = [[100.0], [70.0, 60.0], [-math.inf, 50.0], [10.0], [0.0]]
    answers = iter([torch.tensor(values) for values in told])
    orders = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
    found = shapley_values(lambda z: next(answers), WEIGHTS, orders)
    assert found.flatten().tolist() == [(30 + 10) / 2, 40 / 2, 10 / 2, 40 / 2]


def test_the_child_has_what_contributes_most() -> None:
    space = toy_space()
    gains = torch.tensor([0.0, 1.0, 2.0, 3.0]).repeat(5, 1) + torch.arange(5)[:, None] / 10
    gains[0] = gains[0].flip(0)  # none would be worth most on the first edge

    def measure(z: Tensor) -> Tensor:
        return 20 + (gains * (z != 0)).sum(dim=(1, 2)).double()

    def child(**settings: Any) -> Tensor:
        state = SearchState(space, Categorical(torch.zeros(5, 4)),
                            torch.Generator().manual_seed(0), measure=measure)  # fmt: skip
        return derive_by(Shapley(**settings), state)

    assert child(threshold=0.0).argmax(dim=-1).tolist() == [1, 3, 0, 3, 3]
    assert not child(threshold=0.0)[2].any()  # the weakest of the three inputs of node 3
    whole = child(threshold=0.0, edges_per_node=0)
    assert whole.argmax(dim=-1).tolist() == [0, 3, 3, 3, 3] and int(whole.sum()) == 5


def test_players_that_are_equal_are_told_apart_by_their_probabilities() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    state = SearchState(toy_space(), Categorical(logits), torch.Generator().manual_seed(0),
                        measure=lambda z: torch.ones(len(z)))  # fmt: skip
    z = derive_by(Shapley(samples=2, edges_per_node=0), state)
    assert torch.equal(z.argmax(dim=-1), logits.argmax(dim=-1))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="samples = 0: at least 1"):
        Shapley(samples=0)
    with pytest.raises(ConfigError, match="threshold = 1.0: expected a share"):
        Shapley(threshold=1.0)
    assert Shapley(samples=3).work(toy_space(), 100) == RuleWork(1 + 3 * 20)


def test_a_search_ends_with_it(tmp_path: Any) -> None:
    plan = plan_run(Registry(), "snas", "snas-unit", assignments=TINY)
    folder = RunFolder(tmp_path / plan.run_id)
    result = run_search(plan.config, Registry(), folder, RunOptions(kernels="reference"))
    search = load_search(folder, Registry())
    assert result["derive_rule"] == "shapley" and result["selection_steps"] == 0
    assert 1 < result["n_candidates"] <= search.rule_work.measured
    assert result["selection_images"] == len(search.selection_part())
    assert result["genotype"] and search.selected().candidates == result["n_candidates"]
