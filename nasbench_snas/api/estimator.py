"""The contract of an estimator, and the two families that cover most of them.

An estimator is handed a loss closure and says which gradient it gives the architecture parameters.
Everything else (space, supernet, cost, optimisation level, data, statistics, reports) is shared
and does not know which estimator it serves. It never sees the network, and it draws no randomness
besides ``noise``: a draw is a pure function of its noise, so that common random numbers, exact
tests and replay come for free. ``dist`` is annotated as ``Any`` in the base classes: a subclass
states which :class:`Distribution` it needs.

Symbols: ``R`` replicates (independent gradient draws in one backward pass), ``n`` architectures
per draw, ``E`` edges, ``K`` operations, ``z`` weights of the operations, shape ``(R, n, E, K)``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.distributions import Categorical, Distribution
from nasbench_snas.architecture.schedules import ScheduleKind, anneal
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError

DeriveRule = Literal["argmax", "top2", "sample", "best-of-N"]
"""How a child may be derived."""


class Loss(Protocol):
    """The objective ``L_theta(Z)`` on one minibatch, as an estimator sees it."""

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the loss of each weighted architecture, shape ``(R, n)``, graph attached.

        Args:
            z: Weights, shape ``(R, n, E, K)``: soft, one-hot or any real values. Operations with
                weight zero are skipped unless the estimator has ``needs_all_operations``.
            run: Mask ``(R, n, E, K)`` of operations that run even if their weight is exactly zero,
                so that their ``dL/dz`` is known; None: no further ones.
        """

    def error(self, z: Tensor) -> Tensor:
        """Return the fraction of the minibatch misclassified, shape ``(R, n)``, without a graph."""


def score_term(weight: Tensor, log_prob: Tensor) -> Tensor:
    """Return a term of value zero whose gradient is ``weight * grad(log_prob)``.

    It stays differentiable with respect to ``weight``, so that control variates can be tuned by
    the gradient of the estimate's squared norm.
    """
    return weight * (log_prob - log_prob.detach())


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return ``hard`` in value with the gradient of ``soft``; exactly one-hot if ``hard`` is."""
    return hard + (soft - soft.detach())


class Estimator(nn.Module):
    """A gradient estimator: noise and a surrogate.

    A subclass lives in a file of its own, is registered under ``name``, and takes its settings as
    keyword arguments of ``__init__``. The class attributes below must be literals: listings read
    them without importing anything.

    Attributes:
        name: Key in settings, files and reports.
        family: What kind of method it is, for listings.
        reference: A key of ``references.bib``, or a BibTeX entry.
        evaluations: Cost of one draw in words, in forward (F) and backward passes of one
            architecture; ``K F`` is a forward pass through all operations.
        bias: ``unbiased`` for the expected loss of discrete architectures (or of the
            distribution's own objective), ``consistent`` (the bias vanishes with the temperature),
            ``biased``, or ``none`` where no gradient is estimated.
        version: Raised when a change alters results; part of a run's identity.
        has_alpha_gradient: Whether ``backward`` reaches the distribution's parameters.
        has_theta_gradient: Whether ``backward`` reaches theta (through the losses).
        needs_all_operations: Whether ``dL/dz`` of operations with weight zero is used.
        dense: Whether no weight is zero but by underflow. On a GPU all operations then run, nothing
            is read back to find out which, and a step is the same launches every time.
        single_path: Whether every loss it asks for is of architectures with at most one weight on
            an edge that is not zero, and no other ``dL/dz`` is used. On a GPU the device then
            chooses the operations by itself: a step is the same launches whatever is drawn, and
            nothing is read back. A loss with more weights is NaN there.
        needs_factorised: Whether only a factorised distribution will do.
        search_view: Weights with which the parent is validated during the search: a ``soft``
            sample, a ``hard`` sample, or the ``mean`` (probabilities).
        derive_rule: How the child is derived: ``argmax`` over all operations on every edge,
            ``top2`` (DARTS: the two strongest edges of each node, without ``none``), or
            ``best-of-N`` (the draw that validates best, by images set apart for it).
        n: Architectures per draw.
        updates: Optimiser steps on the distribution per draw; after the first, :meth:`replay` is
            used.
        enumerates: Whether it evaluates every architecture (only enumerable spaces will do).
        tunes_variance: Whether its own parameters are trained by the gradient of the estimate's
            squared norm; the driver then differentiates the estimate itself.
        needs_double_backward: Whether it differentiates gradients of the loss (a plain parent
            network then runs, since the fused one offers first derivatives only).
        exponentiated: Whether the search updates probabilities by ``p * exp(-lr gradient)``, plain
            steps in logits, instead of by its optimiser.
        partial_channels: ``k``: the parent sends only ``1/k`` of the channels through operations.
        claims: What is true of the gradient beyond ``bias``, for ``nasbench check`` to test; see
            :mod:`nasbench_snas.testing.claims`. A biased estimator without claims is not tested.
        penalties: Settings of terms that are no part of the loss's gradient, and the values that
            switch them off: gradients are measured without them, and apart with them.
        conformance_settings: Settings that make the checks cheap.
        conformance_variants: Further settings under which the gradient is checked.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    reference: ClassVar[str]
    evaluations: ClassVar[str]
    bias: ClassVar[Literal["unbiased", "consistent", "biased", "none"]]
    version: ClassVar[int] = 1
    claims: ClassVar[Mapping[str, Any]] = {}
    conformance_settings: ClassVar[Mapping[str, Any]] = {}
    penalties: ClassVar[Mapping[str, Any]] = {}
    conformance_variants: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    has_alpha_gradient: ClassVar[bool] = True
    has_theta_gradient: ClassVar[bool] = True
    dense: ClassVar[bool] = False
    single_path: ClassVar[bool] = False
    needs_factorised: ClassVar[bool] = True
    enumerates: ClassVar[bool] = False
    exponentiated: ClassVar[bool] = False
    search_view: ClassVar[Literal["soft", "hard", "mean"]] = "hard"
    derive_rule: ClassVar[DeriveRule] = "argmax"
    needs_all_operations: bool = False
    n: int = 1
    updates: int = 1
    tunes_variance: bool = False
    needs_double_backward: bool = False
    partial_channels: int = 1

    def make_distribution(self, space: Space, generator: torch.Generator) -> Distribution:
        """Return the distribution to search with; by default logits ``N(0, 1e-3)``.

        Operations that an edge does not have (``space.absent``) have probability zero in it.
        """
        shape = (space.num_edges, space.num_operations)
        absent = getattr(space, "absent", ())  # a function of one's own has all of them
        mask = torch.tensor(absent) if absent else None
        return Categorical(1e-3 * torch.randn(shape, generator=generator), mask)

    def noise(self, dist: Any, replicates: int, generator: torch.Generator) -> Any:
        """Return all randomness of one draw: a tensor, a tuple of tensors, or None."""
        return dist.noise(replicates, self.n, generator)

    @abstractmethod
    def surrogate(self, loss: Loss, dist: Any, noise: Any) -> Tensor:
        """Return a scalar for each replicate, shape ``(R,)``.

        Its value estimates ``E[L]``; its backward pass is the method's gradient for the
        architecture parameters, for theta and for the estimator's own parameters. Changing state
        (baselines) is allowed in training mode only.
        """

    def weights(self, dist: Any, noise: Any) -> Tensor:
        """Return the weights theta is trained with when alpha is trained elsewhere (bilevel).

        Returns:
            Shape ``(R, n, E, K)``; by default the hard sample. ``noise`` is :meth:`noise`'s.
        """
        hard: Tensor = dist.hard(noise)
        return hard

    def replay(self, dist: Any) -> Tensor | None:
        """Return the surrogate of the stored draw for a further update, shape ``(R,)``, or None."""
        return None

    def set_progress(self, t: float) -> None:
        """Set all schedules to the fraction ``t`` in [0, 1] of the run's own length."""

    def progress_values(self) -> dict[str, float]:
        """Return what schedules and baselines stand at, for logs (for example the temperature)."""
        return {}


class Pathwise(Estimator):
    """Estimators that differentiate through the weights: implement :meth:`relax` only."""

    family = "pathwise"

    @abstractmethod
    def relax(self, dist: Any, noise: Any) -> Tensor:
        """Return differentiable (soft or straight-through) weights, shape ``(R, n, E, K)``."""

    def surrogate(self, loss: Loss, dist: Any, noise: Any) -> Tensor:
        """Return the mean loss of the relaxed weights; see :meth:`Estimator.surrogate`."""
        return loss(self.relax(dist, noise)).mean(dim=1)

    def weights(self, dist: Any, noise: Any) -> Tensor:
        """Return the relaxed weights; see :meth:`Estimator.weights`."""
        return self.relax(dist, noise)


class AnnealedPathwise(Pathwise):
    """Pathwise estimators with a temperature that is annealed over the run's own length.

    A subclass with other defaults repeats the signature: it is what settings are read from.

    Args:
        tau_start: Temperature at the start.
        tau_end: Temperature at the end.
        schedule: How it moves over the run: ``linear``, ``geometric`` or ``constant``.
        n: Architectures per draw.

    Attributes:
        tau: The temperature now.

    Raises:
        ConfigError: A temperature is not positive.
    """

    def __init__(
        self,
        tau_start: float = 1.0,
        tau_end: float = 0.1,
        schedule: ScheduleKind = "linear",
        n: int = 1,
    ) -> None:
        super().__init__()
        if tau_start <= 0 or tau_end <= 0:
            raise ConfigError(f"temperatures must be positive, got {tau_start} and {tau_end}.")
        self.tau_start, self.tau_end, self.schedule, self.n = tau_start, tau_end, schedule, n
        self.tau = tau_start

    def set_progress(self, t: float) -> None:
        """Set the temperature."""
        self.tau = anneal(self.schedule, self.tau_start, self.tau_end, t)

    def progress_values(self) -> dict[str, float]:
        """Return the temperature."""
        return {"temperature": self.tau}


class Score(Estimator):
    """Score-function estimators: implement :meth:`advantage` only.

    The gradient is ``mean_i A_i grad log p(Z_i)`` (Williams 1992).
    """

    family = "score"
    needs_factorised = False

    @abstractmethod
    def advantage(self, losses: Tensor, loss: Loss, dist: Any, z: Tensor) -> Tensor:
        """Return the weights of the scores, detached.

        Args:
            losses: Losses of the draws, shape ``(R, n)``, detached.
            loss: The objective, for further evaluations.
            dist: The distribution.
            z: The one-hot draws, shape ``(R, n, E, K)``.

        Returns:
            Advantages of the whole architecture, ``(R, n)``, or of each decision, ``(R, n, E)``.
        """

    def surrogate(self, loss: Loss, dist: Any, noise: Any) -> Tensor:
        """Return mean losses plus the score terms; see :meth:`Estimator.surrogate`."""
        z = dist.hard(noise)
        losses = loss(z)
        advantage = self.advantage(losses.detach(), loss, dist, z)
        advantage = advantage if advantage.dim() == 3 else advantage[..., None]
        return (losses + score_term(advantage, dist.log_prob(z)).sum(dim=-1)).mean(dim=1)
