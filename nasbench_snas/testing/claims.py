"""What an estimator declares about its gradient, and how the declaration is found.

``bias = "unbiased"`` is itself a declaration: the mean gradient is the exact one. All others say
more in ``claims``, a class attribute that maps

* ``"draw"`` to a formula of one draw: given a :class:`Point` it returns a :class:`Draw`, or just
  the pair of its gradient and weights. It is compared draw by draw, for alpha, theta and the value;
  nothing is left to chance, so that any difference shows. Best where the paper gives the gradient
  of a draw in closed form.
* ``"mean"`` to a function of a :class:`Point` (without noise) that returns the mean gradient,
  shape ``(d,)``, by a closed form or by quadrature.
* ``"objective"`` to a function of a :class:`Point` (without noise) that returns the scalar whose
  gradient the mean is: for estimators that are unbiased for an objective of their own.
* ``"exact_on"`` to ``"linear"``, ``"multilinear"`` or ``"quadratic"``: losses on which the mean is
  the exact gradient of the expected discrete loss.
* ``"aligned_on"`` to a pair of such a kind and the least cosine with the exact gradient there.
* ``"samples"`` to the law of the one-hot samples that theta is trained on: ``"p"`` (what the
  distribution gives; the default where ``search_view`` is hard), ``"uniform"``, or a function of a
  :class:`Point` that returns the probabilities ``(E, K)`` of independent edges. ``"state"``: they
  depend on the estimator's history; then a formula of the draw has to give them.
* ``"noise"`` to the law of the noise: a name for each of its tensors (``gumbel``, ``exponential``,
  ``normal``, ``uniform``, ``logistic``, ``indices``: uniform integers below E), or a function of a
  :class:`Point` that returns tensors which are then uniform on [0, 1]. The default noise is Gumbel.
* ``"state"`` to a function of the estimator, the distribution and a list of
  :class:`~nasbench_snas.testing.bench.Step` that returns what entries of ``state_dict()`` are after
  those updates (``"alpha"``: the logits, where the estimator writes them itself).
* ``"replay"`` to a formula of further updates on a draw: a function of the :class:`Point` at which
  it was made and of the distribution now, which returns the gradient ``(R, d)``.

A function is given as itself or as a text ``"package.module:function"``; a text without a colon
names a function of :mod:`nasbench_snas.testing.formulas`, ``"score:function"`` one of
:mod:`nasbench_snas.testing.formulas_score`, and likewise ``"perturbed:"``
(:mod:`nasbench_snas.testing.formulas_perturbed`) and ``"coupled:"``
(:mod:`nasbench_snas.testing.formulas_coupled`). A formula must not use the estimator's own methods:
it would agree with its errors.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Estimator
from nasbench_snas.errors import PluginError, suggest

SHORT = {
    "": "nasbench_snas.testing.formulas",
    "score": "nasbench_snas.testing.formulas_score",
    "perturbed": "nasbench_snas.testing.formulas_perturbed",
    "coupled": "nasbench_snas.testing.formulas_coupled",
}
"""Short names of the modules of the built-in estimators' formulas."""
KEYS = (
    "draw",
    "mean",
    "objective",
    "exact_on",
    "aligned_on",
    "samples",
    "noise",
    "state",
    "replay",
)
FUNCTIONS = ("draw", "mean", "objective", "state", "replay")
LAWS = ("gumbel", "exponential", "normal", "uniform", "logistic", "indices")
KINDS = ("linear", "multilinear", "quadratic")


@dataclass(frozen=True)
class Point:
    """Where a formula is evaluated.

    Attributes:
        estimator: For its settings and the state that it keeps, not for its methods.
        loss: The objective, called with weights ``(R, n, E, K)``.
        dist: The distribution with ``R`` replicates.
        noise: What :meth:`Estimator.noise` returned; None in claims about the mean.
        t: Fraction of the run that is done, in [0, 1].
        seen: Weights at which the estimator evaluated the loss first, ``(R, n, E, K)``.
    """

    estimator: Any
    loss: Any
    dist: Any
    noise: Any = None
    t: float = 0.0
    seen: Any = None


@dataclass(frozen=True)
class Draw:
    """What a formula says of draws.

    Attributes:
        gradient: With respect to the distribution's parameters, flat in their order, ``(R, d)``,
            or ``(R, E, K)`` where alpha is the only one; None: nothing is said of it.
        weights: At which theta is trained and the value is taken, ``(R, n, E, K)``; None: nothing.
        tolerance: Largest relative difference, for formulas that are not exact to rounding.
        share: Of each of the weights in the value, ``(R, n)``; None: ``1 / n``.
    """

    gradient: Tensor | None
    weights: Tensor | None = None
    tolerance: float = 1e-7
    share: Tensor | None = None


def claim_of(estimator: Estimator, key: str) -> Any:
    """Return the claim ``key`` of ``estimator`` with functions resolved, or None.

    Raises:
        PluginError: The claims have an unknown key, or name a function that does not exist.
    """
    claims: Mapping[str, Any] = estimator.claims
    for name in claims:
        if name not in KEYS:
            raise PluginError(
                f"{type(estimator).__name__}.claims has the key {name!r}.",
                suggest(name, set(KEYS)),
                f"Known: {', '.join(KEYS)}",
            )
    value = claims.get(key)
    if isinstance(value, str) and (key in FUNCTIONS or (key == "noise" and value not in LAWS)):
        return _function(value, type(estimator).__name__)
    if isinstance(value, str) and key == "samples" and value not in ("p", "uniform", "state"):
        return _function(value, type(estimator).__name__)
    kind = value[0] if key == "aligned_on" and value else value
    if key in ("exact_on", "aligned_on") and kind is not None and kind not in KINDS:
        raise PluginError(
            f"{type(estimator).__name__}.claims[{key!r}] is {value!r}.",
            f"Known: {', '.join(KINDS)}; aligned_on takes a pair of one of them and a cosine.",
        )
    return value


def _function(text: str, owner: str) -> Callable[..., Any]:
    module_name, _, name = text.rpartition(":")
    try:
        module_name = SHORT.get(module_name, module_name)
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise PluginError(
            f"{owner}.claims: {module_name!r} cannot be imported: {error}."
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise PluginError(
            f"{owner}.claims: {module.__name__} has no function {name!r}.",
            suggest(name, set(vars(module))),
            "Write package.module:function.",
        )
    function: Callable[..., Any] = found
    return function


def slope(loss: Any, z: Tensor) -> Tensor:
    """Return ``h = dL/dZ`` at ``z``, the same shape ``(R, n, E, K)``, detached."""
    leaf = z.detach().clone().requires_grad_()
    (h,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    return h


def jacobian(q: Tensor, h: Tensor) -> Tensor:
    """Return ``q * (h - <q, h>)``: the softmax's Jacobian at probabilities ``q`` times ``h``."""
    return q * (h - (q * h).sum(dim=-1, keepdim=True))


def temperature(point: Point) -> float:
    """Return the temperature that the settings ``tau_start``, ``tau_end``, ``schedule`` ask for."""
    start, end = float(point.estimator.tau_start), float(point.estimator.tau_end)
    t = min(max(point.t, 0.0), 1.0)
    if point.estimator.schedule == "geometric":
        return float(start ** (1 - t) * end**t)
    return start if point.estimator.schedule == "constant" else (1 - t) * start + t * end
