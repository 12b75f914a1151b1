"""Optimisation levels: how theta and alpha alternate, for every estimator.

``joint`` (SNAS, section 3.1 of arXiv:1812.09926): one batch and one backward pass train both.
``bilevel`` (DARTS first order, arXiv:1806.09055): alpha on the architecture split, then theta on
the training split. ``unrolled`` (DARTS second order, its eqs. 6-8): as ``bilevel``, but alpha's
loss is evaluated at ``theta - xi grad_theta L_train``; the Hessian-vector product comes from
autograd, or from the finite difference of eq. 8.

A level transforms the loss closure and says when optimisers step; it knows no estimator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nasbench_snas.api import Distribution, Estimator, Loss
from nasbench_snas.errors import ConfigError, DivergedError
from nasbench_snas.search.objective import SupernetLoss, losses_and_errors

LevelName = Literal["joint", "bilevel", "unrolled"]
Batch = tuple[Tensor, Tensor]
LossFactory = Callable[[Batch], SupernetLoss]


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

    def theta(self) -> list[Tensor]:
        """Return the trainable network weights."""
        return [p for p in self.parent.parameters() if p.requires_grad]

    def alpha(self) -> list[Tensor]:
        """Return the parameters of the distribution."""
        return [p for p in self.dist.parameters() if p.requires_grad]

    def control(self) -> list[Tensor]:
        """Return the estimator's own (control-variate) parameters."""
        return [p for p in self.estimator.parameters() if p.requires_grad]


@dataclass(frozen=True)
class StepResult:
    """What one search step measured.

    Attributes:
        loss: Mean training loss of the sampled weights, in nats.
        error: Fraction of the training batch misclassified.
        cost: The resource term (without eta's effect removed), or 0.
    """

    loss: float
    error: float
    cost: float


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
        ConfigError: ``arch_batch`` is missing.
    """
    if level == "joint":
        return _joint(learner, train_batch, train_alpha)
    if arch_batch is None:
        raise ConfigError(f"level {level!r} needs a batch of the architecture split.")
    cost = 0.0
    if train_alpha:
        outer = learner.make_loss(arch_batch)
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
    loss = Recorded(learner.make_loss(batch))
    noise = learner.estimator.noise(learner.dist, 1, learner.generator)
    if not train_alpha:
        weights = learner.estimator.weights(learner.dist, noise).detach()
        value = loss(weights).mean()
        _check_finite(value)
        zero_gradients(learner.theta())
        value.backward()
        finish_step(learner.theta(), learner.theta_optimizer, learner.theta_clip, learner.reduce)
        return StepResult(*loss.means(), 0.0)
    value, cost = _surrogate(learner, loss, noise)
    zero_gradients(learner.theta() + learner.alpha() + learner.control())
    control = _control_gradients(learner, value)
    value.backward()
    for parameter, gradient in zip(learner.control(), control, strict=True):
        parameter.grad = gradient
    finish_step(learner.theta(), learner.theta_optimizer, learner.theta_clip, learner.reduce)
    _finish_alpha(learner)
    return StepResult(*loss.means(), cost)


def _alpha_step(learner: Learner, loss: Loss) -> float:
    """Train alpha (and control variates) on ``loss``; theta is left as it is."""
    noise = learner.estimator.noise(learner.dist, 1, learner.generator)
    value, cost = _surrogate(learner, Recorded(loss), noise)
    inputs = learner.alpha() + learner.control()
    zero_gradients(inputs)
    control = _control_gradients(learner, value)
    if value.requires_grad:
        value.backward(inputs=inputs)
    for parameter, gradient in zip(learner.control(), control, strict=True):
        parameter.grad = gradient
    _finish_alpha(learner)
    return cost


def _theta_step(learner: Learner, batch: Batch, cost: float) -> StepResult:
    loss = Recorded(learner.make_loss(batch))
    with torch.no_grad():
        noise = learner.estimator.noise(learner.dist, 1, learner.generator)
        weights = learner.estimator.weights(learner.dist, noise)
    value = loss(weights).mean()
    _check_finite(value)
    zero_gradients(learner.theta())
    value.backward()
    finish_step(learner.theta(), learner.theta_optimizer, learner.theta_clip, learner.reduce)
    return StepResult(*loss.means(), cost)


def _surrogate(learner: Learner, loss: Loss, noise: object) -> tuple[Tensor, float]:
    value = learner.estimator.surrogate(loss, learner.dist, noise).sum()
    term = learner.cost_term()
    if term is not None:
        value = value + term
    _check_finite(value)
    return value, 0.0 if term is None else float(term.detach())


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
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        else:
            parameter.grad.detach_().zero_()


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


def _check_finite(value: Tensor) -> None:
    if not torch.isfinite(value.detach()).all():
        raise DivergedError(f"the search loss became {float(value.detach())}.")


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

    def means(self) -> tuple[float, float]:
        """Return loss and error of the first evaluation (NaN if there was none)."""
        if self._first is None:
            return float("nan"), float("nan")
        return float(self._first[0]), float(self._first[1])


class UnrolledLoss:
    """``L_val(theta - xi grad_theta L_train(theta, z), z)``: the objective of second-order DARTS.

    Each architecture has its own unrolled weights. The inner gradient has neither momentum nor
    weight decay (the released code adds both; eq. 7 of the DARTS paper has neither). Running
    statistics of batch norms are not updated. No copy of the network is built: weights are passed
    functionally.

    Args:
        parent: The network.
        outer: Loss of the architecture batch.
        inner: Loss of the training batch.
        rate: ``xi``, the inner learning rate.
        hessian: ``exact``, or the finite difference of eq. 8 with step ``difference / |v|``.
        difference: Length of the finite difference; DARTS' 0.01 is coarse where ReLUs switch.
        share: Averages a value over processes, differentiably.
    """

    def __init__(
        self,
        parent: nn.Module,
        outer: SupernetLoss,
        inner: SupernetLoss,
        rate: float,
        hessian: Literal["exact", "finite-difference"] = "exact",
        difference: float = 0.01,
        share: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> None:
        self._difference, self._share = difference, share
        self._parent, self._outer, self._inner = parent, outer, inner
        self._rate, self._hessian = rate, hessian
        self._error: Tensor | None = None
        self._run: Tensor | None = None  # of the architecture that is evaluated now

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the unrolled losses of ``z``, shape ``(R, n)``; see ``api.Loss``."""
        one = self._exact if self._hessian == "exact" else self._finite_difference
        flat = z.flatten(0, 1)
        masks = None if run is None else run.flatten(0, 1)
        with torch.enable_grad():  # the inner gradient is needed without an outer graph, too
            results = []
            for s in range(flat.shape[0]):
                self._run = None if masks is None else masks[s : s + 1]
                results.append(one(flat[s : s + 1]))
        self._error = torch.stack([error for _, error in results]).view(z.shape[:2])
        losses = torch.stack([loss for loss, _ in results]).view(z.shape[:2])
        return losses if torch.is_grad_enabled() else losses.detach()

    def error(self, z: Tensor) -> Tensor:
        """Return the errors of the last evaluation, shape ``(R, n)``."""
        if self._error is None or self._error.shape != z.shape[:2]:
            with torch.enable_grad():
                self(z.detach())
        if self._error is None:
            raise RuntimeError("no evaluation was recorded")
        return self._error

    def _exact(self, z: Tensor) -> tuple[Tensor, Tensor]:
        theta = dict(self._parent.named_parameters())
        train, _ = self._evaluate(self._inner, theta, z)
        keep = z.requires_grad
        gradient = torch.autograd.grad(
            train, list(theta.values()), create_graph=keep, allow_unused=True
        )
        moved = _moved(theta, self._shared(gradient), -self._rate)
        return self._evaluate(self._outer, moved, z)

    def _finite_difference(self, z: Tensor) -> tuple[Tensor, Tensor]:
        theta = {name: p.detach() for name, p in self._parent.named_parameters()}
        fixed = z.detach()
        inner = self._gradient(self._inner, theta, fixed)
        unrolled = {n: p.requires_grad_() for n, p in _moved(theta, inner, -self._rate).items()}
        leaf = fixed.clone().requires_grad_()
        value, error = self._evaluate(self._outer, unrolled, leaf)
        direct, *own = torch.autograd.grad(value, [leaf, *unrolled.values()], allow_unused=True)
        vector = self._shared(own)
        norm = torch.stack([(v**2).sum() for v in vector if v is not None]).sum().sqrt()
        step = self._difference / float(norm)
        slopes = []
        for sign in (1.0, -1.0):
            near = _moved(theta, vector, sign * step)
            leaf = fixed.clone().requires_grad_()
            loss, _ = self._evaluate(self._inner, near, leaf)
            slopes.append(torch.autograd.grad(loss, leaf)[0])
        total = direct - self._rate * (slopes[0] - slopes[1]) / (2 * step)
        return value.detach() + ((z - fixed) * total).sum(), error

    def _gradient(
        self, loss: SupernetLoss, theta: Mapping[str, Tensor], z: Tensor
    ) -> list[Tensor | None]:
        leaves = {name: p.clone().requires_grad_() for name, p in theta.items()}
        value, _ = self._evaluate(loss, leaves, z)
        own = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        return self._shared(own)

    def _shared(self, gradients: Iterable[Tensor | None]) -> list[Tensor | None]:
        return [None if g is None else self._share(g) for g in gradients]

    def _evaluate(
        self, loss: SupernetLoss, theta: Mapping[str, Tensor], z: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return loss and error (scalars) at weights ``theta``; ``z`` has shape ``(1, E, K)``."""
        buffers = {name: b.clone() for name, b in self._parent.named_buffers()}
        everything = loss.all_operations if self._run is None else self._run
        logits = functional_call(
            self._parent,
            (dict(theta), buffers),
            (loss.images, z),
            {"all_operations": everything, "edge_mask": loss.edge_mask},
        )
        losses, errors = losses_and_errors(logits, loss.labels)
        return self._share(losses[0]), self._share(errors[0])


def _moved(
    theta: Mapping[str, Tensor], direction: Iterable[Tensor | None], factor: float
) -> dict[str, Tensor]:
    """Return ``theta + factor * direction``; a missing direction is zero."""
    pairs = zip(theta.items(), direction, strict=True)
    return {name: p if d is None else p + factor * d for (name, p), d in pairs}
