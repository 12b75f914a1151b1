"""Optimisation levels: how theta and alpha alternate, for every estimator.

``joint`` (SNAS, section 3.1 of arXiv:1812.09926): one batch and one backward pass train both.
``bilevel`` (DARTS first order, arXiv:1806.09055): alpha on the architecture split, then theta on
the training split. ``unrolled`` (DARTS second order, its eqs. 6-8): as ``bilevel``, but alpha's
loss is evaluated at ``theta - xi grad_theta L_train``; the Hessian-vector product comes from
autograd, or from the finite difference of eq. 8. Where theta has a pass of its own, a policy
(:mod:`nasbench_snas.search.policies`) may draw the architectures that train it.

A level transforms the loss closure and says when optimisers step; it knows no estimator. Objective
transformers (:mod:`nasbench_snas.search.transform`) change the closure that a level makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from nasbench_snas.api import Distribution, Estimator, Loss, Role, one_hot
from nasbench_snas.errors import ConfigError, DivergedError
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.search.policies import ThetaPolicy
from nasbench_snas.search.transform import Transformers
from nasbench_snas.search.unrolled import UnrolledLoss

LevelName = Literal["joint", "bilevel", "unrolled"]
Batch = tuple[Tensor, Tensor]


class LossFactory(Protocol):
    """Builds the loss closure of a batch."""

    def __call__(
        self, batch: Batch, *, theta: bool = True, single_path: bool = False
    ) -> SupernetLoss:
        """Return the loss.

        Args:
            batch: Images and labels.
            theta: Whether its gradient for theta will be asked for.
            single_path: Whether it is of one operation an edge, whatever the estimator draws.
        """


def check_finite(value: Tensor) -> None:
    """Raise unless a loss is finite.

    Raises:
        DivergedError: It is not.
    """
    if not torch.isfinite(value.detach()).all():
        raise DivergedError(f"the search loss became {float(value.detach())}.")


@dataclass
class Learner:
    """What a level trains.

    Attributes:
        estimator: The gradient estimator.
        dist: The architecture distribution.
        parent: The parent network (theta).
        theta_optimizer: Optimiser of theta.
        alpha_optimizer: Optimiser of the distribution and of control-variate parameters.
        make_loss: Builds the loss closure of a batch.
        cost_term: Returns the differentiable resource term, a scalar; called once for each alpha
            step.
        generator: Source of the estimator's noise.
        theta_clip: Largest norm of theta's gradient; 0: unlimited.
        alpha_clip: Largest norm of alpha's gradient; 0: unlimited.
        reduce: Averages gradients over processes; called before clipping.
        share: Averages a value over processes, differentiably.
        transformers: Change the loss closure of every step, or add a penalty to alpha's objective.
        policy: Draws the architectures that train theta, where that is a pass of its own; None:
            the estimator does.
        check: Is handed every loss before it is used; raises where one is not finite (now, or
            where reading it back would make every step wait: later).
    """

    estimator: Estimator
    dist: Distribution
    parent: nn.Module
    theta_optimizer: torch.optim.Optimizer
    alpha_optimizer: torch.optim.Optimizer
    make_loss: LossFactory
    cost_term: Callable[[], Tensor | None]
    generator: torch.Generator
    theta_clip: float = 0.0
    alpha_clip: float = 0.0
    reduce: Callable[[Iterable[Tensor]], None] = lambda parameters: None
    share: Callable[[Tensor], Tensor] = lambda value: value
    transformers: Transformers | None = None
    policy: ThetaPolicy | None = None
    check: Callable[[Tensor], None] = check_finite
    _parameters: list[nn.Parameter] = field(default_factory=list, init=False, repr=False)

    def loss(self, loss: Loss, role: Role) -> Recorded:
        """Return the loss of a step, transformed, that remembers its first evaluation."""
        return Recorded(loss if self.transformers is None else self.transformers.loss(loss, role))

    def penalty(self, role: Role) -> Tensor | None:
        """Return the transformers' penalty for alpha, a scalar, or None."""
        if self.transformers is None or not self.estimator.has_alpha_gradient:
            return None
        return self.transformers.penalty(self.dist, role)

    def theta(self) -> list[Tensor]:
        """Return the trainable network weights (walking over the modules takes a while: once)."""
        if not self._parameters:
            self._parameters = list(self.parent.parameters())
        return [p for p in self._parameters if p.requires_grad]

    def alpha(self) -> list[Tensor]:
        """Return the parameters of the distribution."""
        return [p for p in self.dist.parameters() if p.requires_grad]

    def control(self) -> list[Tensor]:
        """Return the estimator's own (control-variate) parameters."""
        return [p for p in self.estimator.parameters() if p.requires_grad]


@dataclass(frozen=True)
class StepResult:
    """What one search step measured; where it was measured, so that a step reads nothing back.

    Attributes:
        measured: Mean training loss of the sampled weights in nats, fraction of the training batch
            misclassified, resource term (without eta's effect removed) or 0; shape ``(3,)``,
            float64.
    """

    measured: Tensor

    @property
    def loss(self) -> float:
        """Mean training loss of the sampled weights, in nats."""
        return float(self.measured[0])

    @property
    def error(self) -> float:
        """Fraction of the training batch misclassified."""
        return float(self.measured[1])

    @property
    def cost(self) -> float:
        """The resource term, or 0."""
        return float(self.measured[2])


def search_step(
    level: LevelName,
    learner: Learner,
    train_batch: Batch,
    arch_batch: Batch | None,
    *,
    train_alpha: bool = True,
    hessian: Literal["exact", "finite-difference"] = "exact",
) -> StepResult:
    """Do one step of the search.

    Args:
        level: How theta and alpha alternate.
        learner: What is trained.
        train_batch: Images and labels for theta (and alpha, when joint).
        arch_batch: Images and labels for alpha; needed unless ``joint``.
        train_alpha: Whether alpha's optimiser steps (off while theta warms up).
        hessian: Hessian-vector product of ``unrolled``.

    Raises:
        DivergedError: The loss is not finite; nothing was changed by this step's optimisers.
        ConfigError: ``arch_batch`` is missing, or a policy is to draw at the level ``joint``.
    """
    if level == "joint":
        if learner.policy is not None:
            raise ConfigError("level 'joint' has no step of theta's own that a policy could draw.")
        return _joint(learner, train_batch, train_alpha)
    if arch_batch is None:
        raise ConfigError(f"level {level!r} needs a batch of the architecture split.")
    cost: Tensor | None = None
    if train_alpha:
        outer = learner.make_loss(arch_batch, theta=level == "unrolled")
        if level == "unrolled":
            rate = float(learner.theta_optimizer.param_groups[0]["lr"])
            inner = learner.make_loss(train_batch)
            unrolled = UnrolledLoss(
                learner.parent, outer, inner, rate, hessian, share=learner.share
            )
            cost = _alpha_step(learner, unrolled)
        else:
            cost = _alpha_step(learner, outer)
    return _theta_step(learner, train_batch, cost)


def _joint(learner: Learner, batch: Batch, train_alpha: bool) -> StepResult:
    loss = learner.loss(learner.make_loss(batch), "joint" if train_alpha else "theta")
    noise = learner.estimator.noise(learner.dist, 1, learner.generator)
    if not train_alpha:
        weights = learner.estimator.weights(learner.dist, noise).detach()
        value = loss(weights).mean()
        learner.check(value)
        zero_gradients(learner.theta())
        value.backward()
        finish_step(learner.theta(), learner.theta_optimizer, learner.theta_clip, learner.reduce)
        return StepResult(loss.measured(None))
    value, cost = _surrogate(learner, loss, noise, "joint")
    zero_gradients(learner.theta() + learner.alpha() + learner.control())
    control = _control_gradients(learner, value)
    value.backward()
    for parameter, gradient in zip(learner.control(), control, strict=True):
        parameter.grad = gradient
    finish_step(learner.theta(), learner.theta_optimizer, learner.theta_clip, learner.reduce)
    _finish_alpha(learner)
    return StepResult(loss.measured(cost))


def _alpha_step(learner: Learner, loss: Loss) -> Tensor | None:
    """Train alpha (and control variates) on ``loss``; theta is left as it is."""
    noise = learner.estimator.noise(learner.dist, 1, learner.generator)
    value, cost = _surrogate(learner, learner.loss(loss, "alpha"), noise, "alpha")
    inputs = learner.alpha() + learner.control()
    watch = None if learner.transformers is None else learner.transformers.watch
    watched: list[nn.Parameter] = [] if watch is None else watch.parameters()
    zero_gradients([*inputs, *watched])
    control = _control_gradients(learner, value)
    if value.requires_grad:
        value.backward(inputs=[*inputs, *watched])
    if watch is not None:
        learner.reduce(watched)
        watch.after_alpha()
    for parameter, gradient in zip(learner.control(), control, strict=True):
        parameter.grad = gradient
    _finish_alpha(learner)
    return cost


def _theta_step(learner: Learner, batch: Batch, cost: Tensor | None) -> StepResult:
    if learner.policy is None:
        loss = learner.loss(learner.make_loss(batch), "theta")
        with torch.no_grad():
            noise = learner.estimator.noise(learner.dist, 1, learner.generator)
            weights = learner.estimator.weights(learner.dist, noise)
        value = loss(weights).mean()
    else:
        loss = learner.loss(learner.make_loss(batch, single_path=True), "theta")
        drawn = learner.policy.draw().to(next(learner.dist.parameters()).device)
        weights = one_hot(drawn, learner.dist.num_operations, learner.dist.dtype)
        value = loss(weights[None]).sum()
    learner.check(value)
    zero_gradients(learner.theta())
    value.backward()
    finish_step(learner.theta(), learner.theta_optimizer, learner.theta_clip, learner.reduce)
    if learner.transformers is not None and learner.transformers.watch is not None:
        learner.transformers.watch.after_theta()
    return StepResult(loss.measured(cost))


def _surrogate(
    learner: Learner, loss: Loss, noise: object, role: Role
) -> tuple[Tensor, Tensor | None]:
    value = learner.estimator.surrogate(loss, learner.dist, noise).sum()
    term, penalty = learner.cost_term(), learner.penalty(role)
    for added in (term, penalty):
        if added is not None:
            value = value + added
    learner.check(value)
    return value, None if term is None else term.detach()


def _control_gradients(learner: Learner, value: Tensor) -> list[Tensor | None]:
    """Return the gradient of the estimate's squared norm for the control-variate parameters."""
    control = learner.control()
    if not (learner.estimator.tunes_variance and control):
        return [None] * len(control)
    alpha = torch.autograd.grad(value, learner.alpha(), create_graph=True)
    squared = torch.stack([(learner.share(g) ** 2).sum() for g in alpha]).sum()
    grads = torch.autograd.grad(squared, control, retain_graph=True, allow_unused=True)
    return [None if g is None else g.detach().clone() for g in grads]  # never a view


def _finish_alpha(learner: Learner) -> None:
    """Step alpha, then replay the stored draw for the remaining updates.

    An estimator without alpha gradient keeps its distribution (no weight decay moves it).
    """
    if not learner.estimator.has_alpha_gradient:
        return
    parameters = learner.alpha() + learner.control()
    for update in range(learner.estimator.updates):
        if update > 0:
            again = learner.estimator.replay(learner.dist)
            if again is None:
                break
            zero_gradients(parameters)
            again.sum().backward()
        finish_step(parameters, learner.alpha_optimizer, learner.alpha_clip, learner.reduce)


def zero_gradients(parameters: Iterable[Tensor]) -> None:
    """Set gradients to zero tensors: unused weights keep decaying, whatever parent runs."""
    known: dict[torch.device, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        else:
            known.setdefault(parameter.device, []).append(parameter.grad.detach_())
    for gradients in known.values():
        torch._foreach_zero_(gradients)


def finish_step(
    parameters: list[Tensor],
    optimizer: torch.optim.Optimizer,
    clip: float,
    reduce: Callable[[Iterable[Tensor]], None],
) -> None:
    """Average gradients over processes, clip their norm (0: not), and step."""
    reduce(parameters)
    if clip > 0 and parameters:
        nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


class Recorded:
    """A loss closure that remembers the mean loss and error of its first evaluation."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._first: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the losses of ``z``, shape ``(R, n)``."""
        losses = self._loss(z, run)
        if self._first is None:
            self._first = (losses.detach().mean(), self._loss.error(z).mean())
        return losses

    def error(self, z: Tensor) -> Tensor:
        """Return the errors of ``z``, shape ``(R, n)``."""
        return self._loss.error(z)

    def measured(self, cost: Tensor | None) -> Tensor:
        """Return loss and error of the first evaluation (NaN if there was none), and the cost."""
        if self._first is None:
            return torch.tensor([float("nan"), float("nan"), 0.0 if cost is None else float(cost)])
        loss, error = (value.double() for value in self._first)
        rest = torch.zeros_like(loss) if cost is None else cost.to(loss)
        return torch.stack([loss, error, rest])
