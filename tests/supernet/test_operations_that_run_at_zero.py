"""A mask of operations that run with weight exactly zero, in every parent network."""

from __future__ import annotations

import pytest
import torch

from nasbench_snas.estimators.proxyless import Proxyless
from nasbench_snas.kernels.reference import ReferenceKernels
from nasbench_snas.oracle.network import BatchedLoss, BatchedNetwork
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.seeding import stream
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.testing.bench import tiny_space

SPACE = tiny_space(nodes=3, inputs=1)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn((6, 1, 4, 4), generator=stream(0, "images"), dtype=torch.float64)
    return images, torch.arange(6) % 3


def losses() -> dict[str, object]:
    reference = ReferenceParent(SPACE, stream(0, "theta")).double()
    fast = FastParent(SPACE, stream(0, "theta"), kernels=ReferenceKernels()).double()
    again = ReferenceParent(SPACE, stream(0, "theta")).double()
    return {
        "reference": SupernetLoss(reference, *batch()),
        "fast": SupernetLoss(fast, *batch()),
        "batched": BatchedLoss(BatchedNetwork(again), *batch()),
    }


def weights() -> tuple[torch.Tensor, torch.Tensor]:
    """Three hard architectures, and masks with one more operation on each edge."""
    index = torch.randint(3, (1, 3, 6), generator=stream(1, "z"))
    z = torch.eye(3, dtype=torch.float64)[index]
    return z, (z + torch.eye(3, dtype=torch.float64)[(index + 1) % 3]) > 0


@pytest.mark.parametrize("kind", ["reference", "fast", "batched"])
def test_masked_operations_have_a_slope_and_change_no_value(kind):
    z, run = weights()
    slopes = {}
    for name, mask in (("skipped", None), ("masked", run), ("all", torch.ones_like(run))):
        leaf = z.clone().requires_grad_()
        value = losses()[kind](leaf, mask)
        (slopes[name],) = torch.autograd.grad(value.sum(), leaf)
        slopes[name + " value"] = value.detach()
    torch.testing.assert_close(slopes["masked value"], slopes["skipped value"])
    assert not slopes["masked"][~run].any(), "an operation outside the mask has a slope"
    torch.testing.assert_close(slopes["masked"][run], slopes["all"][run])
    extra = run & (z == 0)
    assert slopes["masked"][extra].any() and not slopes["skipped"][extra].any()


@pytest.mark.parametrize("kind", ["fast", "batched"])
def test_all_networks_agree_on_masked_slopes(kind):
    z, run = weights()
    found = []
    for loss in (losses()["reference"], losses()[kind]):
        leaf = z.clone().requires_grad_()
        found.append(torch.autograd.grad(loss(leaf, run).sum(), leaf)[0])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


def test_closed_paths_of_proxyless_have_weight_zero_and_do_not_train_theta():
    estimator = Proxyless().double()
    loss = losses()["reference"]
    dist = estimator.make_distribution(SPACE, stream(0, "alpha")).double()
    noise = estimator.noise(dist, 1, stream(0, "noise"))
    gates = estimator.relax(dist, noise).detach()
    assert ((gates == 0) | (gates == 1)).all() and (gates.sum(dim=-1) == 1).all()
    assert (estimator.pair(dist, noise).sum(dim=-1) == 2).all()
    estimator.surrogate(loss, dist, noise).sum().backward()
    assert dist.alpha.grad is not None and dist.alpha.grad.any()
    closed = estimator.pair(dist, noise) & (gates == 0)
    for edge in range(6):
        if closed[0, 0, edge, 2]:  # the convolution is closed
            module = loss.parent.cells["0"].edges[edge].operations["conv_1x1"]
            assert all(p.grad is None or not p.grad.any() for p in module.parameters())
