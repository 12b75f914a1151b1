"""Checks of what an estimator estimates: its declared bias against exact enumeration.

All draws are seeded, so that a check never changes its mind. With ``d`` tested directions and
Mahalanobis bias ``delta`` of one draw (the bias in units of a draw's own spread), Hotelling's test
at false-alarm rate 1e-5 rejects with probability 0.99 if ``N delta^2`` is at least 53 (d = 4) or 69
(d = 12): ``delta`` of 0.17 with the 2,000 draws of the quick checks, 0.06 with the 20,000 of the
slow ones. On these objectives a wrong scale of c per cent has ``delta`` of about c per cent.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from nasbench_snas.seeding import stream
from nasbench_snas.testing.bench import Bench, RecordingLoss
from nasbench_snas.testing.chain import Chain
from nasbench_snas.testing.contract import BenchBuilder, is_one_hot
from nasbench_snas.testing.problems import Problem, cell_problem, toy_problem
from nasbench_snas.testing.proofs import (
    Draws,
    draw,
    exact,
    joint_test,
    relative_bias,
    value_score,
)

FALSE_ALARM = 1e-5
SCORE_LIMIT = 4.42  # of a standard normal at that rate, two sides
QUICK_DRAWS = 2_000
FULL_DRAWS = 20_000
CONSISTENT_QUICK, CONSISTENT_FULL = 0.35, 0.15  # relative bias allowed at the last temperature


class BiasChecks(BenchBuilder):
    """Expectation, variance and value of the estimate.

    Attributes:
        quick_draws: Draws of the quick checks.
        full_draws: Draws of the slow checks.
    """

    quick_draws: ClassVar[int] = QUICK_DRAWS
    full_draws: ClassVar[int] = FULL_DRAWS

    def test_bias_class_holds(self) -> None:
        """The declared bias of the alpha-gradient, with few draws (see the module)."""
        self._check_class(toy_problem("exponential"), self.quick_draws, CONSISTENT_QUICK)

    @pytest.mark.slow
    def test_bias_class_holds_at_full_power(self) -> None:
        """The declared bias with many draws, on a small network and after some training."""
        self._check_class(cell_problem("mid"), self.full_draws, CONSISTENT_FULL, warm=8)

    def test_theta_gradient_is_unbiased(self) -> None:
        """An unbiased estimator gives theta the gradient of the expected discrete loss, too."""
        bench = self.bench()
        if bench.estimator.bias != "unbiased" or not bench.estimator.has_theta_gradient:
            pytest.skip("it does not claim to be unbiased, or leaves theta alone")
        result = joint_test(draw(bench, self.quick_draws).theta, exact(bench).theta)
        assert result.p > FALSE_ALARM, f"theta-gradient is biased: p = 1e{result.log10_p:.1f}"

    def test_value_estimates_the_expected_loss(self) -> None:
        """The surrogate's value has the mean E[L], or lies among the losses it was made from."""
        bench = self.bench()
        if bench.estimator.bias == "unbiased":
            score = value_score(draw(bench, self.quick_draws).value, exact(bench).value)
            assert abs(score) < SCORE_LIMIT, f"mean value is off by {score:.1f} standard errors"
            return
        bench.estimator.eval()
        recording = RecordingLoss(bench.loss.replicate(64))
        copies = bench.dist.replicate(64)
        value = bench.estimator.surrogate(recording, copies, bench.noise(64)).detach()
        seen = torch.cat([losses.reshape(64, -1) for losses in recording.losses], dim=1)
        low, high = seen.amin(dim=1) - 1e-6, seen.amax(dim=1) + 1e-6
        assert ((low <= value) & (value <= high)).all(), "the value is none of the losses seen"

    def test_variance_is_finite(self) -> None:
        """No single draw outweighs all others, which is how an infinite variance shows."""
        bench = self.bench()
        squares = np.square(draw(bench, self.quick_draws).alpha).sum(axis=1)
        assert np.isfinite(squares).all(), "a draw is not finite"
        share = squares.max() / max(float(squares.sum()), 1e-300)
        assert share < 0.5, f"one of {self.quick_draws} draws has {share:.0%} of the second moment"

    def test_training_mode_gives_the_draw_of_evaluation_mode(self) -> None:
        """State is changed after it was used: a baseline that is updated first sees its sample."""
        bench = self.bench()
        bench.run(3, bench.generator("warm"))
        state = {k: v.clone() for k, v in bench.estimator.state_dict().items()}
        for seed in range(5):
            noise, results = bench.noise(1, seed=seed), []
            for training in (False, True):
                bench.estimator.load_state_dict(state)
                bench.estimator.train(training)
                copies, loss = bench.dist.replicate(1), bench.loss.replicate(1)
                value = bench.estimator.surrogate(loss, copies, noise).sum()
                results.append(_gradient(value, [*copies.parameters(), loss.theta]))
            torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)

    def test_it_works_with_dependent_decisions_unless_declared(self) -> None:
        """Without ``needs_factorised`` it serves a distribution that is not factorised."""
        estimator = self.make()
        if estimator.needs_factorised:
            pytest.skip("declared to need a factorised distribution")
        tables = torch.randn((2, 3, 3), generator=stream(5, "chain"), dtype=torch.float64)
        bench = Bench.build(estimator, device=self.device, distribution=Chain(tables))
        self._check_mean(bench, draw(bench, self.quick_draws))

    def test_hard_samples_reach_the_network_as_one_hot(self) -> None:
        """A hard search view means that the network is evaluated at one-hot weights first."""
        bench = self.bench()
        if bench.estimator.search_view != "hard" or bench.estimator.family != "score":
            pytest.skip("for score-function estimators with hard samples")
        bench.estimator.eval()
        recording = RecordingLoss(bench.loss.replicate(64))
        bench.estimator.surrogate(recording, bench.dist.replicate(64), bench.noise(64))
        assert recording.seen, "the loss was never evaluated"
        assert any(is_one_hot(z) for z in recording.seen), "no evaluation was one-hot"

    def _check_class(self, problem: Problem, count: int, limit: float, warm: int = 0) -> None:
        bench = self.bench(problem)
        if warm:
            start = bench.parameters()
            bench.run(warm, bench.generator("warm"))
            _put_back(bench, start)
        if bench.estimator.bias == "consistent":
            self._check_consistency(bench, count, limit)
        else:
            self._check_mean(bench, draw(bench, count))

    def _check_mean(self, bench: Bench, draws: Draws) -> None:
        mean = draws.alpha.mean(axis=0)
        assert np.isfinite(mean).all(), "the mean gradient is not finite"
        if bench.estimator.bias == "none":
            assert not draws.alpha.any(), "declared to estimate nothing, but it moves alpha"
        elif bench.estimator.bias == "unbiased":
            result = joint_test(draws.alpha, exact(bench).alpha)
            assert result.p > FALSE_ALARM, (
                f"declared unbiased, but p = 1e{result.log10_p:.1f} "
                f"(T² = {result.statistic:.1f} in {result.directions} directions, "
                f"{result.n} draws, {result.fixed_off} fixed directions off)"
            )

    def _check_consistency(self, bench: Bench, count: int, limit: float) -> None:
        """At the last temperature the bias is below ``limit`` of ``|g|``, and below the first's."""
        target = exact(bench).alpha
        results = []
        for progress in (0.0, 1.0):
            bench.estimator.set_progress(progress)
            results.append(relative_bias(draw(bench, count).alpha, target))
        (first, first_error), (last, error) = results
        upper = max(last, 0.0) + 3 * error
        assert last <= first + 4 * (first_error + error), "the bias grows along the schedule"
        assert upper < max(limit**2, 6 * error), (
            f"declared consistent, but at the end of its schedule the bias may be "
            f"{upper**0.5:.2f} of the gradient; expected at most {limit}"
        )


def _gradient(value: Tensor, parameters: list[Tensor]) -> Tensor:
    if not value.requires_grad:
        return torch.zeros(1)
    grads = torch.autograd.grad(value, parameters, allow_unused=True)
    pairs = zip(parameters, grads, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])


@torch.no_grad()
def _put_back(bench: Bench, values: Tensor) -> None:
    """Set alpha, theta and the estimator's parameters to ``values``, keeping its buffers."""
    everything = [*bench.dist.parameters(), bench.loss.theta, *bench.estimator.parameters()]
    parts = torch.split(values, [parameter.numel() for parameter in everything])
    for parameter, part in zip(everything, parts, strict=True):
        parameter.copy_(part.view_as(parameter))
