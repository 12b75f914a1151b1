"""Derive rules: from the state of a search to one architecture, its child.

A rule is handed a :class:`SearchState` and returns one-hot rows (zero rows: edges without an
operation). It draws nothing but from the state's generator, so that a child is derived again bit
for bit. The suite's own rules come through the same interface.

``argmax``: the most likely operation on every edge, ``none`` included. ``top2``: the two strongest
edges of each node, without ``none`` (DARTS, arXiv:1806.09055, section 2.4). ``sample``: one draw.
``best-of-N``: N draws, the one that validates best on images set apart (Li and Talwalkar 2019,
arXiv:1902.07638, section 3.2; Pham et al. 2018, arXiv:1802.03268, section 2.2; deviation from both:
the whole selection part instead of one minibatch, and the parent's running batch-norm statistics
instead of the minibatch's own).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from nasbench_snas.api import Distribution
from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import PluginError


class SearchState:
    """What a rule may look at.

    Args:
        space: The space.
        dist: The distribution.
        generator: Source of all randomness of the rule.
        candidates: How many architectures a rule that selects should compare
            (``child.candidates``).
        measure: Returns accuracies in percent, shape ``(S,)``, of architectures ``(S, E, K)``;
            None: the rule has not asked for them.

    Attributes:
        asked: Architectures whose accuracy was asked for, repeated ones included.
        measured: The accuracy of each different one, in the order of asking.
    """

    def __init__(
        self,
        space: Space,
        dist: Distribution,
        generator: torch.Generator,
        *,
        candidates: int = 100,
        measure: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.space, self.dist, self.generator = space, dist, generator
        self.candidates, self._measure = candidates, measure
        self.asked = 0
        self.measured: dict[bytes, float] = {}

    @cached_property
    def probs(self) -> Tensor:
        """Probability of each operation on each edge, shape ``(E, K)``."""
        return self.dist.marginals(self.generator)[0]

    @cached_property
    def strengths(self) -> Tensor:
        """What the method ranks edges and operations by, shape ``(E, K)``; mostly :attr:`probs`."""
        return self.dist.strengths(self.generator)[0]

    @cached_property
    def logits(self) -> Tensor:
        """Logits of the operations, shape ``(E, K)``: the method's own where it has them."""
        if isinstance(self.dist, Categorical):
            return self.dist.alpha.detach()[0]
        return self.probs.log()

    def sample(self, count: int) -> Tensor:
        """Return ``count`` architectures drawn from the distribution, shape ``(count, E, K)``."""
        return self.dist.hard(self.dist.noise(1, count, self.generator))[0]

    def accuracy(self, z: Tensor) -> Tensor:
        """Return the accuracy of architectures with the parent's weights, without training.

        It is measured on images that are set apart for it; the child is reported on others. One
        that is asked for again is measured once.

        Args:
            z: One-hot rows, shape ``(S, E, K)``.

        Returns:
            Percent, shape ``(S,)``, float64.

        Raises:
            PluginError: The rule has not declared ``needs_accuracies``.
        """
        if self._measure is None:
            raise PluginError(
                "a derive rule asked for accuracies and has not declared that it needs them.",
                "Images are set apart only where a rule selects by them.",
                "Write needs_accuracies = True in its class.",
            )
        keys = [key_of(one) for one in z]
        new = {key: one for key, one in zip(keys, z, strict=True) if key not in self.measured}
        if new:
            found = self._measure(torch.stack(list(new.values())))
            self.measured.update(zip(new, found.tolist(), strict=True))
        self.asked += len(z)
        return torch.tensor([self.measured[key] for key in keys], dtype=torch.float64)


class Rule(ABC):
    """A derive rule: a plug-in of the kind ``rule``.

    Its settings are the keyword arguments of its constructor (``--set child.parameters.NAME=…``).
    The class attributes must be literals: listings read them without importing anything.

    Attributes:
        name: Key in settings (``child.rule``, ``--derive NAME``), files and reports.
        summary: One line for listings.
        reference: A key of ``references.bib``, or a BibTeX entry; empty: there is none.
        version: Raised when a change alters children; part of a run's identity.
        needs_accuracies: Whether it uses :meth:`SearchState.accuracy`.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    version: ClassVar[int] = 1
    needs_accuracies: ClassVar[bool] = False

    @abstractmethod
    def derive(self, state: SearchState) -> Tensor:
        """Return the child: one-hot or zero rows, shape ``(E, K)``."""


class Argmax(Rule):
    """The distribution's mode, ``none`` included."""

    name = "argmax"
    summary = "the most likely operation on every edge, none included"

    def derive(self, state: SearchState) -> Tensor:
        """Return the mode, shape ``(E, K)``."""
        return state.dist.mode()[0]


class Top2(Rule):
    """DARTS' derivation: two edges a node, without ``none``."""

    name = "top2"
    summary = "the two strongest edges of each node, without none"
    reference = "liu2019darts"

    def derive(self, state: SearchState) -> Tensor:
        """Return the kept edges' best operations, shape ``(E, K)``."""
        return top2(state.space, state.strengths)


class Sample(Rule):
    """One draw from the distribution."""

    name = "sample"
    summary = "one architecture drawn from the distribution"

    def derive(self, state: SearchState) -> Tensor:
        """Return the draw, shape ``(E, K)``."""
        return state.sample(1)[0]


class BestOfN(Rule):
    """The best of N draws by inherited accuracy; of equal ones the first drawn."""

    name = "best-of-N"
    summary = "the draw of N that validates best, by images set apart for it"
    reference = "li2019random"
    needs_accuracies = True

    def derive(self, state: SearchState) -> Tensor:
        """Return the best draw, shape ``(E, K)``."""
        drawn = state.sample(state.candidates)
        return drawn[int(state.accuracy(drawn).argmax())]


def top2(space: Space, strengths: Tensor, edges_per_node: int = 2) -> Tensor:
    """Return DARTS' derivation: one-hot rows on the kept edges, zero rows elsewhere.

    Args:
        space: The space.
        strengths: What edges and operations are ranked by, such as probabilities, ``(E, K)``.
        edges_per_node: Incoming edges that each node keeps.

    Returns:
        Weights, shape ``(E, K)``.
    """
    allowed = strengths.clone()
    if "none" in space.operations:
        allowed[:, space.operations.index("none")] = -1.0
    strength, choice = allowed.max(dim=-1)
    weights = torch.zeros_like(strengths)
    for cell in space.cells:
        first = space.rows[cell.name].start
        for node in range(cell.num_inputs, cell.num_inputs + cell.num_nodes):
            rows = [first + e for e, (_, target) in enumerate(cell.edges) if target == node]
            kept = sorted(rows, key=lambda row: (-float(strength[row]), row))[:edges_per_node]
            for row in kept:
                weights[row, choice[row]] = 1.0
    return weights


def derive_by(rule: Rule, state: SearchState) -> Tensor:
    """Return what ``rule`` derives, checked: shape ``(E, K)``.

    Raises:
        PluginError: It returns no architecture of the space.
    """
    z = rule.derive(state)
    shape = (state.space.num_edges, state.space.num_operations)
    if not isinstance(z, Tensor) or tuple(z.shape) != shape:
        told = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
        raise PluginError(
            f"derive rule {rule.name!r} returned {told}.", f"Expected weights of shape {shape}."
        )
    if not bool((((z == 0) | (z == 1)).all(dim=-1) & (z.sum(dim=-1) <= 1)).all()):
        raise PluginError(
            f"derive rule {rule.name!r} returned rows that choose no single operation.",
            "Expected one-hot rows, or rows of zeros for edges that are dropped.",
        )
    return z.detach()


def key_of(z: Tensor) -> bytes:
    """Return what tells an architecture ``(E, K)`` from others."""
    content: bytes = z.detach().cpu().float().contiguous().numpy().tobytes()
    return content
