"""Checks of what the interface promises: shapes, gradients, randomness, state, schedules."""

from __future__ import annotations

import copy
import inspect
import io
import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.seeding import stream
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.testing.bench import Bench, RecordingLoss, map_tensors, tensors_in, tiny_space
from nasbench_snas.testing.globals import global_generators_rest
from nasbench_snas.testing.problems import Problem

REPLICATES = 6
_LEGAL = {
    "bias": {"unbiased", "consistent", "biased", "none"},
    "search_view": {"soft", "hard", "mean"},
    "derive_rule": {"argmax", "top2", "sample", "best-of-N"},
}


class BenchBuilder:
    """How the checks obtain a fresh bench; see ``EstimatorConformance`` for the attributes."""

    estimator: ClassVar[type[Estimator]]
    settings: ClassVar[dict[str, Any]] = {}
    device: ClassVar[str] = "cpu"

    def make(self, **changes: Any) -> Estimator:
        """Return a new estimator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            cheap = getattr(self.estimator, "conformance_settings", {})
            return self.estimator(**{**cheap, **self.settings, **changes})

    def bench(self, problem: Problem | None = None, **options: Any) -> Bench:
        """Return a new bench with a new estimator."""
        return Bench.build(self.make(), problem, device=self.device, **options)


def is_one_hot(z: Tensor) -> bool:
    """Return whether every row of ``z`` is exactly one-hot."""
    return bool(((z == 0) | (z == 1)).all() and (z.sum(dim=-1) == 1).all())


def same_tensors(first: Any, second: Any) -> bool:
    """Return whether two noises hold the same tensors."""
    left, right = tensors_in(first), tensors_in(second)
    return len(left) == len(right) and all(map(torch.equal, left, right))


class InterfaceChecks(BenchBuilder):
    """Shapes, types and gradients."""

    def test_class_attributes_have_legal_values(self) -> None:
        """Bias, search view, derive rule and counts are among the known ones."""
        estimator = self.make()
        for attribute, legal in _LEGAL.items():
            value = getattr(estimator, attribute)
            assert value in legal, f"{attribute} = {value!r}; expected one of {sorted(legal)}"
        for attribute in ("n", "updates", "version", "partial_channels"):
            value = getattr(estimator, attribute)
            assert isinstance(value, int) and value >= 1, f"{attribute} = {value!r}"
        assert (estimator.bias == "none") == (not estimator.has_alpha_gradient), (
            "bias 'none' and has_alpha_gradient = False go together"
        )

    def test_surrogate_has_one_finite_value_for_each_replicate(self) -> None:
        """Shape ``(R,)``, finite, in the distribution's floating-point type."""
        for dtype in (torch.float32, torch.float64):
            bench = self.bench(dtype=dtype)
            for replicates in (1, REPLICATES):
                value = bench.value(bench.noise(replicates), replicates)
                assert value.shape == (replicates,), f"shape {tuple(value.shape)}"
                assert torch.isfinite(value).all(), f"values {value}"
                assert value.dtype == dtype, f"{value.dtype} for parameters of {dtype}"
                device = torch.device(self.device).type
                assert value.device.type == device, f"value on {value.device}"

    def test_gradients_are_finite_at_every_stage_of_the_schedule(self) -> None:
        """In single and double precision, from the first step to the last."""
        for dtype in (torch.float32, torch.float64):
            bench = self.bench(dtype=dtype)
            for progress in (0.0, 0.5, 1.0):
                bench.estimator.set_progress(progress)
                for gradient in bench.gradients(bench.noise(64), 64):
                    assert torch.isfinite(gradient).all(), f"{dtype} at {progress:.0%} of the run"

    def test_gradient_reaches_alpha_or_is_declared_not_to(self) -> None:
        """``has_alpha_gradient`` says whether the distribution's parameters are moved."""
        bench = self.bench()
        alpha, _ = bench.gradients(bench.noise(64), 64)
        reached = bool(alpha.any())
        assert reached == bench.estimator.has_alpha_gradient, f"gradient for alpha: {reached}"

    def test_gradient_reaches_theta_or_is_declared_not_to(self) -> None:
        """``has_theta_gradient`` says whether the network's weights are moved."""
        bench = self.bench()
        _, theta = bench.gradients(bench.noise(64), 64)
        reached = bool(theta.any())
        assert reached == bench.estimator.has_theta_gradient, f"gradient for theta: {reached}"

    def test_replicates_in_one_pass_equal_a_loop(self) -> None:
        """Draw ``r`` of ``R`` is the same as that draw alone, for value, alpha and theta."""
        bench = self.bench()
        noise = bench.noise(REPLICATES)
        alpha, theta = bench.gradients(noise, REPLICATES)
        values = bench.value(noise, REPLICATES)
        for r in range(REPLICATES):
            single = map_tensors(noise, lambda t, r=r: t[r : r + 1])  # type: ignore[misc]
            own = (*bench.gradients(single, 1), bench.value(single, 1))
            for got, expected in zip(own, (alpha, theta, values), strict=True):
                torch.testing.assert_close(got[0], expected[r], rtol=1e-9, atol=1e-11)

    def test_n_architectures_are_drawn(self) -> None:
        """``weights`` has ``n`` architectures; a setting ``n`` is obeyed."""
        for changes in ({}, {"n": 2}, {"n": 3}):
            if changes and not _has_setting(self.estimator, "n"):
                continue
            bench = Bench.build(self.make(**changes), device=self.device)
            n = bench.estimator.n
            assert n == changes.get("n", n), f"n = {n} after the setting {changes}"
            weights = bench.estimator.weights(bench.dist.replicate(4), bench.noise(4))
            expected = (4, n, bench.dist.num_edges, bench.dist.num_operations)
            assert weights.shape == expected, f"shape {tuple(weights.shape)}, expected {expected}"
            assert bench.value(bench.noise(4), 4).shape == (4,), f"no value for n = {n}"

    def test_weights_are_one_hot_or_on_the_simplex(self) -> None:
        """Weights for theta are one-hot if the search view is hard, else rows of a simplex."""
        bench = self.bench()
        for progress in (0.0, 1.0):
            bench.estimator.set_progress(progress)
            weights = bench.estimator.weights(bench.dist.replicate(64), bench.noise(64)).detach()
            if bench.estimator.search_view == "hard":
                assert is_one_hot(weights), "search_view is hard, but weights are not one-hot"
            assert (weights >= 0).all(), "negative weights"
            total = weights.sum(dim=-1)
            torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-6, atol=1e-6)

    def test_all_operations_are_asked_for_exactly_if_they_are_used(self) -> None:
        """``needs_all_operations`` is set if and only if ``dL/dz`` at weight zero matters."""
        results = []
        for everything in (False, True):
            bench = self.bench()
            bench.estimator.needs_all_operations = everything
            results.append(bench.gradients(bench.noise(64), 64)[0])
        used = not torch.equal(*results)
        declared = self.make().needs_all_operations
        assert used == declared, f"needs_all_operations = {declared}, but used = {used}"

    def test_single_path_is_true_where_it_is_declared(self) -> None:
        """``single_path``: no loss is asked for with two weights of an edge that are not zero."""
        if not self.make().single_path:
            return
        bench = self.bench()
        for progress in (0.0, 1.0):
            bench.estimator.set_progress(progress)
            copies = bench.dist.replicate(REPLICATES)
            seen = RecordingLoss(bench.loss.replicate(REPLICATES))
            bench.estimator.surrogate(seen, copies, bench.noise(REPLICATES))
            for z in [*seen.seen, bench.estimator.weights(copies, bench.noise(REPLICATES))]:
                most = int((z != 0).sum(dim=-1).max())
                assert most <= 1, f"single_path is set, but an edge has {most} weights"

    def test_own_parameters_receive_what_the_driver_gives(self) -> None:
        """``tunes_variance``: own parameters exist and the squared estimate reaches them."""
        bench = self.bench()
        own = list(bench.estimator.parameters())
        if not bench.estimator.tunes_variance:
            return
        assert own, "tunes_variance without parameters"
        copies, loss = bench.dist.replicate(REPLICATES), bench.loss.replicate(REPLICATES)
        value = bench.estimator.surrogate(loss, copies, bench.noise(REPLICATES)).sum()
        alpha = list(copies.parameters())
        estimate = torch.autograd.grad(value, alpha, create_graph=True)
        grads = torch.autograd.grad(estimate[0].square().sum(), own, allow_unused=True)
        assert any(g is not None and g.any() for g in grads), "no parameter is reached"
        assert all(g is None or torch.isfinite(g).all() for g in grads), "a gradient is not finite"

    def test_replay_serves_the_declared_updates(self) -> None:
        """With ``updates > 1`` a stored draw gives further surrogates; otherwise None."""
        bench = self.bench()
        bench.run(1, bench.generator())
        again = bench.estimator.replay(bench.dist)
        if bench.estimator.updates == 1:
            assert again is None, "updates = 1, but replay returns something"
            return
        assert again is not None and again.shape == (1,), "replay must return shape (R,)"
        grads = torch.autograd.grad(again.sum(), list(bench.dist.parameters()), allow_unused=True)
        assert any(g is not None and torch.isfinite(g).all() for g in grads), "no finite gradient"

    def test_real_parent_network_is_trained(self) -> None:
        """On a convolutional parent a step gives finite gradients to theta, and to alpha."""
        estimator = self.make().to(self.device)
        space = tiny_space()
        channels = estimator.partial_channels
        parent = ReferenceParent(space, stream(0, "theta"), partial_channels=channels)
        parent.to(self.device)
        images = torch.randn((4, 1, 4, 4), generator=stream(0, "images")).to(self.device)
        labels = torch.tensor([0, 1, 2, 1], device=self.device)
        loss = SupernetLoss(parent, images, labels, all_operations=estimator.needs_all_operations)
        dist = estimator.make_distribution(space, stream(0, "alpha")).to(self.device)
        generator = stream(1, "noise", self.device)
        value = estimator.surrogate(loss, dist, estimator.noise(dist, 1, generator)).sum()
        torch.autograd.backward(value)
        grads = [p.grad for p in parent.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in grads), "theta: not finite"
        reached = any(bool(g.any()) for g in grads)
        assert reached == estimator.has_theta_gradient, f"gradient for theta: {reached}"
        alpha = [p.grad for p in dist.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in alpha), "alpha: not finite"


class RandomnessChecks(BenchBuilder):
    """Where randomness comes from, and that nothing is changed behind one's back."""

    def test_same_seed_gives_the_same_draw(self) -> None:
        """Noise and gradients repeat with the seed, and change with it."""
        first, second = self.bench(), self.bench()
        noises = [bench.noise(REPLICATES) for bench in (first, second)]
        assert same_tensors(*noises), "noise differs between equal generators"
        for left, right in zip(
            first.gradients(noises[0], REPLICATES),
            second.gradients(noises[1], REPLICATES),
            strict=True,
        ):
            assert torch.equal(left, right), "gradients differ for equal noise"
        if noises[0] is not None:
            other = first.noise(REPLICATES, seed=1)
            assert not same_tensors(noises[0], other), "noise ignores its generator"

    def test_draw_is_a_pure_function_of_its_noise(self) -> None:
        """In evaluation mode the same noise gives the same draw, whatever came between."""
        bench = self.bench()
        noise = bench.noise(REPLICATES)
        before = bench.gradients(noise, REPLICATES)
        bench.gradients(bench.noise(REPLICATES, seed=3), REPLICATES)
        after = bench.gradients(noise, REPLICATES)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), (
            "the draw depends on what came between"
        )

    def test_global_generators_are_untouched(self) -> None:
        """torch's, numpy's and Python's global generators stand where they stood."""
        bench = self.bench()
        with global_generators_rest():
            bench.run(2, bench.generator())
            bench.estimator.weights(bench.dist, bench.noise(1))

    def test_inputs_are_not_modified_in_place(self) -> None:
        """Noise, alpha and theta are the same after a surrogate and its backward pass."""
        bench = self.bench()
        noise = bench.noise(1)
        kept = copy.deepcopy(noise)
        before = [p.detach().clone() for p in (*bench.dist.parameters(), bench.loss.theta)]
        bench.estimator.train()
        value = bench.estimator.surrogate(bench.loss, bench.dist, noise).sum()
        if value.requires_grad:
            torch.autograd.backward(value)
        bench.estimator.weights(bench.dist, noise)
        after = [*bench.dist.parameters(), bench.loss.theta]
        assert same_tensors(noise, kept), "the noise was modified"
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), (
            "alpha or theta was modified"
        )


class StateChecks(BenchBuilder):
    """State, schedules and what is logged of them."""

    def test_evaluation_mode_freezes_the_state(self) -> None:
        """In evaluation mode no buffer and no parameter changes."""
        bench = self.bench()
        bench.run(2, bench.generator())
        before = copy.deepcopy(bench.estimator.state_dict())
        bench.gradients(bench.noise(REPLICATES), REPLICATES)
        assert equal_states(before, bench.estimator.state_dict()), "state changed in eval mode"

    def test_state_survives_a_round_trip_in_mid_run(self) -> None:
        """Four steps, a checkpoint, four more: the same alpha, theta and state as without it."""
        bench = self.bench()
        generator = bench.generator()
        bench.run(4, generator)
        file, place = io.BytesIO(), generator.get_state()
        torch.save(bench.state(), file)
        expected = bench.run(4, generator, first=4)
        file.seek(0)
        resumed = self.bench()
        resumed.load_state(torch.load(file, weights_only=True))
        generator.set_state(place)
        got = resumed.run(4, generator, first=4)
        assert torch.equal(got, expected), "the resumed run differs: something is not in the state"
        states = (resumed.estimator.state_dict(), bench.estimator.state_dict())
        assert equal_states(*states), "the state after the resumed run differs"

    def test_schedules_fit_any_number_of_steps(self) -> None:
        """What is logged depends on the fraction done only; temperatures move one way, > 0."""
        ends = []
        for steps in (1, 2, 7, 50, 1000):
            estimator = self.make()
            rows = []
            for step in range(steps + 1):
                estimator.set_progress(step / steps)
                rows.append(estimator.progress_values())
            ends.append((rows[0], rows[-1]))
            for key in (k for k in rows[0] if "temperature" in k):
                values = [row[key] for row in rows]
                assert min(values) > 0, f"{key} reaches {min(values)} with {steps} steps"
                differences = np.diff(values)
                assert (differences <= 0).all() or (differences >= 0).all(), f"{key} turns round"
        assert all(_same_values(pair, ends[0]) for pair in ends), "ends depend on the step count"

    def test_progress_outside_the_run_is_harmless(self) -> None:
        """Rounding may bring the fraction slightly below 0 or above 1."""
        for inside, outside in ((0.0, -1e-9), (1.0, 1 + 1e-9)):
            rows = []
            for progress in (inside, outside):
                estimator = self.make()
                estimator.set_progress(progress)
                rows.append(estimator.progress_values())
            assert _same_values((rows[0],), (rows[1],), tolerance=1e-6), f"{rows} at {outside}"

    def test_progress_values_are_floats(self) -> None:
        """Names to plain floats, also after steps."""
        bench = self.bench()
        bench.run(2, bench.generator())
        for key, value in bench.estimator.progress_values().items():
            assert isinstance(key, str) and type(value) is float, f"{key!r}: {value!r}"

    def test_gradient_sums_to_zero_on_every_edge(self) -> None:
        """Adding a constant to an edge's logits changes nothing, so nothing may pull there."""
        bench = self.bench()
        if type(bench.dist) is not Categorical:
            pytest.skip("it searches with a distribution of its own")
        alpha, _ = bench.gradients(bench.noise(64), 64)
        sums = alpha.view(64, *bench.dist.alpha.shape[1:]).sum(dim=-1).abs().max()
        assert sums <= 1e-9 * (1 + alpha.abs().max()), f"an edge's gradient sums to {sums:.1e}"


def _has_setting(estimator: type[Estimator], name: str) -> bool:
    return name in inspect.signature(estimator).parameters


def equal_states(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether two state dictionaries hold the same values, NaN equal to NaN."""
    if first.keys() != second.keys():
        return False
    for key, value in first.items():
        if isinstance(value, Tensor):
            if not torch.equal(value.nan_to_num(nan=-1e30), second[key].nan_to_num(nan=-1e30)):
                return False
        elif value != second[key]:
            return False
    return True


def _same_values(
    first: tuple[dict[str, float], ...],
    second: tuple[dict[str, float], ...],
    tolerance: float = 1e-12,
) -> bool:
    return all(
        a.keys() == b.keys()
        and all(
            math.isclose(a[k], b[k], rel_tol=tolerance, abs_tol=tolerance)
            or (math.isnan(a[k]) and math.isnan(b[k]))
            for k in a
        )
        for a, b in zip(first, second, strict=True)
    )
