"""Estimators on functions of one's own: same draws, credit for each element, refusals."""

from __future__ import annotations

import pytest
import torch

import nasbench_snas
from nasbench_snas import functional
from nasbench_snas.api import Categorical
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.estimators.self_critical import SelfCritical
from nasbench_snas.functional.estimation import GivenCategorical
from nasbench_snas.registry import Registry
from nasbench_snas.seeding import stream

MISFITS = {
    "drnas",
    "enas",
    "enas-ppo",
    "fair-darts",
    "hard-concrete",
    "pc-darts",
    "random",
    "random-sampling",
    "regularized-evolution",
}
STATEFUL = {"aimle", "double-cv", "rebar", "reinforce", "relax", "rodeo"}
ALL = [entry.name for entry in Registry().estimators() if entry.origin == "built-in"]
FITTING = [name for name in ALL if name not in MISFITS]
UNBIASED = [n for n in FITTING if Registry().estimator(n).bias == "unbiased" and n != "exact"]

COST = torch.randn(3, 4, generator=stream(0, "cost"), dtype=torch.float64)
LOGITS = torch.randn(3, 4, generator=stream(0, "logits"), dtype=torch.float64)


def f(z: torch.Tensor) -> torch.Tensor:
    """A function of all orders in ``z``, for any leading shape."""
    return (z * COST).sum(dim=(-2, -1)).exp()


@pytest.mark.parametrize("name", FITTING)
def test_each_batch_element_gets_the_draw_it_would_get_alone(name):
    logits = torch.randn(2, 3, 3, 4, generator=stream(1, "batch"), dtype=torch.float64)
    logits.requires_grad_()
    method = functional.make_estimator(name).eval()
    value = nasbench_snas.estimate(logits, f, estimator=method, generator=stream(2, "noise"))
    assert value.shape == (2, 3)
    (together,) = torch.autograd.grad(value.sum(), logits)

    dist = GivenCategorical(logits.detach().reshape(6, 3, 4))
    noise = method.noise(dist, 6, stream(2, "noise"))
    for r in range(6):

        def part(item, r=r):
            if isinstance(item, tuple):
                return tuple(part(i) for i in item)
            return item if item is None else item[r : r + 1]

        alone = Categorical(logits.detach().reshape(6, 3, 4)[r])

        def loss(z, run=None):
            wanted = z.detach() != 0 if run is None else (z.detach() != 0) | run
            kept = z if method.needs_all_operations else torch.where(wanted, z, 0)
            return f(kept)

        loss.error = lambda z: f(z).detach()
        total = method.surrogate(loss, alone, part(noise)).sum()
        (expected,) = torch.autograd.grad(total, alone.alpha)
        found = together.reshape(6, 3, 4)[r]
        assert torch.allclose(found, expected[0], rtol=1e-9, atol=1e-11), f"element {r}"
        assert torch.allclose(value.reshape(6)[r], total, rtol=1e-9)


@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_estimators_show_no_bias_in_the_comparison(name):
    # 20,000 draws; a squared bias above 5 standard errors: false alarms about 1e-6 a method.
    row = functional.compare_gradients(
        LOGITS, f, [name], generator=stream(3, name), draws=20_000
    ).rows[0]
    assert row.bias2 <= 5 * row.bias2_error


def test_comparison_measures_a_planted_bias():
    class Scaled(SelfCritical):
        def advantage(self, losses, loss, dist, z):
            return 0.5 * super().advantage(losses, loss, dist, z)

    row = functional.compare_gradients(
        LOGITS, f, [Scaled()], generator=stream(3, "scaled"), draws=20_000
    ).rows[0]
    assert row.bias2 == pytest.approx(0.25, abs=5 * row.bias2_error)
    assert row.bias2 > 5 * row.bias2_error


def test_exact_rows_have_neither_bias_nor_variance():
    found = functional.compare_gradients(
        LOGITS, f, ["exact", "darts"], generator=stream(0, "x"), draws=40
    )
    assert found.rows[0].bias2 == pytest.approx(0, abs=1e-20)
    assert found.rows[0].variance == pytest.approx(0, abs=1e-20)
    assert found.rows[1].bias2 > 0.01
    assert "darts" in str(found)


def test_parameters_of_the_function_get_their_gradient():
    weight = COST.clone().requires_grad_()
    value = functional.exact(
        LOGITS.clone().requires_grad_(),
        lambda z: (z * weight).sum(dim=(-2, -1)),
        generator=stream(0, "noise"),
    )
    (gradient,) = torch.autograd.grad(value, weight)
    assert torch.allclose(gradient, LOGITS.softmax(dim=-1), atol=1e-12)


def test_gradient_flows_into_what_computed_the_logits():
    layer = torch.nn.Linear(5, 12).double()
    x = torch.randn(7, 5, generator=stream(0, "x"), dtype=torch.float64)
    value = nasbench_snas.estimate(layer(x).view(7, 3, 4), f, generator=stream(0, "noise"))
    value.mean().backward()
    assert bool(layer.weight.grad.any())


def test_credit_stays_with_its_batch_element():
    logits = torch.zeros(2, 3, 4, dtype=torch.float64, requires_grad=True)

    def first_only(z):
        return f(z) * torch.tensor([1.0, 0.0], dtype=z.dtype)

    value = nasbench_snas.estimate(logits, first_only, generator=stream(0, "noise"))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert bool(gradient[0].any()) and not bool(gradient[1].any())


def test_functional_forms_are_the_estimators_by_name():
    first = functional.unordered_set(LOGITS, f, generator=stream(0, "n"), n=3)
    second = functional.estimate(
        LOGITS, f, estimator="unordered-set", generator=stream(0, "n"), n=3
    )
    assert torch.equal(first, second)
    assert {"rloo", "disarm_tree", "local_expectation"} <= set(dir(functional))
    with pytest.raises(AttributeError):
        functional.no_such_estimator  # noqa: B018


@pytest.mark.parametrize("name", sorted(MISFITS))
def test_what_needs_more_than_logits_is_refused(name):
    with pytest.raises(ConfigError, match="does not fit"):
        nasbench_snas.estimate(LOGITS, f, estimator=name, generator=stream(0, "n"))


@pytest.mark.parametrize("name", sorted(STATEFUL))
def test_the_function_refuses_what_keeps_state(name):
    with pytest.raises(ConfigError, match="keeps state"):
        nasbench_snas.estimate(LOGITS, f, estimator=name, generator=stream(0, "n"))


def test_black_box_functions_are_refused_where_a_slope_is_needed():
    for name in ("straight-through", "imle", "darts"):
        with pytest.raises(ConfigError, match="no graph"):
            nasbench_snas.estimate(
                LOGITS.clone().requires_grad_(),
                lambda z: f(z).detach(),
                estimator=name,
                generator=stream(0, "n"),
            )
    logits = LOGITS.clone().requires_grad_()
    value = functional.rloo(logits, lambda z: f(z).detach(), generator=stream(0, "n"))
    assert bool(torch.autograd.grad(value, logits)[0].any())


def test_wrong_shapes_and_names_are_refused_with_what_was_expected():
    generator = stream(0, "n")
    with pytest.raises(ConfigError, match="one value for each sample"):
        nasbench_snas.estimate(LOGITS, lambda z: f(z).mean(), generator=generator)
    with pytest.raises(ConfigError, match=r"\(\.\.\., E, K\)"):
        nasbench_snas.estimate(LOGITS[0], f, generator=generator)
    with pytest.raises(PluginError, match="unknown estimator"):
        nasbench_snas.estimate(LOGITS, f, estimator="rlooo", generator=generator)
    with pytest.raises(ConfigError, match="unknown setting"):
        nasbench_snas.estimate(LOGITS, f, generator=generator, m=3)
    with pytest.raises(ConfigError, match="states"):
        functional.exact(torch.zeros(8, 4), lambda z: z.sum((-2, -1)), generator=generator)
    with pytest.raises(ConfigError, match="too many"):
        functional.compare_gradients(torch.zeros(8, 4), f, ["rloo"], generator=generator)


def test_learnt_control_variates_lower_their_own_variance():
    method = functional.make_estimator("relax", hidden=16)
    logits = LOGITS.clone().requires_grad_()
    before = functional.compare_gradients(
        LOGITS, f, [method], generator=stream(1, "b"), draws=4_000
    ).rows[0]
    optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
    generator = stream(0, "train")
    for _ in range(300):
        batch = logits.expand(16, 3, 4)
        value = nasbench_snas.estimate(batch, f, estimator=method, generator=generator)
        objective = functional.variance_objective(value, batch)
        grads = torch.autograd.grad(objective, list(method.parameters()))
        for parameter, gradient in zip(method.parameters(), grads, strict=True):
            parameter.grad = gradient
        optimizer.step()
    after = functional.compare_gradients(
        LOGITS, f, [method], generator=stream(1, "b"), draws=4_000
    ).rows[0]
    assert after.variance < 0.8 * before.variance


def test_global_generators_are_untouched():
    before = torch.get_rng_state()
    for name in FITTING:
        method = functional.make_estimator(name)
        logits = LOGITS.clone().requires_grad_()
        nasbench_snas.estimate(logits, f, estimator=method, generator=stream(0, "n"))
    assert torch.equal(before, torch.get_rng_state())
