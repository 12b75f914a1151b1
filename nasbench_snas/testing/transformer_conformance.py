"""Conformance checks of objective transformers: that the law of the estimators still holds.

An estimator is right for any loss that is a function of one architecture. So the transformed loss
must be one: fixed for the step, the same for every replicate and draw, differentiable in ``z``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Loss, LossStep, LossTransformer
from nasbench_snas.seeding import stream
from nasbench_snas.settings.parameters import create
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks
from nasbench_snas.testing.globals import global_generators_rest
from nasbench_snas.testing.toy import SmoothLoss, toy_space

_R, _N = 2, 3


class TransformerConformance(DocumentationChecks, Conformance):
    """Checks of an objective transformer: a :class:`~nasbench_snas.api.LossTransformer`.

    Attributes:
        transformer: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "transformer"
    transformer: ClassVar[type[LossTransformer]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary")

    def made(self) -> LossTransformer:
        """Return the transformer under test."""
        return create(self.transformer, self.settings, "transformer")

    def steps(self) -> Iterator[LossStep]:
        """Yield steps of every role, at the start, on the way and at the end of a run."""
        for role in self.roles():
            for progress in (0.0, 0.5, 1.0):
                yield self.step(role, progress)

    def roles(self) -> tuple[str, ...]:
        """Return the roles of the levels at which it is defined."""
        levels = self.transformer.levels
        joint = ("joint",) if "joint" in levels else ()
        return joint + (("theta", "alpha") if {"bilevel", "unrolled"} & set(levels) else ())

    def step(self, role: Any = "theta", progress: float = 0.5) -> LossStep:
        """Return one step, its generator in a fixed state."""
        return LossStep(role, progress, toy_space(), stream(0, "conformance"))

    def weights(self) -> Tensor:
        """Return soft, one-hot and other weights, shape ``(2, 3, E, K)``, float64."""
        space = toy_space()
        shape = (_R, _N, space.num_edges, space.num_operations)
        generator = stream(1, "conformance")
        soft = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(dim=-1)
        soft[0, 0] *= 0.5  # off the simplex
        soft[1] = torch.nn.functional.one_hot(soft[1].argmax(dim=-1), shape[-1]).to(soft)
        return soft

    def test_it_returns_a_loss_of_every_architecture(self) -> None:
        """Losses and errors have the shape ``(R, n)``, and are finite."""
        z = self.weights()
        for step in self.steps():
            loss = self.made().transform(SmoothLoss(), step)
            for what, values in (("losses", loss(z)), ("errors", loss.error(z))):
                assert values.shape == (_R, _N), f"{what} have shape {tuple(values.shape)}"
                assert values.isfinite().all(), f"{what} are not finite"

    def test_the_loss_is_a_fixed_function_of_one_architecture(self) -> None:
        """Equal weights have equal losses: evaluated again, alone, or in another place."""
        z = self.weights()
        for step in self.steps():
            loss = self.made().transform(SmoothLoss(), step)
            whole = loss(z)
            assert torch.equal(loss(z), whole), "evaluated again it is another loss: draw earlier"
            for r in range(_R):
                for i in range(_N):
                    alone = loss(z[r : r + 1, i : i + 1])[0, 0]
                    assert torch.allclose(alone, whole[r, i], rtol=1e-9, atol=1e-12), (
                        "the loss of an architecture depends on the others or on its place"
                    )

    def test_it_draws_when_the_step_begins_from_its_own_generator(self) -> None:
        """The same generator gives the same loss; an evaluation draws nothing."""
        z = self.weights()
        with global_generators_rest():
            for role in self.roles():
                first, second = self.step(role), self.step(role)
                losses: list[Loss] = [
                    self.made().transform(SmoothLoss(), s) for s in (first, second)
                ]
                state = first.generator.get_state()
                assert torch.equal(losses[0](z), losses[1](z)), "the same step gave another loss"
                assert torch.equal(first.generator.get_state(), state), "evaluating draws"

    def test_its_gradient_reaches_the_weights(self) -> None:
        """The gradient by ``z`` is that of the differences of the loss."""
        for step in self.steps():
            loss, z = self.made().transform(SmoothLoss(), step), self.weights()[:1]
            z = z.requires_grad_()
            (found,) = torch.autograd.grad(loss(z).sum(), z)
            move = torch.randn(z.shape, generator=stream(2, "conformance"), dtype=z.dtype)
            with torch.no_grad():
                sides = [float(loss(z + sign * 1e-6 * move).sum()) for sign in (1, -1)]
            right, got = (sides[0] - sides[1]) / 2e-6, float((found * move).sum())
            assert abs(right - got) <= 1e-4 * (1 + abs(right)), (
                f"along a direction the loss changes by {right:.6g}, its gradient says {got:.6g}"
            )

    def test_masks_of_operations_are_passed_on(self) -> None:
        """The argument ``run`` reaches the loss, so that estimators get their ``dL/dz``."""
        z, inner = self.weights(), SmoothLoss()
        mask = torch.ones(z.shape, dtype=torch.bool)
        self.made().transform(inner, self.step())(z, mask)
        assert inner.run is not None, "the mask of operations was lost: call loss(z, run)"

    def test_it_captures_only_what_is_evaluated_once(self) -> None:
        """With ``captures`` an evaluation is one evaluation of the loss."""
        inner = SmoothLoss()
        self.made().transform(inner, self.step())(self.weights())
        assert inner.asked >= 1, "the loss is never evaluated"
        assert not (self.transformer.captures and inner.asked > 1), "say captures = False"

    def test_the_penalty_is_a_scalar_of_the_parameters(self) -> None:
        """A penalty is a finite scalar whose gradient reaches the distribution."""
        space = toy_space()
        shape = (space.num_edges, space.num_operations)
        for step in self.steps():
            if step.role == "theta":
                continue
            dist = Categorical(torch.randn(shape, generator=stream(3, "conformance")))
            before = dist.alpha.detach().clone()
            penalty = self.made().penalty(dist, step)
            assert torch.equal(dist.alpha.detach(), before), "the distribution was changed"
            if penalty is None:
                continue
            assert penalty.numel() == 1 and bool(penalty.isfinite().all()), "expected a scalar"
            (found,) = torch.autograd.grad(penalty.sum(), dist.alpha, allow_unused=True)
            assert found is not None, "its gradient does not reach the distribution"

    def test_it_changes_something(self) -> None:
        """Some step has another loss or a penalty; or it acts on the network."""
        if self.transformer.auxiliary_skip or self.transformer.watches_operations:
            pytest.skip("it acts on the network")
        z, space = self.weights(), toy_space()
        dist = Categorical(torch.zeros(space.num_edges, space.num_operations))
        plain = SmoothLoss()(z)
        changed = False
        for step in self.steps():
            made = self.made()
            changed |= not torch.equal(made.transform(SmoothLoss(), step)(z), plain)
            changed |= step.role != "theta" and made.penalty(dist, step) is not None
        assert changed, "no step has another loss, and there is no penalty"

    def test_its_state_survives_a_round_trip(self) -> None:
        """A transformer continued from ``state_dict`` gives the same losses."""
        first, second, z = self.made(), self.made(), self.weights()
        for step in self.steps():
            first.transform(SmoothLoss(), step)(z)
        second.load_state_dict(first.state_dict())
        pair = [one.transform(SmoothLoss(), self.step())(z) for one in (first, second)]
        assert torch.equal(*pair), "state_dict does not hold everything that changes"
