"""One draw of any estimator for a function of one's own.

``logits`` of shape ``(..., E, K)``: for each leading index, ``E`` independent categorical variables
with ``K`` values. The leading indices become replicates, so that each has its own draws, its own
baselines and its own credit, whatever the estimator.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.seeding import stream
from nasbench_snas.settings.parameters import resolve_parameters

Function = Callable[[Tensor], Tensor]
MOST_STATES = 20_000


class GivenCategorical(Categorical):
    """Factorised categorical whose logits are another computation's output.

    Args:
        logits: Shape ``(R, E, K)``; the graph is kept.
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)
        self.given = logits

    @property
    def logits(self) -> Tensor:
        """The given logits, shape ``(R, E, K)``."""
        return self.given


class FunctionLoss:
    """``f`` as the loss that an estimator sees.

    Args:
        f: Maps ``(S, ..., E, K)`` to ``(S, ...)``.
        batch: The leading shape of the logits.
        name: Of the estimator, for messages.
        everything: Whether the slope of values with weight zero is passed on.
    """

    def __init__(self, f: Function, batch: tuple[int, ...], name: str, everything: bool) -> None:
        self.f, self.batch, self.name, self.everything = f, batch, name, everything

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the values of ``z``, shape ``(R, n)`` for weights ``(R, n, E, K)``.

        The gradient of categories with weight zero is dropped, as the parent network drops it,
        except where ``run`` (broadcast to ``z``) asks for it.
        """
        n = z.shape[1]
        wanted = z.detach() != 0 if run is None else (z.detach() != 0) | run.bool()
        kept = z if self.everything else torch.where(wanted, z, torch.zeros_like(z))
        value = self.f(kept.movedim(1, 0).reshape(n, *self.batch, *z.shape[2:]))
        if not isinstance(value, Tensor) or value.shape != (n, *self.batch):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"f returned {found} for {n} samples.",
                f"Expected one value for each sample and leading index: {(n, *self.batch)}.",
                "Sum or average over everything else inside f.",
            )
        if z.requires_grad and not value.requires_grad:
            raise ConfigError(
                f"{self.name} differentiates f, but f's values have no graph.",
                "A black-box f needs a score-function estimator.",
                "Use rloo, unordered-set, local-expectation or disarm-tree.",
            )
        return value.reshape(n, -1).movedim(0, 1)

    def error(self, z: Tensor) -> Tensor:
        """Return the values of ``z`` without a graph: a function has no other error."""
        with torch.no_grad():
            return self(z)


def make_estimator(name: str | type[Estimator], **settings: Any) -> Estimator:
    """Return an estimator to be passed to :func:`estimate`, for what keeps state between calls.

    Args:
        name: As in ``nasbench ls estimators``, or a class.
        **settings: Its settings; ``nasbench show NAME`` lists them.

    Raises:
        PluginError: The name is unknown.
        ConfigError: A setting is wrong, or the estimator is not for functions of one's own.
    """
    cls = Registry().estimator(name) if isinstance(name, str) else name
    if not (isinstance(cls, type) and issubclass(cls, Estimator)):
        raise ConfigError(
            f"{str(name)[:80]!r} is no estimator.",
            "Expected a name, a subclass of nasbench_snas.api.Estimator, or an object of one.",
        )
    if name == "exact":
        settings = {"limit": MOST_STATES} | settings
    refuse_misfit(cls)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return cls(**resolve_parameters(cls, settings, f"estimator {cls.name}"))


def refuse_misfit(cls: Any) -> None:
    """Raise if ``cls``, a class of estimators, needs more than logits and a function.

    Raises:
        ConfigError: It has a distribution or a network of its own, or estimates no gradient.
    """
    reason = ""
    with torch.random.fork_rng(devices=[]):  # a fresh object shows what class and defaults say
        torch.manual_seed(0)
        if not cls.has_alpha_gradient:
            reason = "It estimates no gradient."
        elif cls().partial_channels != 1:
            reason = "It sends a part of a network's channels through the operations."
        else:
            shape = cast(Space, SimpleNamespace(num_edges=2, num_operations=3))
            dist = cls().make_distribution(shape, stream(0, "functional"))
            if type(dist) is not Categorical:
                reason = "It searches with a distribution of its own, not with given logits."
    if reason:
        raise ConfigError(
            f"{cls.name} does not fit a function of one's own.", reason, "Use it in a search."
        )


def estimate(
    logits: Tensor,
    f: Function,
    *,
    estimator: str | type[Estimator] | Estimator = "rloo",
    generator: torch.Generator,
    **settings: Any,
) -> Tensor:
    """Return an estimate of ``E[f(z)]`` whose backward pass is the estimator's gradient.

    Args:
        logits: Shape ``(..., E, K)``; a leaf or any computation's output.
        f: Maps ``z``, ``(S, ..., E, K)``, to one value for each sample and leading index,
            ``(S, ...)``. ``z`` is one-hot for score-function estimators, else soft or
            straight-through. Its own parameters get their gradient too.
        estimator: A name, a class, or an object (of :func:`make_estimator`) for what keeps state.
        generator: Source of all randomness, on the device of the logits.
        **settings: Of the estimator, if it is given by name or class.

    Returns:
        Shape ``(...)``; sum or average it, and call ``backward``.

    Raises:
        ConfigError: Shapes or settings do not fit, the estimator keeps state and was given by
            name, or it differentiates an f without a graph.
        PluginError: The estimator is unknown.
    """
    if logits.dim() < 2 or not logits.is_floating_point():
        raise ConfigError(
            f"logits of shape {tuple(logits.shape)} and type {logits.dtype}.",
            "Expected floating-point logits (..., E, K): E variables with K values.",
        )
    if not isinstance(estimator, Estimator):
        method = make_estimator(estimator, **settings)
        if method.state_dict():
            raise ConfigError(
                f"{method.name} keeps state between calls (a baseline or learnt parameters).",
                "A function cannot keep it.",
                f'Make it once: method = make_estimator("{method.name}"), then estimator=method.',
            )
    elif settings:
        raise ConfigError(f"settings {sorted(settings)} beside an estimator object.")
    else:
        method = estimator
        refuse_misfit(type(method))
    batch = tuple(logits.shape[:-2])
    dist = GivenCategorical(logits.reshape(-1, *logits.shape[-2:]))
    if method.enumerates and logits.shape[-1] ** logits.shape[-2] > MOST_STATES:
        states = f"{logits.shape[-1]}^{logits.shape[-2]}"
        raise ConfigError(
            f"{method.name} would enumerate {states} states.", f"At most {MOST_STATES} are."
        )
    loss = FunctionLoss(f, batch, method.name, method.needs_all_operations)
    noise = method.noise(dist, dist.replicates, generator)
    value = method.surrogate(loss, dist, noise)
    return value.reshape(batch)


def variance_objective(value: Tensor, logits: Tensor) -> Tensor:
    """Return the squared length of the estimate, to train a control variate's parameters by.

    Args:
        value: What :func:`estimate` returned for an estimator that has ``tunes_variance``.
        logits: The logits it was called with.

    Returns:
        A scalar; differentiate it with respect to the estimator's ``parameters()`` only.
    """
    (gradient,) = torch.autograd.grad(value.sum(), logits, create_graph=True, retain_graph=True)
    return gradient.square().sum()
