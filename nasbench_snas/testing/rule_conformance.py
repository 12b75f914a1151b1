"""Conformance checks of derivation rules, for built-in ones and third parties alike."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from nasbench_snas.api import Categorical, DerivationRule, SearchState
from nasbench_snas.architecture.genotype import from_choices
from nasbench_snas.errors import PluginError
from nasbench_snas.search.rules import VIEWED, derive_by
from nasbench_snas.seeding import stream
from nasbench_snas.settings.parameters import create
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks
from nasbench_snas.testing.globals import global_generators_rest
from nasbench_snas.testing.toy import toy_space

_CANDIDATES = 6


class RuleConformance(DocumentationChecks, Conformance):
    """Checks of a derivation rule: a :class:`~nasbench_snas.api.DerivationRule`.

    Attributes:
        rule: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "rule"
    rule: ClassVar[type[DerivationRule]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary")

    def made(self) -> DerivationRule:
        """Return the rule under test."""
        return create(self.rule, self.settings, "child.parameters")

    def state(self, logits: Tensor | None = None, seed: int = 0) -> SearchState:
        """Return the state of a search in a small space; by default with random logits."""
        space = toy_space()
        if logits is None:
            shape = (space.num_edges, space.num_operations)
            logits = torch.randn(shape, generator=stream(seed, "conformance"))
        value = torch.linspace(0.0, 1.0, space.num_operations)

        def measure(z: Tensor) -> Tensor:
            return 100 * (z.float().cpu() @ value).mean(dim=-1).double()

        return SearchState(
            space,
            Categorical(logits),
            stream(seed, "derive"),
            candidates=_CANDIDATES,
            measure=measure if self.rule.uses_images else None,
        )

    def test_the_name_is_not_that_of_a_view(self) -> None:
        """Views of the parent network stand in the results by their names."""
        assert self.rule.name not in VIEWED, f"{self.rule.name} is a view of the parent network"

    def test_it_derives_an_architecture_whatever_the_logits(self) -> None:
        """One-hot or zero rows of the space, without ``none`` if it says so; a genotype of them."""
        space = toy_space()
        shape = (space.num_edges, space.num_operations)
        flat, sharp = torch.zeros(shape), 30 * torch.eye(space.num_operations).repeat(20, 1)
        for logits in (None, flat, sharp[: space.num_edges]):
            for seed in range(5):
                z = derive_by(self.made(), self.state(logits, seed))
                from_choices(space, z.tolist())

    def test_the_same_state_gives_the_same_child(self) -> None:
        """All randomness is the state's generator; global generators are left alone."""
        with global_generators_rest():
            for seed in range(3):
                first, second = (derive_by(self.made(), self.state(seed=seed)) for _ in range(2))
                assert torch.equal(first, second), "the same state gave another child"

    def test_the_search_is_left_as_it_is(self) -> None:
        """The parameters of the distribution are only read."""
        state = self.state()
        before = [p.detach().clone() for p in state.dist.parameters()]
        derive_by(self.made(), state)
        for kept, now in zip(before, state.dist.parameters(), strict=True):
            assert torch.equal(kept, now), "the rule changed the distribution"
            assert now.grad is None, "the rule left a gradient"

    def test_it_looks_at_images_only_if_it_says_so(self) -> None:
        """With ``uses_images`` it asks for accuracies; without it nothing is asked for."""
        state = self.state()
        derive_by(self.made(), state)
        announced = self.made().work(state.space, _CANDIDATES).steps
        assert state.tuned <= announced, f"{state.tuned} steps of training, work() says {announced}"
        if self.rule.uses_images:
            assert state.asked, "uses_images = True, and no accuracy was asked for"
        else:
            with pytest.raises(PluginError, match="uses_images"):
                state.accuracy(state.sample(1))
