"""Planted errors must be caught by the tests that the right estimators pass.

Every case is an estimator, a copy of it with one error (``planted_errors.py``), and the test that
has to tell them apart. All tests have the false-alarm rate 1e-4 over all cases together; draws are
seeded. The power is not assumed: from the draws of the wrong estimator comes a lower limit (three
standard errors) of its Mahalanobis bias, and at that bias the test must reject with probability
0.99. The objective is ``exp(<c, z>)`` on two edges with three operations (nine architectures), so
that the exact gradient is at hand; d = 4 identifiable directions for alpha.

* joint: Hotelling's test of the mean draw against the exact gradient, N = 20,000;
* theta: the same for the gradient of the network's weights;
* paired: against a proven estimator on the same noise, N = 2,000;
* formula: draw by draw against the published formula, written out independently;
* consistency: bias at the end of the temperature schedule;
* variance: an unbiased error shows in the variance only, N = 20,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import planted_errors as wrong
import pytest
import torch

from nasbench_snas.api import Estimator
from nasbench_snas.estimators.arsm import ARSM
from nasbench_snas.estimators.dsnas import DSNAS
from nasbench_snas.estimators.enas import ENAS
from nasbench_snas.estimators.gdas import GDAS
from nasbench_snas.estimators.gumbel_rao import GumbelRao
from nasbench_snas.estimators.local_expectation import LocalExpectation
from nasbench_snas.estimators.muprop import MuProp
from nasbench_snas.estimators.rebar import REBAR
from nasbench_snas.estimators.reinforce import Reinforce
from nasbench_snas.estimators.reinmax import ReinMax
from nasbench_snas.estimators.relax import RELAX
from nasbench_snas.estimators.rloo import RLOO
from nasbench_snas.estimators.self_critical import SelfCritical
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.estimators.st_gumbel import STGumbel
from nasbench_snas.estimators.sum_and_sample import SumAndSample
from nasbench_snas.estimators.unordered_set import UnorderedSet
from nasbench_snas.estimators.vargrad import VarGrad
from nasbench_snas.seeding import stream
from nasbench_snas.stats import Hotelling, hotelling_power
from nasbench_snas.testing import EstimatorConformance
from nasbench_snas.testing.bench import Bench
from nasbench_snas.testing.exact import exact_gradient, exact_moments
from nasbench_snas.testing.problems import toy_problem
from nasbench_snas.testing.proofs import draw, exact, joint_test, paired_test, relative_bias

PROBLEM = toy_problem("exponential")
MEAN_LOSS = exact_gradient(PROBLEM.loss, PROBLEM.distribution()).value
JOINT, PAIRED = 20_000, 2_000
POWER = 0.99


@dataclass(frozen=True)
class Case:
    """An estimator and its mutant, and what tells them apart."""

    right: Callable[..., Estimator]
    mutant: type[Estimator]
    test: str = "joint"
    settings: dict = field(default_factory=dict)

    def bench(self, cls: Callable[..., Estimator]) -> Bench:
        estimator = wrong.with_baseline(cls(**self.settings), 0.7 * MEAN_LOSS)
        if isinstance(estimator, RELAX):
            wrong.with_random_network(estimator, PROBLEM.logits.numel())
        return Bench.build(estimator, PROBLEM, distribution=PROBLEM.distribution())


CASES = [
    Case(RLOO, wrong.MeanOfAllDraws),
    Case(RLOO, wrong.SmallestDraw),
    Case(RLOO, wrong.SumInsteadOfMean, "theta"),
    Case(Reinforce, wrong.ScoreWithoutMean),
    Case(Reinforce, wrong.SampleNotDetached),
    Case(Reinforce, wrong.ThetaAtTheMean, "theta"),
    Case(SelfCritical, wrong.BetterOfSampleAndMode),
    Case(VarGrad, wrong.UncentredCovariance),
    Case(REBAR, wrong.GivenDetached),
    Case(REBAR, wrong.UnnormalisedConditional),
    Case(RELAX, wrong.ControlNotReturned),
    Case(MuProp, wrong.MeanTermMissing),
    Case(LocalExpectation, wrong.EdgesNotReweighted, settings={"edges": 1}),
    Case(UnorderedSet, wrong.NaiveWeights, settings={"n": 3}),
    Case(SumAndSample, wrong.RestNotWeighted),
    Case(ARSM, wrong.WrongFactor),
]
FALSE_ALARM = 1e-4 / (len(CASES) + 8)


def name(case: object) -> str | None:
    return case.mutant.__name__ if isinstance(case, Case) else None


def result(case: Case, cls: Callable[..., Estimator]) -> Hotelling:
    bench = case.bench(cls)
    draws = draw(bench, JOINT, replicates=4_000)
    target = exact(bench)
    if case.test == "theta":
        return joint_test(draws.theta, target.theta)
    return joint_test(draws.alpha, target.alpha)


def power(test: Hotelling) -> float:
    """Power of ``test`` at the lower limit of the bias that its own draws show."""
    if test.fixed_off:
        return 1.0
    delta_sq, d = test.mahalanobis_sq, test.directions
    error = math.sqrt(2 * d + 4 * test.n * max(delta_sq, 0.0)) / test.n
    lower = delta_sq - 3 * error
    return hotelling_power(test.n, math.sqrt(lower), d, FALSE_ALARM) if lower > 0 else 0.0


@pytest.mark.parametrize("case", CASES, ids=name)
def test_planted_error_is_rejected_and_the_right_estimator_is_not(case):
    right, mutant = result(case, case.right), result(case, case.mutant)
    assert right.p > FALSE_ALARM, f"the right estimator is rejected: {right}"
    assert mutant.p < FALSE_ALARM, f"the planted error is not caught: {mutant}"
    assert power(mutant) > POWER, f"caught by luck: {mutant}"


def trained_draws(cls: Callable[..., Estimator], decay: float, count: int) -> np.ndarray:
    """Single draws in training mode, from the same state and the same noise for every class."""
    case = Case(cls, cls, settings={"decay": decay})
    bench = case.bench(cls)
    bench.estimator.train()
    generator, rows = stream(0, "paired"), []
    for _ in range(count):
        wrong.with_baseline(bench.estimator, 0.7 * MEAN_LOSS)
        noise = bench.dist.noise(1, 1, generator)
        value = bench.estimator.surrogate(bench.loss, bench.dist, noise).sum()
        rows.append(torch.autograd.grad(value, bench.dist.alpha)[0].flatten().numpy())
    return np.stack(rows)


def reference_draws(b: float, count: int) -> np.ndarray:
    bench = Bench.build(wrong.FixedBaseline(b), PROBLEM)
    generator = stream(0, "paired")
    noise = torch.cat([bench.dist.noise(1, 1, generator) for _ in range(count)])
    return bench.gradients(noise, count)[0].numpy()


@pytest.mark.parametrize("decay", [pytest.param(0.9, marks=pytest.mark.slow), 0.99])
def test_baseline_updated_before_use_is_caught_by_pairs_on_common_noise(decay):
    """N = 2,000 pairs; against the exact gradient 20,000 draws would show nothing at 0.99."""
    proven = reference_draws(0.7 * MEAN_LOSS, PAIRED)
    right = paired_test(trained_draws(Reinforce, decay, PAIRED), proven)
    mutant = paired_test(trained_draws(wrong.UpdatedBeforeUse, decay, PAIRED), proven)
    assert right.p > FALSE_ALARM and right.fixed == len(proven[0]), "not even rounding differs"
    assert mutant.p < FALSE_ALARM and power(mutant) > POWER


def test_the_reference_of_paired_tests_is_unbiased_by_enumeration():
    for b in (0.0, MEAN_LOSS):
        moments = exact_moments(wrong.FixedBaseline(b), PROBLEM.loss, PROBLEM.distribution())
        target = exact_gradient(PROBLEM.loss, PROBLEM.distribution())
        torch.testing.assert_close(moments.alpha, target.alpha, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(moments.theta, target.theta, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_sampling_at_a_slightly_wrong_temperature_needs_ten_times_the_draws():
    """Logits divided by 1.05: not seen with 20,000 draws, certain with 400,000."""
    results = {}
    for cls in (wrong.FixedBaseline, wrong.FlatterSampling):
        settings = {"b": MEAN_LOSS} if cls is wrong.FixedBaseline else {}
        bench = Bench.build(cls(**settings), PROBLEM)
        results[cls] = joint_test(draw(bench, 400_000, replicates=20_000).alpha, exact(bench).alpha)
    assert results[wrong.FixedBaseline].p > FALSE_ALARM
    mutant = results[wrong.FlatterSampling]
    assert mutant.p < FALSE_ALARM and power(mutant) > POWER
    assert hotelling_power(2_000, math.sqrt(mutant.mahalanobis_sq), 4, FALSE_ALARM) < 0.5


def entropy_test(cls: Callable[..., Estimator]) -> Hotelling:
    weight = 0.5
    estimator = cls(entropy_weight=weight, hidden=4)
    bench = Bench.build(wrong.with_baseline(estimator, MEAN_LOSS), PROBLEM)
    z = torch.eye(3, dtype=torch.float64)[torch.cartesian_prod(*[torch.arange(3)] * 2)][None]
    log_prob = bench.dist.log_prob(z).sum(dim=-1)
    bonus = (log_prob.exp() * weight * log_prob).sum()
    grads = torch.autograd.grad(bonus, list(bench.dist.parameters()), allow_unused=True)
    pairs = zip(bench.dist.parameters(), grads, strict=True)
    flat = torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])
    return joint_test(draw(bench, 2 * JOINT).alpha, exact(bench).alpha + flat)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [wrong.EntropyPenalty, wrong.EntropyGradientLost])
def test_wrong_entropy_of_the_controller_is_caught(mutant):
    """Against the enumerated gradient of ``E[L] - w H(p)`` with w = 0.5; N = 40,000."""
    right, caught = entropy_test(ENAS), entropy_test(mutant)
    assert right.p > FALSE_ALARM, right
    assert caught.p < FALSE_ALARM and power(caught) > POWER, caught


def slope_at(bench: Bench, z: torch.Tensor) -> torch.Tensor:
    """``dL/dZ``, with what an estimator without all operations cannot see set to zero."""
    z = z.detach().requires_grad_()
    (h,) = torch.autograd.grad(bench.loss(z).sum(), z)
    return h


def formula(bench: Bench, noise: torch.Tensor, kind: str) -> torch.Tensor:
    """The published alpha-gradient of one draw, shape ``(R, E, K)``."""
    dist = bench.dist.replicate(len(noise))
    p, tau = dist.probs[:, None].detach(), getattr(bench.estimator, "tau", 1.0)
    y, hard = (dist.perturb(noise).detach() / tau).softmax(dim=-1), dist.hard(noise)
    h = slope_at(bench, y if kind == "snas" else hard)
    found = {
        "snas": lambda: wrong.jacobian(y, h) / tau,
        "st-gumbel": lambda: wrong.jacobian(y, h) / tau,
        "gdas": lambda: wrong.jacobian(y, h * hard) / tau,
        "dsnas": lambda: (hard - p) * (h * hard).sum(dim=-1, keepdim=True),
        "reinmax": lambda: 2 * wrong.jacobian((p + hard) / 2, h) - wrong.jacobian(p, h) / 2,
    }
    return found[kind]()[:, 0]


FORMULAS = [
    ("snas", SNAS, wrong.TemperatureOnTheNoise),
    ("st-gumbel", STGumbel, wrong.TemperatureMissing),
    ("gdas", GDAS, wrong.Unmasked),
    ("dsnas", DSNAS, wrong.CreditOfAllOperations),
    ("reinmax", ReinMax, wrong.FirstOrderOnly),
]


@pytest.mark.parametrize(("kind", "right", "mutant"), FORMULAS, ids=[f[0] for f in FORMULAS])
def test_biased_estimator_equals_its_formula_draw_by_draw_and_its_mutant_does_not(
    kind, right, mutant
):
    draws = {}
    for cls in (right, mutant):
        bench = Bench.build(cls(), PROBLEM)
        bench.estimator.set_progress(0.5)
        noise = bench.noise(PAIRED)
        draws[cls] = bench.gradients(noise, PAIRED)[0].numpy()
        if cls is right:
            expected = formula(bench, noise, kind).flatten(1).numpy()
    np.testing.assert_allclose(draws[right], expected, rtol=1e-9, atol=1e-11)
    caught = paired_test(draws[mutant], expected)
    assert caught.p < FALSE_ALARM and power(caught) > POWER, caught


def gumbel_rao_against_straight_through(cls: type[GumbelRao]) -> Hotelling:
    benches = [Bench.build(estimator, PROBLEM) for estimator in (cls(), STGumbel())]
    for bench in benches:
        bench.estimator.set_progress(0.6)
    noise = benches[0].noise(JOINT)
    own, plain = benches[0].gradients(noise, JOINT)[0], benches[1].gradients(noise[0], JOINT)[0]
    return paired_test(own.numpy(), plain.numpy())


def test_gumbel_rao_has_the_mean_of_st_gumbel_unless_its_noise_is_differentiated():
    """Paired on the same samples, N = 20,000."""
    right = gumbel_rao_against_straight_through(GumbelRao)
    mutant = gumbel_rao_against_straight_through(wrong.NoiseDifferentiated)
    assert right.p > FALSE_ALARM, right
    assert mutant.p < FALSE_ALARM and power(mutant) > POWER, mutant


def bias_at_the_end(cls: type[SNAS]) -> tuple[float, float]:
    bench = Bench.build(cls(), PROBLEM)
    bench.estimator.set_progress(1.0)
    return relative_bias(draw(bench, JOINT, replicates=4_000).alpha, exact(bench).alpha)


def test_temperature_on_the_noise_leaves_a_bias_that_annealing_does_not_remove():
    """N = 20,000 draws at the last temperature; four standard errors on either side."""
    (right, right_error), (mutant, error) = map(
        bias_at_the_end, (SNAS, wrong.TemperatureOnTheNoise)
    )
    assert right < 0.1**2 + 4 * right_error
    assert mutant > 0.3**2 + 4 * error


def total_variance(cls: Callable[..., Estimator]) -> float:
    bench = Bench.build(cls(), PROBLEM)
    return float(draw(bench, JOINT, replicates=4_000).alpha.var(axis=0, ddof=1).sum())


def test_decoupled_control_variate_is_unbiased_and_only_its_variance_tells():
    """Ratio of variances over 1.5; the standard error of each is about 2 per cent."""
    bench = Bench.build(wrong.Decoupled(), PROBLEM)
    assert joint_test(draw(bench, JOINT).alpha, exact(bench).alpha).p > FALSE_ALARM
    assert total_variance(wrong.Decoupled) > 1.5 * total_variance(REBAR)


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (wrong.UpdatedBeforeUse, "training_mode_gives_the_draw_of_evaluation_mode"),
        (wrong.ScoreWithoutMean, "gradient_sums_to_zero_on_every_edge"),
        (wrong.TemperatureOnTheNoise, "bias_class_holds"),
        (wrong.MeanOfAllDraws, "bias_class_holds"),
        (wrong.SumInsteadOfMean, "theta_gradient_is_unbiased"),
    ],
)
def test_conformance_kit_catches_the_error_too(mutant, check):
    kit = type(f"Test{mutant.__name__}", (EstimatorConformance,), {"estimator": mutant})
    right = type("TestRight", (EstimatorConformance,), {"estimator": mutant.__mro__[1]})
    getattr(right(), f"test_{check}")()
    with pytest.raises(AssertionError):
        getattr(kit(), f"test_{check}")()
