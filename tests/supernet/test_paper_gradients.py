"""Appendix C of SNAS by hand: every gradient of the unit cell, one operation at a time."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.estimators.darts import DARTS
from nasbench_snas.estimators.exact import Exact
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.kernels.reference import ReferenceKernels
from nasbench_snas.seeding import stream
from nasbench_snas.spaces.snas_unit import SnasUnit
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent

LAMBDA = 0.7
K = 3


def unit(nodes: int = 3) -> tuple[ReferenceParent, Tensor, Tensor, Categorical]:
    """Return a unit parent, images, labels and a distribution, all float64."""
    space = SnasUnit(channels=4, nodes=nodes).build(1, 10, 6)
    parent = ReferenceParent(space, stream(0, "theta")).double()
    generator = stream(0, "data")
    images = torch.randn((4, 1, 6, 6), generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (4,), generator=generator)
    logits = torch.randn((space.num_edges, K), generator=generator, dtype=torch.float64)
    return parent, images, labels, Categorical(logits)


def by_hand(parent: ReferenceParent, images: Tensor, labels: Tensor, z: Tensor):
    """Return loss, ``dL/dx_j`` of all nodes, and ``O_ij^k(x_i)`` with its input and module."""
    cell = parent.cells["0"]
    edges, nodes = cell.position.cell.edges, [parent.stem(images).detach()]
    parts: dict[tuple[int, int], tuple[Tensor, Tensor, torch.nn.Module]] = {}
    for j in range(1, edges[-1][1] + 1):
        total: Tensor | float = 0.0
        for e, (i, target) in enumerate(edges):
            if target == j:
                for k, module in enumerate(cell.edges[e].operations.values()):
                    x = nodes[i].detach().requires_grad_()
                    parts[e, k] = (x, module(x), module)
                    total = total + z[e, k] * parts[e, k][1].detach()  # eqs. (1), (2), (20)
        assert isinstance(total, Tensor)
        nodes.append(total)
    leaves = [node.detach().requires_grad_() for node in nodes]
    logits = parent.head(torch.cat(leaves[1:], dim=1))
    loss = torch.nn.functional.cross_entropy(logits, labels)
    slopes = list(torch.autograd.grad(loss, leaves[1:]))
    for j in range(
        len(slopes), 0, -1
    ):  # first lines of eqs. (6), (27): a node's slope comes from its successors
        for e, (i, target) in enumerate(edges):
            if target == j and i > 0:
                for k in range(K):
                    x, out, _ = parts[e, k]
                    if out.requires_grad:
                        through = z[e, k] * slopes[j - 1]  # eq. (26)
                        grad = torch.autograd.grad(
                            out, x, through, retain_graph=True, allow_unused=True
                        )[0]
                        if grad is not None:
                            slopes[i - 1] = slopes[i - 1] + grad
    return loss.detach(), edges, slopes, parts


@pytest.mark.equation(1, 2, 5, 6, 20, 21, 22, 23, 24, 25, 26, 27)
@pytest.mark.parametrize("kernels", ["reference", "fused"])
def test_every_gradient_of_the_unit_cell_is_that_of_the_appendix(kernels: str) -> None:
    reference, images, labels, dist = unit()
    noise = dist.noise(1, 1, stream(0, "noise"))
    uniform = torch.exp(-torch.exp(-noise[0, 0]))
    gumbel = -torch.log(-torch.log(uniform))
    weights = torch.exp((dist.log_probs[0].detach() + gumbel) / LAMBDA)  # eqs. (5), (22)
    z = weights / weights.sum(-1, keepdim=True)
    loss, edges, slopes, parts = by_hand(reference, images, labels, z)

    parent: torch.nn.Module = reference
    if kernels == "fused":
        parent = FastParent(
            reference.space, stream(0, "theta"), kernels=ReferenceKernels()
        ).double()
        parent.load_state_dict(parent.from_canonical(reference.canonical(reference.state_dict())))
    estimator = SNAS(tau_start=LAMBDA, schedule="constant")

    def objective(weights: Tensor) -> Tensor:
        logits = parent(images, weights[0])
        return torch.nn.functional.cross_entropy(logits[0], labels)[None, None]

    value = estimator.surrogate(objective, dist, noise).sum()
    value.backward()
    torch.testing.assert_close(value.detach(), loss)

    for e, k in product(range(6), range(K)):
        j = edges[e][1]
        outputs = torch.stack([parts[e, other][1].detach() for other in range(K)])
        delta = torch.eye(K, dtype=torch.float64)[k]
        alpha = dist.probs[0, e, k].detach()
        slope = (delta - z[e]) * z[e, k] / (LAMBDA * alpha)  # eq. (24)
        by_alpha = torch.einsum("bchw,obchw,o->", slopes[j - 1], outputs, slope)  # eqs. (25), (27)
        # d/d alpha times alpha is d/d log alpha, projected as the rows of log-probabilities are
        found = dist.alpha.grad[0, e, k]
        assert float(by_alpha * alpha) == pytest.approx(float(found), abs=1e-10), (e, k)

    if kernels == "reference":
        for e, (_, j) in enumerate(edges):
            for k in range(K):
                _, out, module = parts[e, k]
                for parameter in module.parameters():
                    expected = torch.autograd.grad(
                        out, parameter, z[e, k] * slopes[j - 1], retain_graph=True
                    )[0]  # eqs. (21), (27)
                    torch.testing.assert_close(parameter.grad, expected)


@pytest.mark.equation(3, 4, 16, 17, 18, 19)
def test_the_objective_is_the_mean_over_child_graphs_and_darts_is_the_loss_of_the_mean() -> None:
    parent, images, labels, dist = unit(nodes=2)
    parent.eval()

    def loss_of(weights: Tensor) -> Tensor:
        return by_hand(parent, images, labels, weights)[0]

    def loss(z: Tensor) -> Tensor:
        logits = parent(images, z.flatten(0, 1))
        values = [torch.nn.functional.cross_entropy(row, labels) for row in logits]
        return torch.stack(values).view(z.shape[:2])

    generator = stream(0, "choices")
    for choice in torch.randint(K, (3, 3), generator=generator):  # R(Z) = L(Z) of a child graph
        z = torch.eye(K, dtype=torch.float64)[choice]
        torch.testing.assert_close(loss(z[None, None])[0, 0].detach(), loss_of(z))
    with torch.no_grad():
        total = torch.zeros((), dtype=torch.float64)
        for choice in product(range(K), repeat=3):
            z = torch.eye(K, dtype=torch.float64)[list(choice)]
            p = dist.probs[0, torch.arange(3), list(choice)].prod()
            total += p * loss(z[None, None])[0, 0]
        exact = Exact().surrogate(loss, dist, None).sum()
        darts = DARTS().surrogate(loss, dist, None).sum()
    torch.testing.assert_close(exact, total)
    torch.testing.assert_close(darts, loss_of(dist.probs[0].detach()))
    assert abs(float(exact - darts)) > 1e-6
