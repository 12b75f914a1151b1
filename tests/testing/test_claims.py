"""What an estimator declares about its gradient: what passes, what is refused, what is said."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nasbench_snas.api import Pathwise, straight_through
from nasbench_snas.errors import PluginError
from nasbench_snas.estimators.nes import NES
from nasbench_snas.estimators.rloo import RLOO
from nasbench_snas.estimators.straight_through import StraightThrough
from nasbench_snas.testing import EstimatorConformance
from nasbench_snas.testing.bench import Bench
from nasbench_snas.testing.claims import Draw, claim_of
from nasbench_snas.testing.diagnosis import diagnose
from nasbench_snas.testing.examine import by_mean, draws_needed
from nasbench_snas.testing.noise import uniform_problem
from nasbench_snas.testing.problems import toy_problem
from nasbench_snas.testing.proofs import draw, exact, joint_test

sys.path.insert(0, str(Path(__file__).parent / "planted"))
from errors import ERRORS
from later import LATER
from run import first_failure, planted, recorded


def kit(estimator: type, **members):
    return type("TestMade", (EstimatorConformance,), {"estimator": estimator, **members})()


class Silent(Pathwise):
    """Straight-through that says nothing of its gradient."""

    name, bias, evaluations, reference = "silent", "biased", "F", "xie2019snas"
    needs_all_operations = True

    def relax(self, dist, noise):
        return straight_through(dist.hard(noise), dist.probs[:, None])


class Mirrored(Silent):
    """Its formula holds for a gradient of zero only, which it is."""

    claims = {"draw": lambda point: Draw(torch.zeros_like(point.dist.alpha))}

    def relax(self, dist, noise):
        return dist.hard(noise) + 0 * dist.probs[:, None]


class HalfAligned(Silent):
    """Points the right way on multilinear losses."""

    claims = {"aligned_on": ("multilinear", 0.8)}


class Negated(HalfAligned):
    """Points the wrong way."""

    def relax(self, dist, noise):
        return straight_through(dist.hard(noise), -dist.probs[:, None])


class ScaledMean(StraightThrough):
    """Wrong by 3 per cent where it should be exact."""

    name = "scaled-mean"
    claims = {"exact_on": "multilinear"}

    def relax(self, dist, noise):
        return straight_through(dist.hard(noise), 0.97 * dist.probs[:, None])


def test_biased_estimator_without_claims_is_said_not_to_be_tested():
    checks = kit(Silent)
    checks.test_gradient_is_what_is_declared()
    assert any("gradient not tested" in note for note in checks.notes)


@pytest.mark.parametrize("estimator", [RLOO, NES, StraightThrough])
def test_built_in_estimator_never_prints_that_its_gradient_is_not_tested(estimator):
    checks = kit(estimator)
    checks.test_gradient_is_what_is_declared()
    assert not hasattr(checks, "notes")


def test_declaration_that_a_zero_gradient_satisfies_is_refused():
    with pytest.raises(AssertionError, match="a gradient that is zero fits it"):
        kit(Mirrored).test_gradient_is_what_is_declared()


def test_alignment_is_tested_and_a_negated_gradient_fails():
    kit(HalfAligned).test_gradient_is_aligned_where_declared()
    with pytest.raises(AssertionError, match="cosine"):
        kit(Negated).test_gradient_is_aligned_where_declared()


def test_three_per_cent_are_seen_where_a_biased_estimator_claims_to_be_exact():
    with pytest.raises(AssertionError, match=r"its scale is 0\.97 times the right one"):
        kit(ScaledMean).test_gradient_is_exact_where_declared()


def test_unknown_claims_are_refused_with_the_known_ones():
    with pytest.raises(PluginError, match="drow"):
        claim_of(type("Odd", (Silent,), {"claims": {"drow": 1}})(), "draw")
    with pytest.raises(PluginError, match="no function"):
        claim_of(type("Odd", (Silent,), {"claims": {"draw": "nothing_here"}})(), "draw")
    with pytest.raises(PluginError, match="Known"):
        claim_of(type("Odd", (Silent,), {"claims": {"exact_on": "cubic"}})(), "exact_on")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: 0.97 * g, "scale is 0.97"),
        (lambda g: -g, "sign is negated"),
        (lambda g: 0 * g, "it is zero"),
        (lambda g: g[[1, 0, 2]], "edges are permuted"),
        (lambda g: g * np.array([[1.0], [-1.0], [1.0]]), "only edge 1 is -1 times"),
        (lambda g: g + np.array([0.0, 0.0, 0.1, 0.0]), "only operation 2 is wrong"),
    ],
)
def test_diagnosis_names_what_is_wrong(change, words):
    right = np.random.default_rng(0).normal(size=(3, 4))
    assert words in diagnose(change(right).ravel(), right.ravel(), (3, 4))


@pytest.mark.slow
def test_number_of_draws_that_is_asked_for_has_the_stated_power():
    """0.97 of the gradient is rejected in 18 of 20 studies at least (fewer: probability 0.001)."""
    bench = Bench.build(RLOO(n=2), toy_problem("exponential"))
    right = exact(bench).alpha
    needed = draws_needed(draw(bench, 2_000).alpha, right.numpy(), (2, 3))
    rejected = sum(
        joint_test(0.97 * draw(bench, int(needed), seed=s, replicates=20_000).alpha, right).p < 1e-5
        for s in range(20)
    )
    assert needed < 1e6 and rejected >= 18


def test_exact_mean_is_found_by_enumeration_and_shows_a_millionth():
    bench = Bench.build(RLOO(n=2), toy_problem("exponential"))
    finding = by_mean(bench, 1_000)
    assert not finding.problem and "tuples" in finding.how
    target = exact(bench).alpha * (1 + 1e-6)
    assert by_mean(bench, 1_000, target=target).problem


def test_noise_of_another_law_or_with_repeated_values_is_found():
    u = torch.rand((20_000, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert uniform_problem(u) == ""
    assert "distribution function" in uniform_problem(u**1.1)
    assert "correlation" in uniform_problem(u[:, [0, 1, 2, 0, 4, 5]])


SMOKE = ["rloo-scale", "st-gumbel-scale", "rebar-weight-of-the-control-forgotten", "nes-noise"]


@pytest.mark.parametrize("name", SMOKE)
def test_planted_error_is_found_by_the_quick_checks(name, tmp_path):
    error = next(error for error in (*ERRORS, *LATER) if error.name == name)
    assert first_failure(planted(error, error.file, tmp_path), quick=True)


@pytest.mark.slow
@pytest.mark.parametrize("error", [*ERRORS, *LATER], ids=lambda error: error.name)
def test_every_planted_error_is_found_by_the_check_on_record(error, tmp_path):
    check = recorded()[error.name]
    assert first_failure(planted(error, error.file, tmp_path), quick=False, only=check)
