"""Architectures trained side by side are those trained alone; equal functions are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nasbench_snas.architecture.space import Space
from nasbench_snas.data import load_test
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search
from nasbench_snas.seeding import stream
from nasbench_snas.spaces.nasbench201 import NasBench201
from nasbench_snas.spaces.snas_unit import SnasUnit
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.truth.forms import classes_of, kinds_of, space_form
from nasbench_snas.truth.own import architectures, train
from nasbench_snas.truth.together import TogetherNetwork, TogetherTraining, together_possible

CHOICES = [[2, 2, 2, 2, 2, 2], [0, 1, 2, 2, 0, 1], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]


def test_steps_side_by_side_are_those_of_each_architecture_by_itself() -> None:
    space = SnasUnit(channels=2, operations=("none", "conv_3x3", "conv_1x1")).build(1, 4, 5)
    parent = ReferenceParent(space, stream(0, "theta-init")).double()
    generator = stream(1, "images")
    batches = [
        (torch.randn(6, 1, 5, 5, generator=generator, dtype=torch.float64), torch.arange(6) % 4)
        for _ in range(4)
    ]
    network = TogetherNetwork(parent, torch.tensor(CHOICES))
    options = {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.01}
    both = TogetherTraining(network, torch.optim.SGD(network.parameters(), **options), 0.5)
    for batch in batches:
        both.step(batch, 0.3)
    network.eval()
    for row, choice in enumerate(CHOICES):
        alone = ReferenceParent(space, stream(0, "theta-init")).double()
        optimizer = torch.optim.SGD(alone.parameters(), **options)
        z = torch.eye(3, dtype=torch.float64)[choice][None]
        for images, labels in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(alone(images, z)[0], labels).backward()
            torch.nn.utils.clip_grad_norm_(alone.parameters(), 0.5)
            optimizer.step()
        alone.eval()
        expected = alone(batches[0][0], z)[0]
        assert torch.allclose(network(batches[0][0])[row], expected, rtol=0, atol=1e-10)


def test_a_training_side_by_side_reaches_what_each_reaches_alone() -> None:
    words = ["search.epochs=1", "space.channels=2", "data.max_train_images=200"]
    config = plan_run(Registry(), "random", "snas-unit", preset="smoke", assignments=words).config
    test, choices = load_test(config.data), torch.tensor(CHOICES)
    both = train(Search(config, Registry()), choices, test)
    for row, choice in enumerate(choices):
        alone = train(Search(config, Registry(), kernels="reference"), choice[None], test)[0]
        assert both[row].held_out == pytest.approx(alone.held_out, abs=0.6)  # a few of 400 images
        assert both[row].valid_images == alone.valid_images


def test_only_single_cells_behind_a_stem_go_side_by_side() -> None:
    assert together_possible(SnasUnit().build(1, 10, 8))
    assert not together_possible(SnasUnit(cells=2).build(1, 10, 8))
    assert not together_possible(NasBench201().build(3, 10, 32))


@pytest.mark.parametrize(("shift", "count"), [(False, 216), (True, 279)])
def test_how_many_functions_the_unit_has(shift: bool, count: int) -> None:
    space = SnasUnit().build(1, 10, 8)
    found = classes_of(space, architectures(6, 3, None).tolist(), shift=shift)
    assert len(set(found)) == count


class SharedWeights:
    """A unit in float64 whose convolutions and head take their weights by canonical place."""

    def __init__(self, shift: bool) -> None:
        self.shift, self.generator = shift, stream(0, "weights")
        plain = SnasUnit(channels=2).build(1, 3, 5)
        self.space = Space(**{**vars_of(plain), "affine": shift})
        self.parent = ReferenceParent(self.space, self.generator).double().train()
        self.images = self._random(5, 1, 5, 5)
        self.bank = [self._random(2, 2, 3, 3) for _ in range(6)]
        self.shifts = [(self._random(2), self._random(2).abs()) for _ in range(6)]  # seen by a ReLU
        self.head = [self._random(3, 2) for _ in range(3)]

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    @torch.no_grad()
    def outputs(self, choice: list[int]) -> Tensor:
        """Return the logits of every pixel, the head's parts in the order of the nodes' values.

        Their means are the logits; those of input-independent maps would not tell them apart.
        """
        _, names = space_form(self.space, choice, shift=self.shift)
        cell = self.parent.cells["0"]
        for edge, name in names.items():
            unit = cell.edges[edge].operations["conv_3x3"][0]
            unit[1].weight.copy_(self.bank[name])
            if self.shift:
                unit[2].weight.copy_(self.shifts[name][0])
                unit[2].bias.copy_(self.shifts[name][1])
        z = torch.eye(3, dtype=torch.float64)[choice]
        x = cell([self.parent.stem(self.images)], z, [[k] for k in choice], None)
        nodes = sorted(
            (node.movedim(1, -1) for node in x.chunk(3, dim=1)),
            key=lambda node: [round(v, 7) for v in node.flatten().tolist()],
        )
        return sum(node @ weight.T for node, weight in zip(nodes, self.head, strict=True))


def vars_of(space: Space) -> dict[str, object]:
    return {name: getattr(space, name) for name in space.__dataclass_fields__}


@pytest.mark.parametrize("shift", [False, True])
def test_members_of_a_class_are_equal_and_other_classes_differ(shift: bool) -> None:
    network = SharedWeights(shift)
    choices = architectures(6, 3, None).tolist()
    found = classes_of(network.space, choices, shift=shift)
    outputs = {place: network.outputs(choices[place]) for place in sorted(set(found))}
    for place, first in enumerate(found):
        if place != first:
            own = network.outputs(choices[place])
            assert torch.allclose(own, outputs[first], rtol=0, atol=1e-11), choices[place]
    rows = torch.stack(list(outputs.values())).flatten(1)
    distances = torch.cdist(rows, rows, p=float("inf")) + torch.eye(len(rows))
    assert float(distances.min()) > 1e-8  # a batch norm removes a factor but for its epsilon


def test_spaces_that_are_not_compared_have_a_class_for_every_architecture() -> None:
    space = SnasUnit(operations=("none", "max_pool_3x3")).build(1, 10, 8)
    assert kinds_of(space) is None
    assert classes_of(space, [[0], [1], [0]], shift=False) == (0, 1, 2)
