"""Conformance checks of cost criteria, for built-in ones and third parties alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch

from nasbench_snas.api import CostCriterion
from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.cost.expected import CostModel
from nasbench_snas.cost.own import own_cost
from nasbench_snas.cost.settings import CRITERIA_WORDS, CostSettings
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks

_OPERATIONS = ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3", "conv_1x1")


def _space(channels: int, cells: int, reduces: bool) -> Space:
    layers = [Layer("cell", channels, 1, "normal") for _ in range(cells)]
    types = [CellType.dense("normal", 2, 2)]
    if reduces:
        layers.append(Layer("cell", 2 * channels, 2, "reduce"))
        types.append(CellType.dense("reduce", 2, 2))
    return Space("conformance", _OPERATIONS, tuple(types), tuple(layers), channels, resolution=8)


class CriterionConformance(DocumentationChecks, Conformance):
    """Checks of a cost criterion: a :class:`~nasbench_snas.api.CostCriterion`.

    Attributes:
        criterion: The class under test.
        settings: Keyword arguments it is constructed with.
        spaces: Spaces that it is asked about; those that it refuses with a ``ConfigError`` are left
            out.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "criterion"
    criterion: ClassVar[type[CostCriterion]]
    settings: ClassVar[dict[str, Any]] = {}
    spaces: ClassVar[tuple[Space, ...]] = (_space(4, 1, False), _space(8, 2, True))
    documented_attributes = ("name", "summary", "unit")

    def known(self) -> Iterator[tuple[CostCriterion, Space]]:
        """Yield a new criterion and a space that it knows, for each of them."""
        found = False
        for space in self.spaces:
            criterion = self.criterion(**self.settings)
            try:
                criterion.table(space)
            except ConfigError:
                continue
            found = True
            yield criterion, space
        if not found:
            pytest.skip("it knows none of the spaces: give `settings` and `spaces` in a test class")

    def test_the_name_is_not_built_in(self) -> None:
        """A name means one criterion."""
        assert self.criterion.name not in CRITERIA_WORDS, f"{self.criterion.name} is built in"

    def test_the_table_has_a_number_for_every_edge_and_operation(self) -> None:
        """Shape ``(E, K)``, finite, not negative, and not zero everywhere."""
        for criterion, space in self.known():
            own_cost(criterion, space)

    def test_the_same_space_has_the_same_table(self) -> None:
        """A search that continues goes on with the same costs."""
        for criterion, space in self.known():
            other = self.criterion(**self.settings)
            first, second = own_cost(criterion, space), own_cost(other, space)
            assert torch.equal(first.table, second.table), "two calls give two tables"
            assert first.outside == second.outside, "two calls give two values outside"

    def test_an_absent_edge_costs_nothing(self) -> None:
        """``none`` drops the edge: the child does not have it."""
        for criterion, space in self.known():
            table = own_cost(criterion, space).table
            column = torch.stack([table[place] for place in space.places("none")])
            assert not column.any(), "`none` has a cost"

    def test_an_undecided_search_costs_one(self) -> None:
        """Normalised as the built-in criteria are, so that eta means the same."""
        for criterion, space in self.known():
            model = CostModel(space, CostSettings(), own_cost(criterion, space))
            shape, share = (space.num_edges, space.num_operations), 1 / space.num_operations
            uniform = torch.full(shape, share, dtype=torch.float64)
            assert abs(float(model.cost(uniform)) - 1) < 1e-9

    def test_the_expected_cost_is_that_of_samples(self) -> None:
        """``E[C]`` in closed form equals the mean over architectures: ``C`` is linear."""
        for criterion, space in self.known():
            cost, k = own_cost(criterion, space), space.num_operations
            probs = torch.rand(space.num_edges, k, generator=stream(0, "conformance")).double()
            probs /= probs.sum(dim=-1, keepdim=True)
            every = one_hot(torch.arange(k).expand(space.num_edges, k).T, k, torch.float64)
            mean = sum((every[j] * probs * cost.table).sum() for j in range(k)) + cost.outside
            torch.testing.assert_close(cost.total(probs), mean)

    def test_the_fingerprint_is_a_text_or_nothing(self) -> None:
        """What is read from files tells a run from another."""
        for criterion, _ in self.known():
            found = criterion.fingerprint()
            assert found is None or (isinstance(found, str) and found), f"{found!r}"
            assert found == self.criterion(**self.settings).fingerprint(), "it changes"

    def test_places_are_settings(self) -> None:
        """``places`` names settings of ``__init__``."""
        unknown = [name for name in self.criterion.places if name not in self._parameters]
        assert not unknown, f"{unknown} are no settings"
