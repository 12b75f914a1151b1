"""Enumeration with shared work equals one reference forward pass per architecture."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.architecture.controller import LSTMController
from nasbench_snas.architecture.distributions import Categorical, one_hot
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.oracle.exact import (
    Oracle,
    architecture_index,
    architectures,
    score_share,
)
from nasbench_snas.oracle.network import BatchedLoss, BatchedNetwork
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.spaces.nasbench201 import NasBench201
from nasbench_snas.spaces.snas_unit import SnasUnit
from nasbench_snas.supernet.reference import ReferenceParent


def darts_like(layers: int = 1) -> Space:
    """Two inputs with preprocessing, pooling with norm, stride 2, concatenation, BN head."""
    return Space(
        name="small",
        operations=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"),
        cells=(CellType.dense("only", 2, 2),),
        layers=(Layer("residual", 4, 2),) + (Layer("cell", 4, 2, "only"),) * layers,
        stem_channels=3,
        head="bn-relu-linear",
        affine=True,
        in_channels=1,
        num_classes=3,
        resolution=9,
    )


SPACES = {
    "unit": SnasUnit(channels=2).build(1, 3, 5),
    "two-cells": SnasUnit(channels=2, cells=2, nodes=2).build(1, 3, 5),
    "four-nodes": SnasUnit(channels=2, nodes=3, operations=("skip_connect", "conv_3x3")).build(
        1, 3, 4
    ),
    "darts-like": darts_like(),
    "nasbench201": NasBench201(stages=1, cells_per_stage=1, channels=2, affine=True).build(1, 3, 4),
}


def case(space: Space, batch: int = 4) -> tuple[ReferenceParent, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    parent = ReferenceParent(space, generator).double()
    with torch.no_grad():
        for p in parent.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    size = (batch, space.in_channels, space.resolution, space.resolution)
    images = torch.randn(size, generator=generator, dtype=torch.float64)
    return parent, images, torch.randint(space.num_classes, (batch,), generator=generator)


def one_by_one(
    parent: ReferenceParent, images: Tensor, labels: Tensor, rows: Tensor, weights: Tensor
) -> tuple[Tensor, list[Tensor]]:
    space, losses = parent.space, []
    totals = [torch.zeros_like(p) for p in parent.parameters()]
    for row, weight in zip(rows, weights, strict=True):
        z = one_hot(row, space.num_operations, torch.float64)
        loss = functional.cross_entropy(parent(images, z[None])[0], labels)
        grads = torch.autograd.grad(loss * weight, list(parent.parameters()), allow_unused=True)
        for total, g in zip(totals, grads, strict=True):
            total += 0 if g is None else g
        losses.append(loss.detach())
    return torch.stack(losses), totals


@pytest.mark.parametrize("name", [n for n in SPACES if n != "darts-like"] + ["darts-like"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_losses_and_theta_gradient_equal_one_pass_per_architecture(name: str, mode: str) -> None:
    parent, images, labels = case(SPACES[name])
    parent.train(mode == "train")
    table = architectures(parent.space.num_edges, parent.space.num_operations)
    generator = torch.Generator().manual_seed(2)
    chosen = torch.randperm(len(table), generator=generator)[:25]
    weights = torch.zeros(len(table), dtype=torch.float64)
    weights[chosen] = torch.randn(len(chosen), generator=generator, dtype=torch.float64)
    before = {k: v.clone() for k, v in parent.named_buffers()}
    oracle = Oracle(BatchedNetwork(parent), images, labels, memory=2**20)
    losses, theta = oracle.losses(), oracle.theta_gradient(weights)
    for key, value in parent.named_buffers():
        assert torch.equal(value, before[key]), f"{key} was touched"
    expected, grads = one_by_one(parent, images, labels, table[chosen], weights[chosen])
    torch.testing.assert_close(losses[chosen], expected, rtol=1e-10, atol=1e-10)
    flat = torch.cat([g.flatten() for g in grads])
    torch.testing.assert_close(theta, flat, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory", [1, 10**5, 10**9])
def test_block_size_does_not_change_the_result(memory: int) -> None:
    parent, images, labels = case(SPACES["unit"])
    weights = torch.linspace(-1, 1, 729, dtype=torch.float64)
    network = BatchedNetwork(parent)
    small = Oracle(network, images, labels, memory=memory)
    large = Oracle(network, images, labels, memory=2**40)
    torch.testing.assert_close(small.losses(), large.losses(), rtol=0, atol=1e-13)
    torch.testing.assert_close(
        small.theta_gradient(weights), large.theta_gradient(weights), rtol=0, atol=1e-12
    )


@pytest.mark.equation(3, 4)
def test_alpha_gradient_is_the_derivative_of_the_expected_loss() -> None:
    parent, images, labels = case(SPACES["four-nodes"])
    oracle = Oracle(BatchedNetwork(parent), images, labels)
    dist = Categorical(torch.randn(6, 2, generator=torch.Generator().manual_seed(3)).double())
    exact = oracle.gradient(dist, theta=False)
    assert float(exact.probs.sum()) == pytest.approx(1, abs=1e-12)
    step, numeric = 1e-5, torch.zeros(6, 2, dtype=torch.float64)
    for e in range(6):
        for k in range(2):
            values = []
            for sign in (1, -1):
                moved = Categorical(dist.alpha.detach()[0].clone())
                with torch.no_grad():
                    moved.alpha[0, e, k] += sign * step
                rows = one_hot(oracle.table, 2, torch.float64)
                p = moved.log_prob(rows[None]).sum(-1).exp()[0]
                values.append(float((p.detach() * exact.losses).sum()))
            numeric[e, k] = (values[0] - values[1]) / (2 * step)
    torch.testing.assert_close(exact.dist.view(6, 2), numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("q", [0.5, 0.1, 0.002])
def test_share_of_the_score_gradient_is_that_of_two_operations_by_hand(q: float) -> None:
    dist = Categorical(torch.tensor([[1 - q, q]], dtype=torch.float64).log())
    found = score_share(dist, torch.tensor([0.0, 3.0], dtype=torch.float64))
    mean = (1 - q) * q**4 + q * (1 - q) ** 4
    assert found == pytest.approx(mean**2 / ((1 - q) * q**8 + q * (1 - q) ** 8))
    assert found == pytest.approx(q, rel=0.02) or q > 0.01


def test_share_of_the_score_gradient_of_a_controller_is_that_of_its_draws() -> None:
    """Against 40,000 draws; the error of the ratio is below 3 % (five standard errors)."""
    generator = torch.Generator().manual_seed(3)
    dist = LSTMController(3, 3, generator, hidden=4, init_range=1.0).double()
    losses = torch.randn(27, generator=generator, dtype=torch.float64)
    z = dist.hard(dist.noise(1, 40_000, generator))[0]
    rows, squares = architecture_index(z), torch.empty(27, dtype=torch.float64)
    for row, choice in enumerate(architectures(3, 3)):
        one = one_hot(choice, 3, torch.float64)[None, None]
        grads = torch.autograd.grad(dist.log_prob(one).sum(), list(dist.parameters()))
        squares[row] = sum(float(g.square().sum()) for g in grads)
    s = ((losses[rows] - losses[rows].mean()).square() * squares[rows]).numpy()
    assert score_share(dist, losses, chunk=10) == pytest.approx(
        s.mean() ** 2 / (s**2).mean(), rel=0.03
    )


def test_share_without_spread_is_one_and_absent_operations_do_not_matter() -> None:
    logits = torch.tensor([[0.3, -0.2, -torch.inf], [0.1, 0.4, 0.2]], dtype=torch.float64)
    losses = torch.arange(9, dtype=torch.float64)
    found = score_share(Categorical(logits), losses)
    assert 0 < found <= 1
    lost = torch.where(torch.arange(9) < 6, losses, 1e9)  # never drawn
    assert score_share(Categorical(logits), lost) == pytest.approx(found)
    assert score_share(Categorical(logits), torch.ones(9, dtype=torch.float64)) == 1


def test_architectures_are_numbered_as_their_index_says() -> None:
    table = architectures(4, 3)
    assert torch.equal(architecture_index(one_hot(table, 3, torch.float32)), torch.arange(81))
    with pytest.raises(ConfigError, match="too many"):
        architectures(14, 8)


@pytest.mark.parametrize("name", ["two-cells", "darts-like", "nasbench201"])
@pytest.mark.parametrize("all_operations", [True, False])
def test_batched_network_equals_the_reference_for_any_weights(
    name: str, all_operations: bool
) -> None:
    parent, images, labels = case(SPACES[name])
    generator = torch.Generator().manual_seed(4)
    shape = (2, 3, parent.space.num_edges, parent.space.num_operations)
    z = torch.randn(shape, generator=generator, dtype=torch.float64)
    z[:, 0] = one_hot(z[:, 0].argmax(-1), shape[-1], torch.float64)
    z[:, 1] *= torch.rand(shape[:1] + shape[2:], generator=generator, dtype=torch.float64) > 0.5
    z[0, 2] = 0
    mine = BatchedLoss(BatchedNetwork(parent), images, labels, all_operations=all_operations)
    reference = SupernetLoss(parent, images, labels, all_operations=all_operations)
    results = []
    for loss in (mine, reference):
        leaf = z.clone().requires_grad_()
        value = loss(leaf)
        inputs = [leaf, *parent.parameters()]
        grads = torch.autograd.grad(value.square().sum(), inputs, allow_unused=True)
        error = loss.error(z)
        results.append([value, error, *(torch.zeros(1) if g is None else g for g in grads)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b.expand_as(a), rtol=1e-9, atol=1e-10)


def test_counter_counts_executed_operations_and_backward_passes() -> None:
    parent, images, labels = case(SPACES["unit"])
    loss = BatchedLoss(BatchedNetwork(parent), images, labels)
    hard = one_hot(torch.zeros(2, 3, 6, dtype=torch.long), 3, torch.float64)
    loss(hard)
    assert (loss.counter.forward, loss.counter.backward) == (2 * 3 * 6, 0)
    soft = torch.full((1, 1, 6, 3), 1 / 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.grad(loss(soft).sum(), soft)
    assert (loss.counter.forward, loss.counter.backward) == (36 + 18, 18)
    assert loss.counter.equivalents(6) == (9.0, 3.0)


def test_prefix_sharing_needs_690_evaluations_for_nasbench201() -> None:
    parent, images, labels = case(SPACES["nasbench201"], batch=2)
    oracle = Oracle(BatchedNetwork(parent), images, labels, memory=2**24)
    oracle.losses()
    assert oracle.prefixes is not None
    assert oracle.prefixes.evaluations == 690


@pytest.mark.slow
def test_enumeration_is_thirty_times_faster_than_a_pass_per_architecture() -> None:
    space = NasBench201(stages=1, cells_per_stage=1).build(1, 10, 8)
    parent, images, labels = case(space, batch=16)
    oracle = Oracle(BatchedNetwork(parent), images, labels)
    oracle.losses()
    table, ratios = architectures(6, 5), []
    chosen = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
    for round_ in range(5):
        rows = chosen[round_ * 80 : (round_ + 1) * 80]
        z = one_hot(table[rows], 5, torch.float64)
        start = time.process_time()
        with torch.no_grad():
            for row in z:
                parent(images, row[None])
        passes = (time.process_time() - start) * len(table) / len(rows)
        start = time.process_time()
        oracle.losses()
        ratios.append(passes / (time.process_time() - start))
    # 73 to 94 on a machine with a free core, 42 to 49 beside another suite: a shared cache costs
    # the enumeration more than a pass
    assert max(ratios) > 30, ratios
    print("passes / enumeration:", [round(ratio, 1) for ratio in ratios])
