"""Estimators on a table: look-ups, the extension, exact gradients, courses, budgets, tuning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nasbench_snas.api import Categorical
from nasbench_snas.cli.main import main
from nasbench_snas.errors import ConfigError
from nasbench_snas.oracle.exact import architectures, distribution_gradient
from nasbench_snas.registry import Registry
from nasbench_snas.seeding import stream
from nasbench_snas.truth.course import Ledger, Purse, run_course
from nasbench_snas.truth.landscape import Landscape, LandscapeSettings, loss_table
from nasbench_snas.truth.objective import TableObjective, contract, exact_gradient
from nasbench_snas.truth.published import published
from nasbench_snas.truth.quality import exact_points, gradient_quality
from nasbench_snas.truth.seedwise import RandomSearch

EDGES, OPERATIONS = 4, 3


def small_table(seed: int = 0) -> Tensor:
    shape = (OPERATIONS,) * EDGES
    return torch.randn(shape, generator=stream(seed, "table"), dtype=torch.float64)


def some_logits(count: int = 3) -> Tensor:
    return torch.randn(count, EDGES, OPERATIONS, generator=stream(1, "x"), dtype=torch.float64)


def test_the_contraction_is_the_sum_over_all_architectures() -> None:
    table, logits = small_table(), some_logits()
    value, gradient = exact_gradient(table, logits)
    for row in range(len(logits)):
        dist = Categorical(logits[row])
        expected, slope, _ = distribution_gradient(dist, table.flatten())
        assert float(value[row]) == pytest.approx(float(expected), rel=1e-12)
        assert torch.allclose(gradient[row].flatten(), slope, rtol=1e-10, atol=1e-13)


def test_the_exact_gradient_is_that_of_differences() -> None:
    table, logits = small_table(), some_logits(1)
    _, gradient = exact_gradient(table, logits)
    for edge in range(EDGES):
        step = torch.zeros_like(logits)
        step[0, edge, 1] = 1e-5
        sides = [float(contract(table, (logits + s * step).softmax(-1))[0]) for s in (1, -1)]
        slope = (sides[0] - sides[1]) / 2e-5
        assert float(gradient[0, edge, 1]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_architectures_are_looked_up_and_anything_else_is_the_extension() -> None:
    table, told = small_table(), []
    loss = TableObjective(table, looked_up=lambda index, extension: told.append((index, extension)))
    choices = architectures(EDGES, OPERATIONS)
    z = torch.eye(OPERATIONS, dtype=torch.float64)[choices][None]
    assert torch.equal(loss(z)[0], table.flatten())
    assert torch.equal(told[0][0][0], torch.arange(81)) and not told[0][1]
    assert not loss.relaxed
    assert torch.allclose(loss(z.clone().requires_grad_())[0], table.flatten())
    assert told[1][1] and loss.relaxed


def test_the_slope_of_operations_that_were_not_drawn_is_hidden_unless_asked_for() -> None:
    table = small_table()
    z = torch.eye(OPERATIONS, dtype=torch.float64)[torch.zeros(1, 1, EDGES, dtype=torch.long)]
    slopes = []
    for everything in (False, True):
        leaf = z.clone().requires_grad_()
        TableObjective(table, all_operations=everything)(leaf).sum().backward()
        slopes.append(leaf.grad)
    assert bool((slopes[0][z == 0] == 0).all())
    assert bool((slopes[1][z == 0] != 0).all())
    expected = [table[0, 0, 0, k] for k in range(OPERATIONS)]  # linear in each row
    assert slopes[1][0, 0, 3].tolist() == pytest.approx([float(x) for x in expected])


def test_look_ups_are_counted_again_or_once_and_have_a_price() -> None:
    losses = torch.arange(9, dtype=torch.float64)
    price = torch.full((9,), 2.0, dtype=torch.float64)
    for repeats, spent in ((True, [6.0, 6.0]), (False, [4.0, 2.0])):
        ledger = Ledger(2, losses, Purse((10.0,), price, repeats))
        ledger(torch.tensor([[3, 3], [5, 5]]), False)
        ledger(torch.tensor([[4], [5]]), False)
        assert ledger.spent.tolist() == spent
        assert ledger.distinct.tolist() == [2, 1] and ledger.look_ups.tolist() == [3, 3]
        assert ledger.best.tolist() == [3, 5]


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    settings = LandscapeSettings(
        queries=60, seeds=(0, 1, 2), tuning_seeds=(100, 101), rates=(0.05, 0.5), draws=400
    )
    return Landscape(settings, Registry(), published())


def test_the_table_of_losses_is_in_the_order_of_keys_and_adds_costs() -> None:
    table = loss_table(LandscapeSettings(), published())
    record = published().record("403132")
    assert float(table[4, 0, 3, 1, 3, 2]) == pytest.approx(1 - record.accuracy / 100)
    dear = loss_table(LandscapeSettings(cost="parameters", eta=0.5), published()) - table
    assert float(dear.mean()) == pytest.approx(0.5)
    assert int(dear.argmax()) == int("333333", 5)
    with pytest.raises(ConfigError, match="both"):
        LandscapeSettings(cost="latency")
    with pytest.raises(ConfigError, match="different"):
        LandscapeSettings(seeds=(1, 2), tuning_seeds=(2,))


@pytest.mark.parametrize("name", ["rloo", "reinforce", "snas", "local-expectation", "random"])
def test_a_seed_goes_its_own_way_whatever_runs_beside_it(landscape: Landscape, name: str) -> None:
    make, purse = landscape.maker(name, {}), Purse((30.0, 60.0))
    courses = [
        run_course(make, landscape.space, landscape.table, seeds, [0.2] * len(seeds), purse)
        for seeds in ([0, 1, 2], [2], [0, 1, 2])
    ]
    assert np.allclose(courses[0].recommended[2], courses[1].recommended[0], rtol=1e-9)
    assert np.array_equal(courses[0].recommended, courses[2].recommended)
    assert bool((courses[0].spent <= courses[0].budgets).all())


@pytest.mark.parametrize(
    ("name", "values"),
    [("reinforce", {}), ("regularized-evolution", {"population": 6, "tournament": 3})],
)
def test_a_state_for_each_seed_is_the_estimator_of_that_name_seed_by_seed(
    landscape: Landscape, name: str, values: dict[str, int]
) -> None:
    purse, cls = Purse((10.0, 60.0)), landscape.registry.estimator(name)
    side_by_side = run_course(
        landscape.maker(name, values), landscape.space, landscape.table, [0, 1], [0.2] * 2, purse
    )
    assert cls(**values).state_dict()  # so that its own form runs seed by seed
    own = run_course(
        lambda: cls(**values), landscape.space, landscape.table, [0, 1], [0.2] * 2, purse
    )
    assert np.allclose(side_by_side.best, own.best, rtol=1e-12)
    assert np.allclose(side_by_side.recommended, own.recommended, rtol=1e-6)


def test_no_course_spends_more_than_its_budget_and_queries_are_what_was_asked(
    landscape: Landscape,
) -> None:
    asked = []

    class Counting(RandomSearch):
        def surrogate(self, loss, dist, noise):  # type: ignore[no-untyped-def]
            asked.append(noise.shape[1])
            return super().surrogate(loss, dist, noise)

    course = run_course(Counting, landscape.space, landscape.table, [5], [1.0], Purse((7.0, 20.0)))
    assert course.look_ups.tolist() == [[7.0, 20.0]]
    assert sum(asked) == 21  # the step that went over the last budget is not recorded


def test_repeats_that_do_not_count_let_a_course_go_on(landscape: Landscape) -> None:
    make = landscape.maker("rloo", {})
    found = {
        repeats: run_course(
            make, landscape.space, landscape.table, [0], [1.0], Purse((150.0,), None, repeats)
        )
        for repeats in (True, False)
    }
    assert found[True].look_ups[0, 0] <= 150 < found[False].look_ups[0, 0]
    assert found[False].distinct[0, 0] <= 150


def test_the_exact_gradient_finds_the_best_and_a_wrong_objective_does_not(
    landscape: Landscape,
) -> None:
    right = landscape.compare("exact")["curve"][-1]["recommended"]["mean"]
    assert right == 0
    wrong = Landscape(landscape.settings, Registry(), published())
    wrong.table = landscape.table.permute(5, 4, 3, 2, 1, 0)  # edges in another order
    make = wrong.maker("exact", {})
    course = run_course(make, wrong.space, wrong.table, [0, 1], [0.5] * 2, Purse((60.0,)))
    found = int(wrong.table.argmin())
    digits = [found // 5**place % 5 for place in range(6)]
    named = landscape.table[tuple(reversed(digits))]
    assert float(course.recommended[0, 0]) == float(wrong.table.min())
    assert float(named) > float(landscape.table.min())


def test_gradients_are_measured_against_the_exact_one_and_a_planted_error_is_found(
    landscape: Landscape,
) -> None:
    points = exact_points(landscape, 0.1)
    assert [point.share for point in points] == [1.0, 0.5, 0.1, 0.01]
    sound = gradient_quality(landscape, "rloo", points[:1])[0]
    assert not sound["bias_sq_low"] > 0 and sound["queries_per_draw"] == 4
    assert gradient_quality(landscape, "random", points[:1]) == []
    other = Landscape(landscape.settings, Registry(), published())
    other.table = 3 * landscape.table  # the reference stays that of the right table
    assert gradient_quality(other, "local-expectation", points[:1])[0]["bias_sq_low"] > 1


def test_the_command_writes_tables_figure_and_result(tmp_path: Path) -> None:
    words = "landscape --queries 20 --seeds 0-2 --tuning-seeds 100-101 --rates 0.1,0.5 --draws 100"
    with pytest.raises(SystemExit) as stop:
        main(["--root", str(tmp_path), *words.split(), "-e", "exact,random,rloo,snas"])
    assert not stop.value.code
    (folder,) = (tmp_path / "_landscape").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert [m["estimator"] for m in result["methods"]] == ["exact", "random", "rloo", "snas"]
    assert [m["relaxed"] for m in result["methods"]] == [False, False, False, True]
    assert result["tuning_queries"] == 2 * 2 * 20
    assert [m["tuning_budget"] for m in result["methods"]] == [80, 0, 80, 80]
    text = (folder / "landscape.md").read_text()
    assert "snas \\*" in text and "12-epoch" in text and "80 queries" in text
    assert (folder / "regret.svg").exists()
    curves = (folder / "landscape-curves.csv").read_text().splitlines()
    assert len(curves) == 1 + 4 * len(result["budgets"])
