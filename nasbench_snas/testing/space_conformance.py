"""Conformance checks of search spaces, for built-in ones and third parties alike."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.architecture.genotype import Genotype, from_choices
from nasbench_snas.architecture.space import Space, SpaceFamily
from nasbench_snas.errors import ConfigError, NasbenchError
from nasbench_snas.seeding import stream
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.supernet.skeleton import parameter_count
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks

SMALL = {"cells": 2, "channels": 4, "nodes": 2}
"""Settings that shrink a space, where it has them."""
SHORT = 1e-8  # step of differences in double precision


class SpaceConformance(DocumentationChecks, Conformance):
    """Checks of a :class:`~nasbench_snas.architecture.space.SpaceFamily`.

    Attributes:
        space: The class under test.
        settings: Keyword arguments it is constructed with.
        sizes: Image channels, classes and resolutions that it must build for.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "space"
    space: ClassVar[type[SpaceFamily]]
    settings: ClassVar[dict[str, Any]] = {}
    sizes: ClassVar[tuple[tuple[int, int, int], ...]] = ((1, 10, 8), (3, 10, 32), (3, 100, 64))
    documented_attributes = ("name", "summary", "reference")

    def family(self, **changes: Any) -> SpaceFamily:
        """Return the family under test, with ``changes`` of its settings."""
        return self.space(**{**self.settings, **changes})

    def small(self) -> Space:
        """Return the space at the smallest size, with few cells and channels where it has them."""
        fields = {field.name for field in dataclasses.fields(self.space)}
        changes = {key: value for key, value in SMALL.items() if key in fields}
        for settings in (changes, {key: v for key, v in changes.items() if key != "nodes"}, {}):
            try:
                return self.family(**settings).build(*self.sizes[0])
            except ConfigError:
                continue
        raise ConfigError(f"{self.space.__name__} cannot be built for {self.sizes[0]}.")

    def draws(self, space: Space, count: int) -> Tensor:
        """Return ``count`` random architectures, one-hot, shape ``(count, E, K)``."""
        shape, k = (count, space.num_edges), space.num_operations
        index = torch.randint(2**31, shape, generator=stream(0, "conformance"))
        index = index % torch.tensor([len(row) for row in space.candidates])
        return one_hot(index, k, torch.float32)

    def test_settings_are_a_frozen_dataclass_with_defaults(self) -> None:
        """All settings have defaults, cannot be changed later, and compare by value."""
        assert dataclasses.is_dataclass(self.space), "use @dataclass(frozen=True, kw_only=True)"
        family = self.family()
        assert family == self.family(), "equal settings must compare equal"
        assert hash(family) == hash(self.family()), "settings must be hashable"
        fields = dataclasses.fields(self.space)
        if fields:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(family, fields[0].name, None)

    def test_it_builds_at_several_sizes(self) -> None:
        """Channels, classes and resolution arrive in the declaration; building is repeatable."""
        for in_channels, classes, resolution in self.sizes:
            space = self.family().build(in_channels, classes, resolution)
            got = (space.in_channels, space.num_classes, space.resolution)
            assert got == (in_channels, classes, resolution), f"declared {got}"
            again = self.family().build(in_channels, classes, resolution)
            assert space == again, "building twice gives two different spaces"
            assert space.name == self.space.name, f"space.name is {space.name!r}"

    def test_edges_are_sorted_and_acyclic(self) -> None:
        """Edges go by target, then source; every cell type is used; K is at least two."""
        space = self.family().build(*self.sizes[1])
        for cell in space.cells:
            expected = sorted(set(cell.edges), key=lambda edge: edge[::-1])
            assert list(cell.edges) == expected, f"{cell.name}: edges are not sorted"
            forward = all(source < target for source, target in cell.edges)
            assert forward, f"{cell.name}: an edge points back"
        used = {layer.cell for layer in space.layers if layer.kind == "cell"}
        assert used == {cell.name for cell in space.cells}, f"layers use the cells {sorted(used)}"
        assert len(set(space.operations)) == len(space.operations), "operations must differ"
        assert space.num_operations >= 2, "no edge has a choice"
        assert len(set(space.edge_names)) == space.num_edges, "edge names are not unique"

    def test_rows_cover_alpha_once(self) -> None:
        """The rows of the cell types are disjoint and cover all ``E`` rows in order."""
        space = self.family().build(*self.sizes[1])
        rows = [row for part in space.rows.values() for row in range(part.start, part.stop)]
        assert rows == list(range(space.num_edges)), f"rows {rows} of {space.num_edges}"

    def test_parent_runs_hard_and_soft_architectures(self) -> None:
        """A parent network classifies; its logits are finite and respond to the weights."""
        space = self.small()
        parent = ReferenceParent(space, stream(0, "theta")).to(self.device)
        size = (2, space.in_channels, space.resolution, space.resolution)
        images = torch.randn(size, generator=stream(0, "images")).to(self.device)
        hard = self.draws(space, 2).to(self.device)
        soft = torch.tensor([space.uniform]).to(hard)
        logits = parent(images, torch.cat([hard, soft]))
        assert logits.shape == (3, 2, space.num_classes), f"logits {tuple(logits.shape)}"
        assert torch.isfinite(logits).all(), "logits are not finite"
        assert not torch.equal(logits[0], logits[2]), "the logits ignore the weights"

    def test_parameter_count_is_positive_and_repeatable(self) -> None:
        """Weights exist, and the same seed gives the same ones."""
        space = self.small()
        first, second = (ReferenceParent(space, stream(0, "theta")) for _ in range(2))
        assert parameter_count(first) > 0, "the parent has no weights"
        pairs = zip(first.parameters(), second.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), "initial weights depend on global state"

    def test_loss_reaches_theta_and_weights(self) -> None:
        """A loss has gradients for the network's weights and for the operations' weights."""
        space = self.small()
        parent = ReferenceParent(space, stream(0, "theta")).to(self.device)
        z = torch.tensor([space.uniform], device=self.device, requires_grad=True)
        size = (2, space.in_channels, space.resolution, space.resolution)
        parent(torch.ones(size, device=self.device), z).square().sum().backward()
        assert z.grad is not None and torch.isfinite(z.grad).all(), "no finite dL/dz"
        reached = any(p.grad is not None and p.grad.any() for p in parent.parameters())
        assert reached, "no weight has a gradient"

    def test_second_derivatives_agree_with_differences(self) -> None:
        """What ``unrolled`` differentiates twice is right: ``<dL/dtheta, v>`` by z and by theta.

        Some layers have a second derivative that is silently wrong. In double precision, with the
        batch norms in training mode, along random directions; central differences so short that
        they cross no kink of a ReLU or a maximum.
        """
        space = self.small()
        parent = ReferenceParent(space, stream(0, "theta")).double().to(self.device).train()
        generator = stream(0, "second")
        shape = (1, space.num_edges, space.num_operations)
        size = (3, space.in_channels, space.resolution, space.resolution)

        def normal(*sizes: int) -> Tensor:
            return torch.randn(sizes, generator=generator, dtype=torch.float64).to(self.device)

        images, there = normal(*size), torch.tensor([space.uniform]).to(self.device) > 0
        z = (0.3 * normal(*shape)).masked_fill(~there, -torch.inf).softmax(dim=-1)
        state = {name: buffer.clone() for name, buffer in parent.named_buffers()}
        theta = [p for p in parent.parameters() if p.requires_grad]
        along = [normal(*p.shape) / p.numel() ** 0.5 for p in theta]
        labels = torch.arange(3, device=self.device) % space.num_classes

        def slope(weights: Tensor) -> Tensor:
            for name, buffer in parent.named_buffers():
                buffer.copy_(state[name])  # what draws by a counter draws the same again
            logits = parent(images, weights)[0]
            loss = torch.nn.functional.cross_entropy(logits, labels)
            grads = torch.autograd.grad(loss, theta, create_graph=True, allow_unused=True)
            pairs = zip(grads, along, strict=True)
            return torch.stack([(g * v).sum() for g, v in pairs if g is not None]).sum()

        leaf = z.clone().requires_grad_()
        found = torch.autograd.grad(slope(leaf), [leaf, *theta], allow_unused=True)
        for number in range(4):
            move = [there * normal(*shape), *(0 * p for p in theta)]
            if number % 2:
                move = [0 * z, *(normal(*p.shape) / p.numel() ** 0.5 for p in theta)]
            sides = []
            for step in (SHORT, -SHORT):
                with torch.no_grad():
                    for parameter, change in zip(theta, move[1:], strict=True):
                        parameter.add_(step * change)
                sides.append(float(slope(z + step * move[0]).detach()))
                with torch.no_grad():
                    for parameter, change in zip(theta, move[1:], strict=True):
                        parameter.sub_(step * change)
            right = (sides[0] - sides[1]) / (2 * SHORT)
            pairs = zip(found, move, strict=True)
            got = sum(float((g * m).sum().detach()) for g, m in pairs if g is not None)
            assert abs(got - right) <= 1e-3 * max(abs(got), abs(right)) + 1e-6, (
                f"second derivative {got:.6g}, differences of the first {right:.6g}: a layer's "
                "second derivative is wrong"
            )

    def test_genotypes_survive_the_round_trip(self) -> None:
        """Every drawn architecture becomes a genotype, its dictionary, and the same again."""
        space = self.small()
        for z in self.draws(space, 8).tolist():
            genotype = from_choices(space, z)
            again = Genotype.from_dict(genotype.to_dict())
            assert again == genotype, "the genotype changes in its dictionary"
            names = {cell.name for cell in space.cells}
            assert set(genotype.cells) == names, f"cells {set(genotype.cells)}"

    def test_impossible_settings_are_refused_with_an_explanation(self) -> None:
        """Nonsense sizes raise a :class:`NasbenchError`, not something deep inside torch."""
        fields = dataclasses.fields(self.space)
        for name in (f.name for f in fields if type(f.default) is int):
            with pytest.raises(NasbenchError) as caught:
                self.family(**{name: -1}).build(*self.sizes[1])
            assert name in str(caught.value), f"the message does not name {name!r}: {caught.value}"
        if any(f.name == "operations" for f in fields):
            with pytest.raises(NasbenchError):
                self.family(operations=("no_such_operation",)).build(*self.sizes[1])
