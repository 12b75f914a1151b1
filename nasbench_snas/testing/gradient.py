"""Checks of the gradient itself, at several sizes, states, scales and settings.

What is compared with what follows from the estimator's declaration; see
:mod:`nasbench_snas.testing.claims` and :mod:`nasbench_snas.testing.examine`. Statistical tests have
the false-alarm rate 1e-5 each; all draws are seeded, so that a check never changes its mind.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from nasbench_snas.api import Categorical, Estimator
from nasbench_snas.errors import ConfigError
from nasbench_snas.stats import Hotelling
from nasbench_snas.testing.bench import Bench
from nasbench_snas.testing.claims import Point, claim_of
from nasbench_snas.testing.contract import BenchBuilder
from nasbench_snas.testing.examine import (
    ERROR,
    FALSE_ALARM,
    Finding,
    by_formula,
    by_mean,
    tuples,
)
from nasbench_snas.testing.losses import Scaled
from nasbench_snas.testing.problems import (
    CLOSED,
    Problem,
    ToyKind,
    toy_problem,
    unequal_problem,
)
from nasbench_snas.testing.proofs import draw, exact, joint_test

QUICK, FULL = 4_000, 300_000  # most draws of a mean on one bench
UPDATES = 300
SIZES = ((1, 2), (7, 2), (2, 5))
"""Edges and operations besides the base bench of (2, 3)."""
SCALES = ((0.01, 0.0), (100.0, 0.0), (1.0, 30.0))
"""Factors of the loss and what is added to it."""
POWERFUL: tuple[tuple[ToyKind, int, int], ...] = (
    ("exponential", 1, 2),
    ("exponential", 2, 3),
    ("quadratic", 2, 3),
    ("multilinear", 5, 2),
)
"""Kind of loss, edges and operations of the benches of full power."""
STAGES = (0.0, 0.5, 1.0)


def scaled(problem: Problem, scale: float, shift: float) -> Problem:
    """Return ``problem`` with another unit of the loss."""
    return replace(problem, loss=Scaled(problem.loss, scale, shift))


class GradientChecks(BenchBuilder):
    """The gradient against its declaration.

    Attributes:
        most_draws: Draws of a mean on one bench in quick checks.
        most_draws_full: The same in slow ones.
    """

    most_draws: ClassVar[int] = QUICK
    most_draws_full: ClassVar[int] = FULL

    def test_gradient_is_what_is_declared(self) -> None:
        """On two edges and three operations, at the start, the middle and the end of a run."""
        if not self._declares():
            self.note("gradient not tested: a biased estimator without claims about it")
        for t in STAGES:
            for name, finding in self._examine(self.bench(), self.most_draws, t):
                self._judge(finding, f"{name}, {t:.0%} of the run")

    def test_gradient_for_other_numbers_of_edges_and_operations(self) -> None:
        """With one edge and two operations, seven edges, and five operations."""
        for edges, operations in SIZES:
            problem = toy_problem("exponential", edges, operations)
            bench = self._cheapest(problem)
            for name, finding in self._examine(bench, self.most_draws, 0.3):
                self._judge(finding, f"{name}, E = {edges}, K = {operations}")

    def test_gradient_where_edges_have_unequal_operations(self) -> None:
        """Edges with three, two and one operation: the gradient is finite and the declared one."""
        bench = self._cheapest(unequal_problem())
        if type(bench.dist) is not Categorical:
            pytest.skip("it searches with a distribution of its own")
        for gradient in bench.gradients(bench.noise(64), 64):
            assert torch.isfinite(gradient).all(), "not finite where an edge has fewer operations"
        if claim_of(bench.estimator, "draw") is not None:
            self._judge(by_formula(bench), "formula, edges with three, two and one operation")
        if bench.estimator.bias == "unbiased":
            result = unequal_test(bench, self.most_draws)
            assert result.p > FALSE_ALARM, (
                "exact gradient, edges with three, two and one operation: "
                f"p = 1e{result.log10_p:.1f}"
            )

    def test_gradient_for_several_architectures_a_draw(self) -> None:
        """With the setting ``n`` at one, two and three: the mean over draws, not their sum."""
        if "n" not in inspect.signature(self.estimator).parameters:
            pytest.skip("it has no setting n")
        for n in (1, 2, 3):
            for edges, operations in ((2, 3), (1, 2)):
                problem = toy_problem("exponential", edges, operations)
                bench = self._with(problem, n=n)
                if bench is not None:
                    for name, finding in self._examine(bench, self.most_draws, 0.3):
                        self._judge(finding, f"{name}, n = {n}, E = {edges}, K = {operations}")

    def test_gradient_after_hundreds_of_updates(self) -> None:
        """State (baselines, control variates, populations) has changed 300 times before."""
        for scale, shift in ((1.0, 0.0), (3.0, 4.0)):
            problem = scaled(toy_problem("exponential"), scale, shift)
            bench = self._cheapest(problem)
            bench.warm(UPDATES, bench.generator("warm"))
            for name, finding in self._examine(bench, self.most_draws, 0.3):
                if finding.problem:
                    fresh = list(self._examine(self._cheapest(problem), self.most_draws, 0.3))
                    right = not any(other.problem for _, other in fresh)
                    blame = "a new estimator is right: its state" if right else "as without them"
                    self._judge(finding, f"{name}, after {UPDATES} updates ({blame})")

    def test_gradient_for_losses_of_other_scales(self) -> None:
        """A hundredth, a hundred times, and thirty nats above the losses of the base bench."""
        for scale, shift in SCALES:
            bench = self._cheapest(scaled(toy_problem("exponential"), scale, shift))
            for name, finding in self._examine(bench, self.most_draws, 0.3):
                self._judge(finding, f"{name}, losses x {scale:g} + {shift:g}")

    def test_gradient_under_the_listed_settings(self) -> None:
        """With each of ``conformance_variants``."""
        if not self.estimator.conformance_variants:
            pytest.skip("it lists no conformance_variants")
        for variant in self.estimator.conformance_variants:
            for problem in (toy_problem("exponential"), toy_problem("exponential", 3, 2)):
                bench = Bench.build(self.make(**variant), problem, device=self.device)
                for name, finding in self._examine(bench, self.most_draws, 0.6):
                    self._judge(finding, f"{name}, settings {dict(variant)}")

    def test_gradient_is_exact_where_declared(self) -> None:
        """``exact_on``: the mean is the exact gradient for such losses."""
        self._exact_where_declared(self.most_draws, ((2, 3), (1, 2)))

    def test_gradient_is_aligned_where_declared(self) -> None:
        """``aligned_on``: the mean has at least the stated cosine with the exact gradient."""
        claim = claim_of(self.make(), "aligned_on")
        if claim is None:
            pytest.skip("it declares no alignment")
        kind, least = claim
        bench = self.bench(toy_problem(kind))
        bench.estimator.set_progress(1.0)
        draws, right = draw(bench, self.most_draws).alpha, exact(bench).alpha.numpy()
        mean, right = draws.mean(axis=0), right / np.linalg.norm(right)
        error = math.sqrt(float(np.trace(np.atleast_2d(np.cov(draws.T)))) / len(draws))
        size = float(np.linalg.norm(mean))
        assert size > 4.42 * error, f"the mean gradient ({size:.3g}) may be zero (+-{error:.3g})"
        cosine = float(mean @ right) / size
        assert cosine - 4.42 * error / size > least, (
            f"cosine {cosine:.3f} +- {error / size:.3f} with the exact gradient; declared {least}"
        )
        moved = float(np.roll(mean.reshape(bench.dist.num_edges, -1), 1, axis=0).ravel() @ right)
        assert moved / size < least, "no declaration: a gradient with exchanged edges fits, too"

    @pytest.mark.slow
    def test_gradient_at_full_power(self) -> None:
        """With the draws that the variance asks for to reject an error of 3 per cent."""
        best = math.inf
        for kind, edges, operations in POWERFUL:
            problem = toy_problem(kind, edges, operations)
            for warm in (0, UPDATES):
                bench = self._cheapest(problem)
                if warm and not _has_state(bench.estimator):
                    continue
                bench.warm(warm, bench.generator("warm"))
                for name, finding in self._examine(bench, self.most_draws_full, 0.3):
                    state = f", after {warm} updates" if warm else ""
                    self._judge(finding, f"{name}, {problem.name}{state}", say=True)
                    best = min(best, finding.excludes)
        if self._declares() and self.estimator.has_alpha_gradient:
            word = "reached" if best <= ERROR * 1.001 else "not reached"
            self.note(f"excluded at best: {best:.2g} of the gradient (aim {ERROR:.0%}: {word})")

    @pytest.mark.slow
    def test_gradient_is_exact_where_declared_at_full_power(self) -> None:
        """``exact_on`` with as many draws as the variance asks for."""
        self._exact_where_declared(self.most_draws_full, ((2, 3), (1, 2), (5, 2)))

    def note(self, text: str) -> None:
        """Keep a remark that ``nasbench check`` prints below the check."""
        self.__dict__.setdefault("notes", []).append(text)

    def _declares(self) -> bool:
        """Return whether anything is said of the alpha-gradient that can be tested."""
        estimator = self.make()
        if estimator.bias in ("unbiased", "consistent", "none"):
            return True
        keys = ("draw", "mean", "objective", "exact_on", "aligned_on")
        return any(claim_of(estimator, key) is not None for key in keys)

    def _examine(self, bench: Bench, cap: int, t: float) -> Iterator[tuple[str, Finding]]:
        """Yield how and what each applicable declaration finds on ``bench`` at progress ``t``."""
        estimator = bench.estimator
        estimator.set_progress(t)
        if claim_of(estimator, "draw") is not None:
            yield "formula", by_formula(bench, t)
        if (mean := claim_of(estimator, "mean")) is not None:
            target = mean(Point(estimator, bench.loss, bench.dist, t=t)).detach().flatten()
            yield "mean", by_mean(bench, cap, theta=False, target=target)
        elif estimator.bias == "unbiased":
            yield "exact gradient", by_mean(bench, cap)
        elif claim_of(estimator, "objective") is not None:
            yield "objective", by_mean(bench, cap, theta=False)

    def _judge(self, finding: Finding, where: str, say: bool = False) -> None:
        assert not finding.problem, f"{where}: {finding.problem}"
        if say and math.isfinite(finding.excludes):
            self.note(f"{where}: {finding.how}; excludes an error of {finding.excludes:.2g}")

    def _exact_where_declared(self, cap: int, sizes: tuple[tuple[int, int], ...]) -> None:
        kind: ToyKind | None = claim_of(self.make(), "exact_on")
        if kind is None:
            pytest.skip("it declares no class of losses on which it is exact")
        for edges, operations in sizes:
            bench = self._cheapest(toy_problem(kind, edges, operations))
            finding = by_mean(bench, cap, theta=False)
            self._judge(finding, f"{kind} losses, E = {edges}, K = {operations}", say=cap > QUICK)

    def _with(self, problem: Problem, **changes: Any) -> Bench | None:
        """Return a bench with other settings; None where the estimator refuses them."""
        try:
            bench = Bench.build(self.make(**changes), problem, device=self.device)
            bench.value(bench.noise(1), 1)
        except ConfigError:
            return None
        return bench

    def _cheapest(self, problem: Problem) -> Bench:
        """Return a bench with the ``n`` that is cheapest to enumerate and that is accepted."""
        bench = self._with(problem)
        if "n" not in inspect.signature(self.estimator).parameters:
            return bench or Bench.build(self.make(), problem, device=self.device)
        for n in (1, 2):
            if bench is None or (n < bench.estimator.n and tuples(bench) > 1_000):
                smaller = self._with(problem, n=n)
                if smaller is not None:
                    return smaller
        return bench or Bench.build(self.make(), problem, device=self.device)


def unequal_test(bench: Bench, count: int, seed: int = 0) -> Hotelling:
    """Test the mean gradient of the operations that edges choose among.

    What is drawn once in 10^10 draws moves the other coordinates, by as little.
    """
    (alpha,) = bench.dist.parameters()
    chosen = alpha.detach()[0] > CLOSED / 2
    chosen &= chosen.sum(dim=-1, keepdim=True) > 1
    keep = chosen.flatten().numpy()
    draws = draw(bench, count, seed=seed).alpha[:, keep]
    return joint_test(draws, exact(bench).alpha[chosen.flatten()])


def _has_state(estimator: Estimator) -> bool:
    return bool(estimator.state_dict())
