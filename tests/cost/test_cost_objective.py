"""E[C] and its three gradients, normalisation, the released penalties and finding eta."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.architecture.operations import DARTS_OPERATIONS, operation
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.control import TargetController, calibrate_eta, eta_for_ratio
from nasbench_snas.cost.expected import (
    CostModel,
    combine,
    expected_cost,
    released_edge_penalty,
    sample_cost,
    score_cost,
)
from nasbench_snas.cost.settings import CostSettings, CostTarget
from nasbench_snas.cost.table import cost_table, operation_cost
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream
from nasbench_snas.spaces.darts_cnn import DartsCNN


def small_space() -> Space:
    return DartsCNN(cells=3, channels=4, nodes=2).build(3, 10, 16)


def big_space() -> Space:
    return DartsCNN().build(3, 10, 32)


def weights(space: Space, seed: int = 0, samples: int = 1) -> Tensor:
    shape = (samples, space.num_edges, space.num_operations)
    return torch.rand(shape, generator=stream(seed, "w"), dtype=torch.float64).softmax(dim=-1)


@pytest.mark.equation(10)
def test_cost_is_linear_in_z() -> None:
    table = cost_table(small_space())
    a, b = weights(small_space(), 0), weights(small_space(), 1)
    mixed = sample_cost(0.3 * a - 1.7 * b, table)
    torch.testing.assert_close(mixed, 0.3 * sample_cost(a, table) - 1.7 * sample_cost(b, table))


@pytest.mark.equation(11)
def test_exact_expectation_equals_enumeration_over_all_architectures() -> None:
    space = DartsCNN(
        cells=1, channels=4, nodes=1, operations=("none", "skip_connect", "sep_conv_3x3")
    ).build(3, 10, 8)
    assert space.num_architectures == 9
    table, p = cost_table(space), weights(space)[0]
    mean = torch.zeros(3, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            mean += p[0, i] * p[1, j] * sample_cost(torch.stack([eye[i], eye[j]]), table)
    torch.testing.assert_close(expected_cost(p, table), mean)


def gradients(
    kind: str, draws: int, baseline: float | None, penalty: str = "normalised"
) -> tuple[Tensor, Tensor]:
    """Return the exact gradient and ``draws`` estimates of it, shape (draws, E, K)."""
    space = small_space()
    logits = torch.randn(
        space.num_edges, space.num_operations, generator=stream(1, "alpha"), dtype=torch.float64
    )
    settings = CostSettings(penalty=penalty)  # type: ignore[arg-type]
    exact = Categorical(logits)
    CostModel(space, settings).penalty(probs=exact.probs).sum().backward()
    model = CostModel(space, settings.model_copy(update={"gradient": kind}))
    dist = Categorical(logits).replicate(draws)
    noise = dist.noise(draws, 1, stream(2, "noise"))
    if kind == "score":
        z = dist.hard(noise)
        value = model.penalty(z=z, log_prob=dist.log_prob(z), baseline=baseline)
    else:
        value = model.penalty(z=dist.perturb(noise).div(0.2).softmax(dim=-1))
    value.sum().backward()
    assert exact.alpha.grad is not None and dist.alpha.grad is not None
    return exact.alpha.grad[0], dist.alpha.grad


@pytest.mark.equation(11)
@pytest.mark.parametrize("baseline", [None, 0.0])
def test_score_gradient_is_unbiased_for_the_exact_one(baseline: float | None) -> None:
    exact, draws = gradients("score", 20_000, baseline)
    error = draws.std(dim=0) / math.sqrt(len(draws))
    assert ((draws.mean(dim=0) - exact).abs() < 5 * error + 1e-9).all()
    assert exact.abs().max() > 20 * error.max()


def test_the_default_baseline_reduces_the_variance_of_the_score_gradient() -> None:
    variance = [gradients("score", 4_000, b)[1].var(dim=0).sum() for b in (None, 0.0)]
    assert variance[0] < 0.8 * variance[1]


def test_pathwise_gradient_points_along_the_exact_one() -> None:
    exact, draws = gradients("pathwise", 4_000, None)
    cosine = torch.nn.functional.cosine_similarity(exact.flatten(), draws.mean(0).flatten(), dim=0)
    assert cosine > 0.97


def test_local_credit_and_total_credit_estimate_the_same_gradient() -> None:
    space = small_space()
    dist = Categorical(weights(space)[0].log()).replicate(30_000)
    z = dist.hard(dist.noise(30_000, 1, stream(0, "n")))
    costs = CostModel(space, CostSettings()).edge_costs(z)
    grads = []
    for local in (True, False):
        value = score_cost(costs, dist.log_prob(z), costs.mean() if local else 1.0, local=local)
        grads.append(torch.autograd.grad(value.sum(), dist.alpha)[0])
    difference = grads[0] - grads[1]
    error = difference.std(dim=0) / math.sqrt(30_000)
    assert (difference.mean(dim=0).abs() < 5 * error).all()
    assert grads[1].var(dim=0).sum() > 3 * grads[0].var(dim=0).sum()


@pytest.mark.parametrize("space", [small_space(), big_space()], ids=["small", "big"])
def test_normalised_cost_is_one_for_the_uniform_choice_or_for_the_dearest(space: Space) -> None:
    uniform = torch.full((space.num_edges, space.num_operations), 1 / space.num_operations)
    model = CostModel(space, CostSettings())
    assert model.cost(uniform.double()).item() == pytest.approx(1, abs=1e-12)
    model = CostModel(space, CostSettings(normalise="maximum"))
    dearest = torch.zeros_like(uniform).scatter(1, model.unit.argmax(1, keepdim=True), 1)
    assert 0.98 < model.cost(dearest.double()) <= 1 + 1e-12


def test_weights_choose_among_the_criteria() -> None:
    space = small_space()
    table = cost_table(space)
    only = combine(table, (0, 3, 0))
    torch.testing.assert_close(only, table[..., 1] / table[..., 1].mean(1).sum())
    both = combine(table, (1, 1, 0), "none")
    torch.testing.assert_close(both, (table[..., 0] + table[..., 1]) / 2)
    with pytest.raises(ConfigError, match="zero"):
        combine(table, (0, 0, 0))


def test_a_criterion_that_is_zero_everywhere_does_not_dilute_the_others() -> None:
    space = DartsCNN(cells=1, channels=4, nodes=1, operations=("none", "avg_pool_3x3")).build(
        3, 10, 8
    )
    unit = combine(cost_table(space), (1, 1, 1))
    assert unit.mean(dim=1).sum().item() == pytest.approx(1)


PENALTIES = {
    "none": (0, 0),
    "max_pool_3x3": (156.8, 7.433),
    "skip_connect": (140.9, 3.466),
    "sep_conv_3x3": (1343.1, 10.697),
    "sep_conv_5x5": (1842.0, 11.028),
    "dil_conv_3x3": (671.6, 10.004),
    "dil_conv_5x5": (921.0, 10.335),
}


@pytest.mark.parametrize(("name", "expected"), PENALTIES.items())
def test_released_penalties_of_one_edge_are_the_known_numbers(
    name: str, expected: tuple[float, float]
) -> None:
    costs = [operation_cost(operation(n), 16, 1, 32, convention="released") for n in PENALTIES]
    table = torch.tensor([[(c.parameters, c.flops, c.access) for c in costs]], dtype=torch.float64)
    z = torch.eye(len(PENALTIES), dtype=torch.float64)[list(PENALTIES).index(name)][None]
    linear = released_edge_penalty(z, table, "released-linear").item()
    log = released_edge_penalty(z, table, "released-log").item()
    assert (round(linear, 1), round(log, 3)) == expected


@pytest.mark.parametrize(
    ("penalty", "value", "digits"), [("released-linear", 60_052, 0), ("released-log", 284.85, 2)]
)
def test_released_penalty_of_the_undecided_eight_cell_network_is_the_known_one(
    penalty: str, value: float, digits: int
) -> None:
    settings = CostSettings(penalty=penalty, convention="released")  # type: ignore[arg-type]
    model = CostModel(big_space(), settings)
    uniform = torch.full((28, len(DARTS_OPERATIONS)), 1 / 8, dtype=torch.float64)
    assert round(model.cost(uniform).item(), digits) == value
    if penalty == "released-log":
        assert round(1.5e-3 * model.cost(uniform).item(), 3) == 0.427


def test_the_released_logarithm_is_not_linear_and_the_score_gradient_sees_that() -> None:
    exact_of_mean, draws = gradients("score", 20_000, None, "released-log")
    error = draws.std(dim=0) / math.sqrt(len(draws))
    assert ((draws.mean(dim=0) - exact_of_mean).abs() > 10 * error).any()


def test_what_a_gradient_needs_and_does_not_get_is_said() -> None:
    model = CostModel(small_space(), CostSettings())
    with pytest.raises(ConfigError, match="'exact'"):
        model.penalty(z=weights(small_space()))


def test_targets_are_read_with_their_units() -> None:
    assert CostTarget.parse("params=2.8M") == CostTarget("parameters", 2_800_000)
    assert CostTarget.parse(" macs = 600M ") == CostTarget("flops", 600e6)
    assert CostTarget.parse("access=12k") == CostTarget("access", 12_000)
    assert CostTarget.parse("share=.5") == CostTarget("share", 0.5)
    for wrong in ("params", "params=2.8X", "param=2M", "params=0", "params=-1"):
        with pytest.raises(ConfigError):
            CostTarget.parse(wrong)
    with pytest.raises(ValidationError, match="unknown cost criterion"):
        CostSettings(target="weight=3")


def test_a_target_speaks_of_the_whole_network_or_of_the_share_of_the_uniform_cost() -> None:
    space = big_space()
    model = CostModel(space, CostSettings())
    every = torch.ones(28, 8, dtype=torch.float64)
    assert model.measure(every, CostTarget("parameters", 1)).item() == 1_930_618
    half = torch.full_like(every, 1 / 16)
    assert model.measure(half, CostTarget("share", 1)).item() == pytest.approx(0.5)


def test_eta_for_a_ratio_makes_the_penalty_that_share_of_the_loss() -> None:
    eta = eta_for_ratio(math.log(10), 1.0, 0.2)
    assert eta * 1.0 == pytest.approx(0.2 * math.log(10))
    with pytest.raises(ConfigError):
        eta_for_ratio(2.3, 0.0, 0.2)


@pytest.mark.parametrize("target", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("start", [1e-3, 1.0, 300.0])
def test_calibration_finds_the_eta_of_a_falling_measurement(target: float, start: float) -> None:
    found = calibrate_eta(
        lambda eta: 1 / (1 + eta), target, start=start, tolerance=0.01, max_trials=40
    )
    assert found.reached
    assert 1 / (1 + found.eta) == pytest.approx(target, rel=0.01)
    assert found.trials[0][0] == start


def test_calibration_says_when_the_target_was_not_reached() -> None:
    found = calibrate_eta(lambda eta: 0.4, 0.9, max_trials=5)
    assert not found.reached and len(found.trials) == 5 and found.value == 0.4


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
def test_the_controller_drives_the_cost_to_its_target(kind: str) -> None:
    target = CostTarget("share", 0.3)
    controller = TargetController(target, 0.5, rate=0.2, kind=kind)  # type: ignore[arg-type]
    cost = 1.0
    for _ in range(400):
        cost = 1 / (1 + controller.update(cost))
    assert cost == pytest.approx(0.3, rel=0.02)


def test_the_controller_resumes_exactly() -> None:
    target = CostTarget("share", 0.3)
    one = TargetController(target, 0.5)
    for cost in (0.9, 0.8, 0.2):
        one.update(cost)
    two = TargetController(target, 0.1)
    two.load_state_dict(one.state_dict())
    assert two.update(0.5) == one.update(0.5)
    assert two.updates == 4


def test_additive_control_may_switch_the_constraint_off_but_multiplicative_may_not() -> None:
    target = CostTarget("share", 10.0)
    plain = TargetController(target, 0.1, kind="additive")
    steady = TargetController(target, 0.1, limits=(1e-3, 1.0))
    for _ in range(200):
        plain.update(1.0)
        steady.update(1.0)
    assert plain.eta == 0 and steady.eta == 1e-3
