"""Training by a derive rule: against SGD written out, and undone."""

from __future__ import annotations

import math

import pytest
import torch
from small_cell import SPACE
from torch import Tensor

from nasbench_snas.errors import DivergedError
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.search.tuning import Tuning
from nasbench_snas.settings.run import ThetaSettings
from nasbench_snas.supernet.reference import ReferenceParent

THETA = ThetaSettings(lr=0.5, lr_min=0.01, momentum=0.9, weight_decay=1e-2, clip=0.0)
WEIGHTS = torch.tensor([[0.0, 0.4, 0.6], [0.0, 0.0, 1.0], [0.2, 0.5, 0.3]]).double()


def parent() -> ReferenceParent:
    return ReferenceParent(SPACE, torch.Generator().manual_seed(1)).double()


def batches() -> list[tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(4)
    return [
        (torch.randn(6, 1, 4, 4, generator=g).double(), torch.randint(3, (6,), generator=g))
        for _ in range(4)
    ]


def tuning(network: ReferenceParent, factor: float = 1.0) -> Tuning:
    rest = iter(batches())

    def losses() -> SupernetLoss:
        images, labels = next(rest)
        return SupernetLoss(network, factor * images, labels)

    return Tuning(network, losses, THETA, 4)


def by_hand() -> dict[str, Tensor]:
    """Momentum SGD with weight decay at a cosine from a tenth of the rate, written out."""
    network = parent()
    network.train()
    speed = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for number, (images, labels) in enumerate(batches()):
        rate = 0.01 + (0.05 - 0.01) * (1 + math.cos(math.pi * number / 4)) / 2
        loss = torch.nn.functional.cross_entropy(network(images, WEIGHTS[None])[0], labels)
        named = dict(network.named_parameters())
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        with torch.no_grad():
            for (name, p), gradient in zip(named.items(), gradients, strict=True):
                whole = (torch.zeros_like(p) if gradient is None else gradient) + 1e-2 * p
                speed[name] = 0.9 * speed[name] + whole
                p -= rate * speed[name]
    return network.state_dict()


def test_it_is_sgd_written_out_over_all_calls_and_is_undone() -> None:
    network = parent()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    network.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = by_hand()
    with tuning(network) as tune, torch.no_grad():
        tune(WEIGHTS, 1)
        tune(WEIGHTS, 3)
        assert not network.training
        moved = 0
        for name, value in expected.items():
            moved += not torch.equal(value, before[name])
            torch.testing.assert_close(network.state_dict()[name], value, msg=name)
        assert moved > 5
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(bool((p.grad == 3.0).all()) for p in network.parameters())


def test_weights_that_the_search_has_frozen_do_not_move() -> None:
    network = parent()
    frozen = next(p for n, p in network.named_parameters() if ".operations." in n)
    frozen.requires_grad_(False)
    before = [p.detach().clone() for p in network.parameters()]
    with tuning(network) as tune:
        tune(WEIGHTS, 2)
        moved = [not torch.equal(p, q) for p, q in zip(before, network.parameters(), strict=True)]
        assert moved == [p is not frozen for p in network.parameters()]
    assert frozen.grad is None and not frozen.requires_grad


def test_a_loss_that_is_not_finite_ends_it_and_the_weights_are_put_back() -> None:
    network = parent()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DivergedError), tuning(network, float("nan")) as tune:
        tune(WEIGHTS, 1)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
