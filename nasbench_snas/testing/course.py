"""Checks of what happens over a run: samples, state, the end of the schedule, lower precision."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasbench_snas.seeding import stream
from nasbench_snas.testing.bench import Bench
from nasbench_snas.testing.claims import Point, claim_of
from nasbench_snas.testing.contract import BenchBuilder, equal_states
from nasbench_snas.testing.diagnosis import diagnose
from nasbench_snas.testing.exact import enumerate_architectures
from nasbench_snas.testing.gradient import UPDATES
from nasbench_snas.testing.problems import toy_problem
from nasbench_snas.testing.proofs import draw, joint_test

FALSE_ALARM = 1e-5
SAMPLES, SAMPLES_FULL = 20_000, 200_000
LOW_PRECISION = 0.15  # relative change of the mean gradient under autocast
VANISHED = 1e-3  # of the gradient's root mean square at the start of the schedule


class CourseChecks(BenchBuilder):
    """What a whole run would meet."""

    def test_hard_samples_follow_the_declared_law(self) -> None:
        """Theta learns from samples of ``p``, or of the law that the estimator declares."""
        self._check_law(SAMPLES, ((2, 3), (2, 5)))

    @pytest.mark.slow
    def test_hard_samples_follow_the_declared_law_closely(self) -> None:
        """The same with ten times the draws, and on seven edges."""
        self._check_law(SAMPLES_FULL, ((2, 3), (1, 2), (7, 2)))

    def test_state_does_not_run_away(self) -> None:
        """After hundreds of updates baselines lie among the losses; the variance has not grown."""
        bench = self.bench()
        before = _second_moment(bench)
        bench.warm(UPDATES, bench.generator("warm"))
        middle = dict(bench.estimator.progress_values())
        bench.warm(UPDATES, bench.generator("warmer"))
        z = enumerate_architectures(bench.dist.num_edges, bench.dist.num_operations)
        with torch.no_grad():
            losses = torch.cat([bench.loss(z[None]), bench.loss.error(z[None])])
        low, high = float(losses.min()), float(losses.max())
        for key, value in bench.estimator.progress_values().items():
            assert np.isfinite(value), f"{key} is {value} after {2 * UPDATES} updates"
            if "baseline" in key or key.startswith("value"):
                slack = 0.05 * (high - low)
                assert low - slack <= value <= high + slack, (
                    f"{key} is {value:.3g} after {2 * UPDATES} updates, the losses lie in "
                    f"[{low:.3g}, {high:.3g}]: its update is wrong"
                )
            grown = abs(value) > 1.5 * abs(middle.get(key, value))
            assert not (grown and abs(value) > 10 * (1 + high)), f"{key} grows: {value:.3g}"
        after = _second_moment(bench)
        assert after <= 3 * before + 1e-12, (
            f"the second moment is {after / before:.1f} times that of a new estimator after "
            f"{2 * UPDATES} updates: its state does harm"
        )

    def test_state_survives_a_round_trip_after_hundreds_of_updates(self) -> None:
        """A checkpoint late in a run holds all that later steps depend on."""
        bench = self.bench()
        bench.warm(UPDATES, bench.generator("warm"))
        file = io.BytesIO()
        torch.save(bench.state(), file)
        expected = bench.run(4, bench.generator("more"))
        file.seek(0)
        resumed = self.bench()
        resumed.load_state(torch.load(file, weights_only=True))
        got = resumed.run(4, resumed.generator("more"))
        assert torch.equal(got, expected), (
            f"after {UPDATES} updates and a checkpoint the next steps differ: something that "
            "matters late in a run is not in the state"
        )
        states = (resumed.estimator.state_dict(), bench.estimator.state_dict())
        assert equal_states(*states), "the state after the resumed run differs"

    def test_gradient_does_not_vanish_at_the_end_of_the_schedule(self) -> None:
        """In single precision the last temperature still moves alpha."""
        bench = self.bench(dtype=torch.float32)
        if not bench.estimator.has_alpha_gradient:
            pytest.skip("it has no gradient for alpha")
        norms = []
        for t in (0.0, 1.0):
            bench.estimator.set_progress(t)
            alpha, _ = bench.gradients(bench.noise(512), 512)
            norms.append(alpha.double().norm(dim=1))
        first, last = (float(norm.square().mean().sqrt()) for norm in norms)
        idle = float((norms[1] < VANISHED * first).double().mean())
        if idle > 0.5:
            self.__dict__.setdefault("notes", []).append(
                f"at the end of the schedule {idle:.0%} of the draws have a gradient below "
                f"{VANISHED:g} of the start's"
            )
        assert last >= VANISHED * first, (
            f"the gradient vanishes at the end of the schedule: root mean square {last:.2g}, "
            f"{first:.2g} at the start"
        )

    def test_gradient_survives_an_outer_autocast_region(self) -> None:
        """Inside ``torch.autocast`` to bfloat16 types stay, and the mean gradient hardly moves."""
        bench = self.bench(dtype=torch.float32)
        count = 512
        noise = bench.noise(count)
        plain = bench.draws(noise, count)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            low = bench.draws(noise, count)
        for word, expected, got in zip(("alpha", "theta", "value"), plain, low, strict=True):
            assert got.dtype == expected.dtype, f"{word}: {got.dtype} under autocast"
            assert torch.isfinite(got).all(), f"{word}: not finite under autocast"
            right, mean = (x.double().mean(dim=0).flatten() for x in (expected, got))
            gap = float((mean - right).norm())
            assert gap <= LOW_PRECISION * float(right.norm()) + 1e-6, (
                f"{word} under autocast: {diagnose(mean.numpy(), right.numpy(), ())}"
            )

    def _check_law(self, count: int, sizes: tuple[tuple[int, int], ...]) -> None:
        estimator = self.make()
        law = claim_of(estimator, "samples")
        if law == "state" or (law is None and estimator.search_view != "hard"):
            pytest.skip("theta learns from no one-hot samples of a fixed law")
        for edges, operations in sizes:
            bench = self.bench(toy_problem("exponential", edges, operations))
            bench.estimator.eval()
            own, drawn = _law(bench, law), _law(bench, "p")
            if bench.estimator.has_theta_gradient:
                z = enumerate_architectures(edges, operations)
                losses = bench.loss(z[None])[0]
                (right,) = torch.autograd.grad((own * losses).sum(), bench.loss.theta)
                result = joint_test(draw(bench, min(count, 40_000)).theta, right[0])
                assert result.p > FALSE_ALARM, (
                    f"E = {edges}, K = {operations}: the theta-gradient is not that of samples "
                    f"of the declared law: p = 1e{result.log10_p:.1f}"
                )
            _check_weights(bench, count, own, drawn)


def _check_weights(bench: Bench, count: int, *laws: Tensor) -> None:
    """Assert that ``weights`` follow one of ``laws``, probabilities of all architectures."""
    edges, operations = bench.dist.num_edges, bench.dist.num_operations
    z = enumerate_architectures(edges, operations).flatten(1)
    generator, rows = stream(0, "conformance/law"), []
    for _ in range(0, count, 4_000):
        copies = bench.dist.replicate(4_000)
        with torch.no_grad():
            noise = bench.estimator.noise(copies, 4_000, generator)
            weights = bench.estimator.weights(copies, noise)
        rows.append(weights[:, 0].flatten(1).double())
    draws = torch.cat(rows)
    results = [joint_test(draws.numpy(), law @ z) for law in laws]
    assert max(result.p for result in results) > FALSE_ALARM, (
        f"E = {edges}, K = {operations}: the weights for theta do not follow the declared law: "
        f"{diagnose(draws.mean(dim=0).numpy(), (laws[0] @ z).numpy(), (edges, operations))}; "
        f"p = 1e{results[0].log10_p:.1f}"
    )


def _law(bench: Bench, law: Any) -> Tensor:
    """Return the probabilities of all architectures, shape ``(K^E,)``."""
    z = enumerate_architectures(bench.dist.num_edges, bench.dist.num_operations)
    if law is None or law == "p":
        with torch.no_grad():
            return bench.dist.log_prob(z[None]).sum(dim=-1)[0].exp()
    if law == "uniform":
        return torch.full((len(z),), 1 / len(z), dtype=torch.float64)
    marginals = law(Point(bench.estimator, bench.loss, bench.dist))
    return (z * marginals).sum(dim=-1).prod(dim=-1)


def _second_moment(bench: Bench) -> float:
    return float(np.square(draw(bench, 2_000).alpha).sum(axis=1).mean())
