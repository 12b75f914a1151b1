"""The conformance kit itself: expected failures, its helpers, and what it catches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasbench_snas.api import Pathwise, Score
from nasbench_snas.errors import ConfigError
from nasbench_snas.estimators.rloo import RLOO
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.registry import Registry
from nasbench_snas.seeding import stream
from nasbench_snas.stats import hotelling_power
from nasbench_snas.testing import EstimatorConformance, SpaceConformance
from nasbench_snas.testing.bench import Bench, map_tensors, tensors_in
from nasbench_snas.testing.bias import FALSE_ALARM, FULL_DRAWS, QUICK_DRAWS
from nasbench_snas.testing.chain import Chain
from nasbench_snas.testing.documentation import code_lines, literal_attributes
from nasbench_snas.testing.exact import enumerate_architectures
from nasbench_snas.testing.problems import toy_problem
from nasbench_snas.testing.proofs import TRIAL, draw, exact, relative_bias


def kit(estimator: type, **members):
    return type("TestMade", (EstimatorConformance,), {"estimator": estimator, **members})


def fails(estimator: type, check: str) -> str:
    with pytest.raises(AssertionError) as caught:
        getattr(kit(estimator)(), f"test_{check}")()
    return str(caught.value)


_LIKE_WIDE = ("darts-bench-deep", "darts-bench-single-cell")  # at the size that is tested
for _entry in Registry().spaces():
    if _entry.origin == "built-in" and not _entry.name.startswith(_LIKE_WIDE):
        _class = Registry().space(_entry.name)
        globals()[f"Test{_class.__name__}"] = type(
            f"Test{_class.__name__}", (SpaceConformance,), {"space": _class}
        )


def test_kit_has_at_least_the_promised_number_of_checks():
    assert len(EstimatorConformance.checks()) >= 25
    for check in EstimatorConformance.checks():
        assert getattr(EstimatorConformance, f"test_{check}").__doc__, check


def test_expected_failures_are_strict_and_carry_their_reason():
    made = kit(SNAS, expected_failed_checks={"value_estimates_the_expected_loss": "because"})
    (mark,) = made.test_value_estimates_the_expected_loss.pytestmark
    assert mark.name == "xfail" and mark.kwargs == {"reason": "because", "strict": True}
    plain = kit(SNAS).test_value_estimates_the_expected_loss
    assert not hasattr(plain, "pytestmark"), "the mark leaked into another class"


def test_expected_failures_of_estimator_and_test_class_are_joined():
    class Odd(SNAS):
        """Odd."""

        expected_failed_checks = {"variance_is_finite": "first"}

    made = kit(Odd, expected_failed_checks={"progress_values_are_floats": "second"})
    for check, reason in (
        ("variance_is_finite", "first"),
        ("progress_values_are_floats", "second"),
    ):
        assert getattr(made, f"test_{check}").pytestmark[0].kwargs["reason"] == reason


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"variance_is_fnite": "x"}, "Did you mean 'variance_is_finite'"),
        ({"variance_is_finite": " "}, "no reason"),
    ],
)
def test_unknown_checks_and_empty_reasons_are_refused(expected, message):
    with pytest.raises(ConfigError, match=message):
        kit(SNAS, expected_failed_checks=expected)


def test_stated_power_of_the_quick_and_the_slow_check_is_right():
    assert hotelling_power(QUICK_DRAWS, 0.17, 4, FALSE_ALARM) > 0.99
    assert hotelling_power(FULL_DRAWS, 0.06, 12, FALSE_ALARM) > 0.99


class SharedState(SNAS):
    """Keeps a counter outside its state."""

    def relax(self, dist, noise):
        self.count = getattr(self, "count", 0) + int(self.training)
        return super().relax(dist, noise) + 0.01 * self.count


class DrawsInTheSurrogate(SNAS):
    """Draws more noise than ``noise`` returned."""

    def relax(self, dist, noise):
        return super().relax(dist, noise + 0.1 * torch.rand(noise.shape, dtype=noise.dtype))


class MixesReplicates(RLOO):
    """The baseline runs over the replicates as well."""

    def advantage(self, losses, loss, dist, z):
        return losses - losses.mean()


class ChangesItsNoise(SNAS):
    """Works in place."""

    def relax(self, dist, noise):
        noise.mul_(1.0001)
        return super().relax(dist, noise)


class StateInEvaluation(RLOO):
    """Updates a buffer in evaluation mode."""

    def __init__(self, n: int = 4) -> None:
        super().__init__(n)
        self.register_buffer("seen", torch.zeros(()))

    def advantage(self, losses, loss, dist, z):
        self.seen += 1
        return super().advantage(losses, loss, dist, z)


class NegativeTemperature(SNAS):
    """A fixed number of steps is assumed."""

    def set_progress(self, t):
        self.tau = 1.0 - 1.5 * t


class SinglePrecision(SNAS):
    """Returns float32 whatever the parameters are."""

    def surrogate(self, loss, dist, noise):
        return super().surrogate(loss, dist, noise).float()


class NoTheta(Score):
    """Claims to train theta, and does not."""

    name, bias, evaluations, reference = "no-theta", "unbiased", "F", "xie2019snas"

    def surrogate(self, loss, dist, noise):
        value = super().surrogate(lambda z: loss(z).detach(), dist, noise)
        return value

    def advantage(self, losses, loss, dist, z):
        return losses


class DeclaredConsistent(Pathwise):
    """Straight-through, declared to become exact."""

    name, bias, evaluations, reference = "declared", "consistent", "F", "xie2019snas"
    needs_all_operations = True

    def relax(self, dist, noise):
        hard, probs = dist.hard(noise), dist.probs[:, None]
        return hard * (1 + (probs - probs.detach()))


class SoftDeclaredSingle(SNAS):
    """Declares one operation an edge, and asks for all of them."""

    single_path = True


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        (SoftDeclaredSingle, "single_path_is_true_where_it_is_declared"),
        (SharedState, "state_survives_a_round_trip_in_mid_run"),
        (DrawsInTheSurrogate, "draw_is_a_pure_function_of_its_noise"),
        (DrawsInTheSurrogate, "global_generators_are_untouched"),
        (MixesReplicates, "replicates_in_one_pass_equal_a_loop"),
        (ChangesItsNoise, "inputs_are_not_modified_in_place"),
        (StateInEvaluation, "evaluation_mode_freezes_the_state"),
        (NegativeTemperature, "schedules_fit_any_number_of_steps"),
        (SinglePrecision, "surrogate_has_one_finite_value_for_each_replicate"),
        (NoTheta, "gradient_reaches_theta_or_is_declared_not_to"),
        (NoTheta, "theta_gradient_is_unbiased"),
        (DeclaredConsistent, "bias_class_holds"),
        (DeclaredConsistent, "all_operations_are_asked_for_exactly_if_they_are_used"),
        (SharedState, "reference_resolves_to_bibtex"),
    ],
)
def test_violations_are_caught(estimator, check):
    if check == "reference_resolves_to_bibtex":
        estimator = type(
            "Bad", (SNAS,), {"reference": "@misc{a, title = {no author}, year = 2000}"}
        )
    assert fails(estimator, check)


def test_code_lines_leave_out_comments_docstrings_and_blanks():
    module = '"""Doc\n\nmore."""\n\nimport os  # why\n\n\n'
    source = module + 'def f(\n    x,\n):\n    """Doc."""\n    # no\n    return x\n'
    assert code_lines(source) == 5


def test_literal_attributes_are_read_from_the_text():
    source = (
        "class A:\n    x = 1\n    y: str = 'b'\n    z = f()\n    w: int\n\nclass B:\n    x = 2\n"
    )
    assert literal_attributes(source, "A") == {"x": 1, "y": "b"}


def test_chain_is_a_normalised_distribution_with_exact_marginals():
    tables = torch.randn((3, 3, 3), generator=stream(0, "t"), dtype=torch.float64)
    chain = Chain(tables)
    z = enumerate_architectures(3, 3)[None]
    p = chain.log_prob(z).sum(dim=-1).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    marginals = (p[..., None, None] * z).sum(dim=1)
    torch.testing.assert_close(chain.marginals(stream(0, "m")), marginals.detach())
    noise = chain.replicate(1).noise(1, 20_000, stream(1, "n"))
    drawn = chain.hard(noise).mean(dim=1)
    torch.testing.assert_close(drawn, marginals.detach(), atol=0.015, rtol=0)
    assert chain.mode().shape == (1, 3, 3)


def test_noise_is_mapped_through_its_containers():
    noise = (torch.ones(2), {"a": torch.zeros(2)}, None)
    doubled = map_tensors(noise, lambda t: t + 1)
    assert [t.tolist() for t in tensors_in(doubled)] == [[2, 2], [1, 1]] and doubled[2] is None


def test_estimators_without_randomness_are_drawn_a_few_times_only():
    bench = Bench.build(Registry().estimator("darts")())
    assert len(draw(bench, 5_000).alpha) == TRIAL
    assert len(draw(Bench.build(SNAS()), 300).alpha) == 300


def test_relative_bias_is_unbiased_itself_and_knows_its_error():
    rng = np.random.default_rng(0)
    goal, shift = np.array([1.0, 2.0, 0.0]), np.array([0.3, 0.0, -0.1])
    found = [
        relative_bias(goal + shift + rng.normal(size=(200, 3)), torch.as_tensor(goal))
        for _ in range(400)
    ]
    values, errors = np.array(found).T
    expected = float(shift @ shift / (goal @ goal))
    assert abs(values.mean() - expected) < 4 * values.std() / 20
    assert np.mean(errors) == pytest.approx(values.std(), rel=0.15)


def test_bench_gives_the_exact_gradient_of_any_distribution():
    problem = toy_problem("quadratic")
    tables = torch.zeros((2, 3, 3), dtype=torch.float64)
    tables[:] = problem.logits[:, None]  # the next decision ignores the one before
    chain = exact(Bench.build(RLOO(), problem, distribution=Chain(tables)))
    plain = exact(Bench.build(RLOO(), problem))
    assert chain.value == pytest.approx(plain.value, rel=1e-12)
    second = chain.alpha.view(2, 3, 3)[1].sum(dim=0)
    torch.testing.assert_close(second, plain.alpha.view(2, 3)[1])


class NormalisedConvolution(torch.nn.Conv2d):
    """A convolution under torch's weight_norm, whose second derivative is silently wrong."""

    def __init__(self, *sizes, **options) -> None:
        super().__init__(*sizes, **options)
        torch.nn.utils.parametrizations.weight_norm(self)


def test_weight_norm_in_an_operation_is_found_by_the_second_derivatives(monkeypatch):
    """What ``unrolled`` would differentiate twice; right without it (``TestSnasUnit``)."""
    made = type("TestMade", (SpaceConformance,), {"space": Registry().space("snas-unit")})
    monkeypatch.setattr("nasbench_snas.supernet.modules.nn.Conv2d", NormalisedConvolution)
    with pytest.raises(AssertionError, match="a layer's second derivative is wrong"):
        made().test_second_derivatives_agree_with_differences()
