"""Checks of what happens over a run: samples, state, the end of the schedule, lower precision."""

from __future__ import annotations

import copy
import functools
import inspect
import io
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from nasbench_snas.seeding import stream
from nasbench_snas.testing.bench import Bench, Step, map_tensors
from nasbench_snas.testing.claims import Point, claim_of
from nasbench_snas.testing.contract import BenchBuilder, equal_states
from nasbench_snas.testing.diagnosis import diagnose
from nasbench_snas.testing.exact import enumerate_architectures
from nasbench_snas.testing.formulas_score import flat_gradient
from nasbench_snas.testing.gradient import UPDATES
from nasbench_snas.testing.problems import toy_problem
from nasbench_snas.testing.proofs import draw, joint_test

FALSE_ALARM = 1e-5
LOW_PRECISION = 0.15  # relative change of the mean gradient under autocast
REPLAYS = 40  # moves of the parameters, from 0.1 to 1 of a standard normal
VANISHED = 1e-3  # of the gradient's root mean square at the start of the schedule


class CourseChecks(BenchBuilder):
    """What a whole run would meet.

    Attributes:
        law_samples: Samples of the weights on one bench in quick checks (theta: half of them).
        law_samples_full: The same in slow ones (theta: at most 40,000).
    """

    law_samples: ClassVar[int] = 20_000
    law_samples_full: ClassVar[int] = 200_000

    def test_hard_samples_follow_the_declared_law(self) -> None:
        """Theta learns from samples of ``p``, or of the law that the estimator declares."""
        self._check_law(self.law_samples, ((2, 3), (2, 5)))

    @pytest.mark.slow
    def test_hard_samples_follow_the_declared_law_closely(self) -> None:
        """The same with ten times the draws, and on seven edges."""
        self._check_law(self.law_samples_full, ((2, 3), (1, 2), (7, 2)))

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

    def test_state_is_what_the_declared_updates_give(self) -> None:
        """``state``: baselines, values and populations after 300 updates, replayed apart."""
        claim = claim_of(self.make(), "state")
        if claim is None:
            pytest.skip("it declares no rule for its state")
        benches = [self.bench(), self.bench(toy_problem("exponential", 3, 2, seed=1))]
        benches += [more for bench in benches[:1] if (more := self._with_more(bench))]
        for bench in benches:
            history: list[Step] = []
            for steps in (1, UPDATES):
                history += bench.warm(steps, bench.generator(f"warm {steps}"))
                expected = claim(bench.estimator, bench.dist, history)
                state = {**bench.estimator.state_dict(), "alpha": history[-1].parameters[0]}
                for key, right in expected.items():
                    assert key in state, f"{key} is not in the state; there is {sorted(state)}"
                    got = state[key].double()
                    gap = (got - right.double()).nan_to_num(0.0, 0.0, 0.0).abs().max()
                    assert float(gap) <= 1e-6 * (1 + float(right.double().abs().max())), (
                        f"{key} after {len(history)} updates is off by {float(gap):.3g}: "
                        "its update is not the declared one"
                    )

    def test_replay_is_what_is_declared(self) -> None:
        """``replay``: the gradient of a further update, after the parameters have moved."""
        claim = claim_of(self.make(), "replay")
        if claim is None:
            pytest.skip("it declares no formula of further updates")
        for seed in range(REPLAYS):
            bench = self.bench(toy_problem("exponential", *((7, 2) if seed % 2 else (2, 3))))
            bench.warm(3, bench.generator("warm"))
            before = copy.deepcopy(bench)
            bench.estimator.train()
            noise = bench.noise(1, seed=seed)
            bench.estimator.surrogate(bench.loss, bench.dist, noise)
            generator = stream(seed, "conformance/moved")
            with torch.no_grad():
                for parameter in bench.dist.parameters():
                    shift = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                    parameter.add_((0.1 + 0.02 * seed) * shift.to(parameter))
            value = bench.estimator.replay(bench.dist)
            assert value is not None, "replay returns None after a draw"
            got = flat_gradient(value.sum(), list(bench.dist.parameters()), 1)
            point = Point(before.estimator, before.loss, before.dist, noise)
            right = claim(point, bench.dist)
            assert torch.allclose(got, right, rtol=1e-7, atol=1e-10), (
                f"further update: {diagnose(got[0].numpy(), right[0].numpy(), ())}"
            )

    def test_own_parameters_follow_the_gradient_of_the_variance(self) -> None:
        """``tunes_variance``: what trains them agrees with differences of the squared estimate."""
        bench = self.bench()
        if not bench.estimator.tunes_variance:
            pytest.skip("it tunes nothing")
        bench.warm(30, bench.generator("warm"))
        own = [p for p in bench.estimator.parameters() if p.requires_grad]
        noise = bench.noise(16)

        def squared(graph: bool) -> Tensor:
            bench.estimator.train()
            copies, loss = bench.dist.replicate(16), bench.loss.replicate(16)
            value = bench.estimator.surrogate(loss, copies, noise).sum()
            grads = torch.autograd.grad(value, list(copies.parameters()), create_graph=graph)
            return torch.stack([g.square().sum() for g in grads]).sum()

        found = torch.autograd.grad(squared(True), own, allow_unused=True)
        for parameter, gradient in zip(own, found, strict=True):
            direction = torch.randn(
                parameter.shape, generator=stream(0, "tune"), dtype=torch.float64
            )
            sides = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    parameter.add_(step * direction.to(parameter))
                sides.append(float(squared(False).detach()))
                with torch.no_grad():
                    parameter.sub_(step * direction.to(parameter))
            right = (sides[0] - sides[1]) / 2e-5
            got = 0.0 if gradient is None else float((gradient * direction).sum())
            assert abs(got - right) <= 1e-4 * max(abs(right), abs(got)) + 1e-7, (
                f"an own parameter of shape {tuple(parameter.shape)} is trained by {got:.6g}, "
                f"differences of the squared estimate give {right:.6g}"
            )

    def test_single_precision_gives_the_gradient_of_double(self) -> None:
        """On the same noise 95 of 100 draws agree to a thousandth."""
        results = []
        double = self.bench()
        noise = double.noise(256)
        for dtype in (torch.float64, torch.float32):
            bench = self.bench(dtype=dtype)
            cast = map_tensors(noise, functools.partial(_cast, dtype))
            results.append([x.double() for x in bench.gradients(cast, 256)])
        for word, right, got in zip(("alpha", "theta"), *results, strict=True):
            size = float(right.norm(dim=1).square().mean().sqrt())
            gap = float((got - right).norm(dim=1).quantile(0.95))
            assert gap <= 1e-3 * size, f"{word} in single precision: off by {gap / size:.2g}"

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
        before, idle = (float((norm < VANISHED * first).double().mean()) for norm in norms)
        if idle > max(0.5, 2 * before):
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
            problem = toy_problem("exponential", edges, operations)
            bench = self.bench(problem)
            if bench.estimator.n > operations**edges:  # it may need distinct architectures
                bench = Bench.build(self.make(n=2), problem, device=self.device)
            bench.estimator.eval()
            own, drawn = law_of(bench, law), law_of(bench, "p")
            if bench.estimator.has_theta_gradient:
                self._check_theta(bench, own, min(count // 2, 40_000))
                more = self._with_more(bench)
                if more is not None:
                    self._check_theta(more, own, min(count // 2, 40_000))
            _check_weights(bench, count, own, drawn)

    def _with_more(self, bench: Bench) -> Bench | None:
        """Return the same bench with three architectures a draw; None without a setting ``n``."""
        if "n" not in inspect.signature(self.estimator).parameters:
            return None
        if bench.dist.num_operations**bench.dist.num_edges < 3:
            return None
        return Bench(self.make(n=3).double(), bench.loss, bench.dist, bench.device)

    def _check_theta(self, bench: Bench, law: Tensor, count: int) -> None:
        edges, operations = bench.dist.num_edges, bench.dist.num_operations
        z = enumerate_architectures(edges, operations)
        losses = bench.loss(z[None])[0]
        (right,) = torch.autograd.grad((law * losses).sum(), bench.loss.theta)
        draws = draw(bench, count).theta
        result = joint_test(draws, right[0])
        words = diagnose(draws.mean(axis=0), right[0].numpy(), ())
        assert result.p > FALSE_ALARM, (
            f"E = {edges}, K = {operations}, n = {bench.estimator.n}: the theta-gradient is not "
            f"that of samples of the declared law: {words}; p = 1e{result.log10_p:.1f}"
        )


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


def law_of(bench: Bench, law: Any) -> Tensor:
    """Return the probabilities of all architectures, shape ``(K^E,)``."""
    z = enumerate_architectures(bench.dist.num_edges, bench.dist.num_operations)
    if law is None or law == "p":
        with torch.no_grad():
            return bench.dist.log_prob(z[None]).sum(dim=-1)[0].exp()
    if law == "uniform":
        return torch.full((len(z),), 1 / len(z), dtype=torch.float64)
    marginals = law(Point(bench.estimator, bench.loss, bench.dist))
    found: Tensor = (z * marginals).sum(dim=-1).prod(dim=-1)
    return found


def _cast(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _second_moment(bench: Bench) -> float:
    return float(np.square(draw(bench, 2_000).alpha).sum(axis=1).mean())
