"""Which estimators a study compares, at which temperatures and settings.

A specification is ``name`` or ``name:key=value,key=value``; ``all`` stands for every estimator that
gives the architecture a gradient. Penalties that an estimator adds to the loss (``penalties``) are
off, so that its gradient is measured and not they; where they are on by default, a row of its own
has them, ``name + penalty``. Estimators that anneal a temperature (``tau_start``) are held at
each of the study's temperatures. Settings that need gradients of gradients (``tune``) are off,
and controllers have at most 16 hidden units.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nasbench_snas.api import Estimator
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.settings.parameters import create
from nasbench_snas.study.settings import StudySettings

_HIDDEN = 16


@dataclass(frozen=True)
class Variant:
    """One row of a study.

    Attributes:
        name: The estimator.
        label: Name, given settings and temperature, for tables.
        temperature: The temperature it is held at, or None.
        parameters: All settings that are not defaults.
        bias: What the estimator declares.
    """

    name: str
    label: str
    temperature: float | None
    parameters: dict[str, Any] = field(hash=False)
    bias: str

    def create(self, registry: Registry) -> Estimator:
        """Return the estimator."""
        estimator: Estimator = create(registry.estimator(self.name), self.parameters, "estimator")
        return estimator


def variants(settings: StudySettings, registry: Registry) -> tuple[list[Variant], dict[str, str]]:
    """Return the rows of the study, and the estimators that are left out with the reason."""
    found: dict[str, Variant] = {}
    skipped: dict[str, str] = {}
    for text in _expanded(settings.estimators, registry, skipped):
        for variant in _of(text, settings, registry):
            found.setdefault(variant.label, variant)
    if not found:
        raise ConfigError("there is no estimator to measure.", "; ".join(skipped.values()))
    return list(found.values()), skipped


def _expanded(texts: Iterable[str], registry: Registry, skipped: dict[str, str]) -> Iterable[str]:
    for text in texts:
        if text != "all":
            yield text
            continue
        for entry in registry.estimators():
            if entry.problem:
                skipped[entry.name] = entry.problem
            elif entry.attributes.get("family") == "enumeration":
                skipped[entry.name] = "it is what the others are measured against"
            elif entry.attributes.get("bias") == "none" or not entry.attributes.get(
                "has_alpha_gradient", True
            ):
                skipped[entry.name] = "it estimates no gradient"
            else:
                yield entry.name


def _of(text: str, settings: StudySettings, registry: Registry) -> list[Variant]:
    name, _, rest = text.partition(":")
    cls = registry.estimator(name)
    given = dict(_setting(part, text) for part in rest.split(",") if part)
    known = inspect.signature(cls).parameters
    parameters = dict(given)
    if "tune" in known:
        parameters.setdefault("tune", False)
    if "hidden" in known:
        default = known["hidden"].default
        parameters.setdefault("hidden", min(int(default), _HIDDEN))
    label = name + (f" ({rest})" if rest else "")
    off = {key: value for key, value in cls.penalties.items() if key not in given}
    bare = parameters | off
    rows = _at_temperatures(name, label, bare, cls, settings)
    if any(known[key].default != value for key, value in off.items()):
        rows += _at_temperatures(name, f"{label} + penalty", parameters, cls, settings)
    return rows


def _at_temperatures(
    name: str,
    label: str,
    parameters: dict[str, Any],
    cls: type[Estimator],
    settings: StudySettings,
) -> list[Variant]:
    """Return a row, or one for each temperature where the estimator has a schedule."""
    known = inspect.signature(cls).parameters
    if "tau_start" not in known or "tau_start" in parameters:
        return [Variant(name, label, None, parameters, cls.bias)]
    temperatures = set(settings.temperatures)
    temperatures |= set(settings.sweep_temperatures) if name in settings.sweep else set()
    rows = []
    for tau in sorted(temperatures, reverse=True):
        fixed = {"tau_start": tau, "tau_end": tau} | (
            {"schedule": "constant"} if "schedule" in known else {}
        )
        fixed = {key: value for key, value in fixed.items() if key in known}
        rows.append(Variant(name, f"{label} λ={tau:g}", tau, parameters | fixed, cls.bias))
    return rows


def _setting(part: str, text: str) -> tuple[str, Any]:
    key, separator, value = part.partition("=")
    if not separator:
        raise ConfigError(f"cannot read {part!r} in {text!r}.", "Expected name:key=value,…")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
