"""Which cells are the same function: counts, and logits in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nasbench_snas.seeding import stream
from nasbench_snas.spaces.nasbench201 import NasBench201
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.truth.classes import canonical, classes, key_of, names
from nasbench_snas.truth.published import published

CONVOLUTIONS = {"2": "conv_1x1", "3": "conv_3x3"}


class SharedWeights:
    """A network in float64 whose convolutions take their weights by canonical number."""

    def __init__(self, shift: bool) -> None:
        self.shift = shift
        space = NasBench201(stages=1, cells_per_stage=2, channels=3, affine=shift).build(1, 5, 4)
        generator = stream(0, "weights")
        self.parent = ReferenceParent(space, generator).double().train()
        self.outputs: list[Tensor] = []
        self.parent.cells["1"].register_forward_hook(lambda *a: self.outputs.append(a[-1]))
        self.images = torch.randn(6, 1, 4, 4, generator=generator, dtype=torch.float64)
        self.generator = generator
        self.bank: dict[tuple[object, ...], Tensor] = {}

    @torch.no_grad()
    def logits(self, key: str) -> Tensor:
        """Return the logits of a cell, shape ``(6, 5)``."""
        for number, cell in self.parent.cells.items():
            for edge, name in names(key, shift=self.shift).items():
                operation = cell.edges[edge].operations[CONVOLUTIONS[key[edge]]]
                for field, tensor in operation.named_parameters():
                    kind = tensor.shape if tensor.dim() > 1 else field
                    tensor.copy_(self._stored((number, name, kind), tensor))
        z = torch.eye(5, dtype=torch.float64)[[int(digit) for digit in key]]
        return self.parent(self.images, z[None])[0]

    def _stored(self, place: tuple[object, ...], like: Tensor) -> Tensor:
        if place not in self.bank:
            values = torch.randn(like.shape, generator=self.generator, dtype=torch.float64)
            self.bank[place] = values
        return self.bank[place]


@pytest.mark.parametrize("shift", [False, True])
def test_members_of_a_class_give_equal_logits_and_cells_of_other_classes_differ(
    shift: bool,
) -> None:
    network, table = SharedWeights(shift), published().classes[int(shift)]
    chosen = torch.randperm(5**6, generator=stream(1, "choice"))[:120].tolist()
    firsts = sorted({int(table[i]) for i in chosen})
    logits = []
    for first in firsts:
        own = network.logits(key_of(first))
        logits.append(network.outputs[-1])  # a batch norm may remove a constant behind the cell
        for index in (table == first).nonzero()[0][1:6]:
            assert torch.allclose(network.logits(key_of(int(index))), own, rtol=0, atol=1e-9)
    rows = torch.stack(logits).flatten(1)
    distances = torch.cdist(rows, rows, p=float("inf")) + torch.eye(len(rows))
    assert float(distances.min()) > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "scaled", "count"),
    [(False, False, 5044), (True, False, 5234), (False, True, 4931), (True, True, 5121)],
)
def test_the_number_of_functions_and_the_shipped_classes(
    shift: bool, scaled: bool, count: int
) -> None:
    found = classes(shift=shift, scaled=scaled)
    assert len(set(found)) == count
    if not scaled:
        assert published().classes[int(shift)].tolist() == list(found)


def test_a_convolution_of_an_empty_node_is_zero_or_a_constant() -> None:
    assert canonical("000003", shift=False) == canonical("000000", shift=False)
    assert canonical("000003", shift=True) == canonical("000002", shift=True)
    assert canonical("000003", shift=True) != canonical("000000", shift=True)


def test_two_convolutions_are_not_one_counted_twice() -> None:
    two, twice = "200210", "210110"  # conv(x) + conv'(x); conv(x) + conv(x) through node 2
    assert canonical(two, shift=False) != canonical(twice, shift=False)
