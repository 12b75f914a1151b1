"""Derivation rules: those of the suite, and how any of them is applied.

``argmax``: the distribution's mode, ``none`` included. ``top2``: the two strongest edges of each
node, without ``none`` (DARTS, arXiv:1806.09055, section 2.4). ``sample``: one draw. ``best-of-N``:
of N draws the one that validates best on images set apart (Li and Talwalkar 2019, arXiv:1902.07638,
section 3.2; Pham et al. 2018, arXiv:1802.03268, section 2.2; deviation from both: the whole
selection part instead of one minibatch, and the parent's running batch-norm statistics instead of
the minibatch's own). ``perturbation`` and ``shapley`` have modules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import RULES, DerivationRule, SearchState
from nasbench_snas.errors import PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.search.perturbation import Perturbation
from nasbench_snas.search.shapley import Shapley
from nasbench_snas.search.topology import strongest
from nasbench_snas.settings.parameters import create


class Argmax(DerivationRule):
    """The distribution's mode, ``none`` included."""

    name = "argmax"
    summary = RULES[name]

    def derive(self, state: SearchState) -> Tensor:
        """Return the mode, shape ``(E, K)``."""
        return state.dist.mode()[0]


class Top2(DerivationRule):
    """DARTS' derivation: two edges a node, without ``none``."""

    name = "top2"
    summary = RULES[name]
    keeps_none = False

    def derive(self, state: SearchState) -> Tensor:
        """Return the kept edges' best operations, shape ``(E, K)``."""
        return strongest(state.space, state.strengths)


class Sample(DerivationRule):
    """One draw from the distribution."""

    name = "sample"
    summary = RULES[name]

    def derive(self, state: SearchState) -> Tensor:
        """Return the draw, shape ``(E, K)``."""
        return state.sample(1)[0]


class BestOfN(DerivationRule):
    """The best of N draws by inherited accuracy; of equal ones the first drawn."""

    name = "best-of-N"
    summary = RULES[name]
    uses_images = True

    def derive(self, state: SearchState) -> Tensor:
        """Return the best draw, shape ``(E, K)``."""
        drawn = state.sample(state.candidates)
        return drawn[int(state.accuracy(drawn).argmax())]


_BUILT_IN = {rule.name: rule for rule in (Argmax, Top2, Sample, BestOfN, Perturbation, Shapley)}
VIEWED = ("soft", "hard", "mean")
"""Views of the parent that no rule derives; a rule of that name would be reported as the view."""


def make_rule(
    registry: Registry, name: str, parameters: Mapping[str, Any] | None = None
) -> DerivationRule:
    """Return the rule called ``name``.

    Args:
        registry: Where rules come from that are not built in.
        name: Its name.
        parameters: Its settings.

    Raises:
        ConfigError: A setting is wrong.
        PluginError: It is unknown or broken.
    """
    cls = rule_class(registry, name)
    made: DerivationRule = create(cls, parameters or {}, "child.parameters")
    return made


def rule_class(registry: Registry, name: str) -> type[DerivationRule]:
    """Return the class of a rule; raises :class:`PluginError` where it is unknown or broken."""
    if name in VIEWED and registry.is_plugin("rule", name):
        raise PluginError(
            f"derivation rule {name!r} has the name of a view of the parent network.",
            "Its child and the view would stand in one row of the results.",
            "Give it another name.",
        )
    return registry.rule(name) if registry.is_plugin("rule", name) else _BUILT_IN[name]


@torch.no_grad()
def derive_by(rule: DerivationRule, state: SearchState) -> Tensor:
    """Return what ``rule`` derives, checked, shape ``(E, K)``.

    Raises:
        PluginError: It is no architecture of the space, or not one that the rule declares.
    """
    z, space = rule.derive(state), state.space
    shape, what = (space.num_edges, space.num_operations), f"derivation rule {rule.name!r}"
    if not isinstance(z, Tensor) or tuple(z.shape) != shape:
        told = f"shape {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise PluginError(f"{what} returned {told}.", f"Expected weights of shape {shape}.")
    if not bool((((z == 0) | (z == 1)).all(dim=-1) & (z.sum(dim=-1) <= 1)).all()):
        raise PluginError(
            f"{what} returned rows that choose no single operation.",
            "Expected one-hot rows, or rows of zeros for edges that are dropped.",
        )
    if space.absent and bool(z.cpu()[torch.tensor(space.absent)].any()):
        raise PluginError(
            f"{what} chose an operation that its edge does not have.",
            "The edges of this space have different numbers of operations (state.space.absent).",
            "Leave those places out.",
        )
    if not rule.keeps_none:
        if any(float(z[place]) == 1 for place in space.places("none")):
            raise PluginError(
                f"{what} chose the operation none.",
                "Its class says keeps_none = False.",
                "Return a row of zeros where an edge is dropped, or declare keeps_none = True.",
            )
    return z
