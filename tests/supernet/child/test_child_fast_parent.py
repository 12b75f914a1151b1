"""A child inherits its weights from the fused parent as it does from the reference parent."""

from __future__ import annotations

import pytest
import torch

from nasbench_snas.architecture.genotype import from_choices
from nasbench_snas.architecture.space import Space
from nasbench_snas.seeding import stream
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.spaces.nasbench201 import NasBench201
from nasbench_snas.supernet.build import build_parent
from nasbench_snas.supernet.child.network import child_from_parent

SPACES = [
    DartsCNN(cells=4, channels=4).build(3, 10, 9),
    NasBench201(cells_per_stage=1, channels=4).build(3, 10, 8),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@pytest.mark.parametrize("training", [True, False])
def test_an_inherited_child_returns_the_logits_of_its_fused_parent(
    space: Space, training: bool
) -> None:
    parent, _ = build_parent(space, stream(0, "init"), dtype=torch.float64)
    images = torch.randn(
        4, 3, space.resolution, space.resolution, dtype=torch.float64, generator=stream(0, "x")
    )
    with torch.no_grad():  # running statistics that are not the initial ones
        parent(images, torch.full((1, space.num_edges, space.num_operations), 0.2).double())
    parent.train(training)
    choice = torch.randint(space.num_operations, (space.num_edges,), generator=stream(1, "z"))
    z = torch.nn.functional.one_hot(choice, space.num_operations).double()
    child = child_from_parent(parent, from_choices(space, z.tolist()))
    with torch.no_grad():
        expected = parent(images, z[None])[0]
        torch.testing.assert_close(child(images).logits, expected, rtol=0, atol=1e-11)
