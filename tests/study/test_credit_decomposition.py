"""Eqs. (29)-(34) of SNAS: when the credits of inputs and of edges add up to the output."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.estimators.snas_credit import SNASCredit
from nasbench_snas.seeding import stream
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.spaces.snas_unit import SnasUnit
from nasbench_snas.study.decomposition import (
    edge_credits,
    input_credits,
    stripped,
    unexplained,
)
from nasbench_snas.supernet.reference import ReferenceParent

SPACES = {
    "snas-unit": SnasUnit(operations=("skip_connect", "max_pool_3x3", "conv_3x3")),
    "darts-cnn": DartsCNN(channels=4, cells=3),
}


def parent_of(name: str) -> tuple[ReferenceParent, Tensor, Tensor]:
    """Return a trained-looking parent (weights and running statistics moved), images, weights."""
    space = SPACES[name].build(1, 10, 8)
    parent = ReferenceParent(space, stream(0, "theta")).double()
    images = torch.rand((4, 1, 8, 8), generator=stream(0, "images"), dtype=torch.float64)
    logits = torch.randn(
        (space.num_edges, space.num_operations), generator=stream(0, "z"), dtype=torch.float64
    )
    z = logits.softmax(-1)[None]
    for _ in range(3):
        parent(images, z)
    bias = [m.bias for m in parent.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for b in bias:
            b.normal_(generator=stream(0, "bias"))
    return parent, images, z


@pytest.mark.equation(30)
def test_credits_of_inputs_are_the_gradient_times_the_input_of_a_quadratic() -> None:
    a = torch.randn((3, 3), generator=stream(0, "a"), dtype=torch.float64)
    x = torch.randn((5, 3), generator=stream(0, "x"), dtype=torch.float64)
    expected = x * (x @ (a + a.T))
    torch.testing.assert_close(input_credits(lambda t: ((t @ a) * t).sum(1), x), expected)


@pytest.mark.equation(29, 31)
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_homogeneous_function_misses_by_its_degree_less_one(degree: int) -> None:
    x = torch.rand((5, 3), generator=stream(0, "x"), dtype=torch.float64) + 0.1
    found = unexplained(lambda t: t.sum(1) ** degree, x)  # Euler: sum of credits = degree f
    assert float(found) == pytest.approx(degree - 1, abs=1e-12)


@pytest.mark.equation(31)
@pytest.mark.parametrize("name", SPACES)
def test_credits_of_pixels_add_up_without_biases_and_norms_and_only_then(name: str) -> None:
    parent, images, z = parent_of(name)

    def rest(keep: str, train: bool) -> float:
        network = stripped(parent, keep).train(train)  # type: ignore[arg-type]
        return float(unexplained(lambda x: network(x, z)[0, :, 3], images))

    assert rest("homogeneous", True) < 1e-12
    assert rest("biases", True) > 0.1
    assert rest("norms", False) > 0.1
    assert rest("norms", True) > 0.1


def test_stripping_leaves_the_network_itself_alone() -> None:
    parent, images, z = parent_of("snas-unit")
    before = parent(images, z)
    stripped(parent, "homogeneous")
    torch.testing.assert_close(parent(images, z), before, rtol=0, atol=0)


@pytest.mark.equation(32, 33)
def test_credits_of_edges_are_those_of_their_node_and_conserve_the_output() -> None:
    """By hand: nodes forwards by eq. (1), their slopes backwards by eq. (32), edges by (33)."""
    parent, images, z = parent_of("snas-unit")
    network = stripped(parent, "homogeneous")
    found = edge_credits(lambda w: network(images, w)[:, :, 3].sum(1), z)[0]

    cell, head = network.cells["0"], network.head
    edges = cell.position.cell.edges

    def mixed(index: int, x: Tensor) -> Tensor:
        modules = cell.edges[index].operations.values()
        return sum(w * module(x) for w, module in zip(z[0, index], modules, strict=True))

    nodes = [network.stem(images)]
    for j in (1, 2, 3):
        nodes.append(sum(mixed(e, nodes[i]) for e, (i, t) in enumerate(edges) if t == j))
    nodes = [node.detach().requires_grad_() for node in nodes]
    concat = torch.cat(nodes[1:], dim=1)
    output = head(concat)[:, 3].sum()
    slopes = list(torch.autograd.grad(output, nodes[1:], retain_graph=True))
    credits = torch.zeros(len(edges), dtype=torch.float64)
    for j in (3, 2, 1):  # slope of a later node, then what it passes on
        for e, (i, t) in enumerate(edges):
            if t != j:
                continue
            out = mixed(e, nodes[i])
            credits[e] = (slopes[j - 1] * out).sum().detach()
            if i > 0:
                slopes[i - 1] = slopes[i - 1] + torch.autograd.grad(out, nodes[i], slopes[j - 1])[0]
    torch.testing.assert_close(found, credits)
    # The edges that leave the input are a cut of the cell: all credit passes through them.
    cut = [e for e, (i, _) in enumerate(edges) if i == 0]
    assert float(found[cut].sum()) == pytest.approx(float(output.detach()), rel=1e-12)
    # With batch norms it does not.
    whole = edge_credits(lambda w: parent(images, w)[:, :, 3].sum(1), z)[0]
    assert abs(float(whole[cut].sum() / parent(images, z).detach()[0, :, 3].sum()) - 1) > 0.1


@pytest.mark.equation(8, 34)
def test_the_credit_of_the_loss_is_the_output_credit_weighed_by_the_slope_of_the_loss() -> None:
    parent, images, z = parent_of("snas-unit")
    estimator, generator = SNASCredit(), stream(0, "noise")
    dist = Categorical(z[0].log())
    noise = dist.noise(1, 1, generator)
    sample = estimator.soft(dist, noise)[0]

    def loss(weights: Tensor) -> Tensor:
        return parent(images, weights.flatten(0, 1))[:, :, 3].sum(1).square()[None]

    found = estimator.credits(loss, dist, noise)[0, 0]
    output = parent(images, sample)[0, :, 3].sum().detach()
    expected = -2 * output * edge_credits(lambda w: parent(images, w)[:, :, 3].sum(1), sample)[0]
    torch.testing.assert_close(found, expected)
