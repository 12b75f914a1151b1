"""Lambda-DARTS against numeric gradients, and against the central difference of the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nasbench_snas.api import LossStep
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.seeding import stream
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.testing import TransformerConformance
from nasbench_snas.testing.toy import toy_space
from nasbench_snas.transformers.lambda_darts import LambdaDarts, alignment, repeated


class TestKit(TransformerConformance):
    transformer = LambdaDarts


SPACE = Space(
    name="two kinds",
    operations=("skip_connect", "sep_conv_3x3", "avg_pool_3x3"),
    cells=(CellType.dense("normal", 2, 1), CellType.dense("reduce", 2, 1)),
    layers=(
        Layer("cell", 2, 1, "normal"),
        Layer("cell", 4, 2, "reduce"),
        Layer("cell", 4, 1, "normal"),
        Layer("cell", 4, 1, "normal"),
    ),
    stem_channels=2,
    in_channels=1,
    num_classes=3,
    resolution=8,
)
SHAPE = (SPACE.num_edges, SPACE.num_operations)


def network(seed: int = 0) -> tuple[ReferenceParent, SupernetLoss]:
    parent = ReferenceParent(SPACE, stream(seed, "theta")).double().train()
    images = torch.randn(6, 1, 8, 8, generator=stream(seed, "x"), dtype=torch.float64)
    return parent, SupernetLoss(parent, images, torch.tensor([0, 1, 2, 2, 1, 0]))


def weights(count: int = 1) -> Tensor:
    z = torch.randn((1, count, *SHAPE), generator=stream(1, "z"), dtype=torch.float64)
    return z.softmax(dim=-1)


def step(progress: float = 1.0, role: str = "theta") -> LossStep:
    return LossStep(role, progress, SPACE, stream(0, "x"))  # type: ignore[arg-type]


def numeric(function: Callable[[Tensor], float], at: Tensor, size: float = 1e-5) -> Tensor:
    found = torch.zeros_like(at)
    flat, into = at.flatten(), found.view(-1)
    for i in range(flat.numel()):
        sides = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[i] += sign * size
            sides.append(function(moved.view_as(at)))
        into[i] = (sides[0] - sides[1]) / (2 * size)
    return found


def by_words(gradients: list[Tensor]) -> float:
    """The mean cosine of all pairs."""
    pairs = [
        float((a * b).sum() / (a.norm() * b.norm()))
        for i, a in enumerate(gradients)
        for b in gradients[i + 1 :]
    ]
    return sum(pairs) / len(pairs)


def test_weights_of_single_cells_are_read_by_those_cells() -> None:
    parent, loss = network()
    parent.eval()
    z = weights(2)
    apart = z[:, :, None].expand(-1, -1, 4, -1, -1)
    assert torch.equal(loss(z), loss(apart.clone()))
    one_hot = torch.nn.functional.one_hot(z.argmax(dim=-1), SHAPE[1]).double()
    assert torch.equal(loss(one_hot), loss(one_hot[:, :, None].expand(-1, -1, 4, -1, -1)))
    changed = apart.clone()
    changed[:, :, 3, SPACE.rows["reduce"]] = 0.9  # cell 3 is normal: it does not read these rows
    assert torch.equal(loss(z), loss(changed))
    changed[:, :, 3, SPACE.rows["normal"]] = 0.9
    assert not torch.allclose(loss(z), loss(changed))


@pytest.mark.parametrize("cell", ["", "normal"])
def test_the_loss_is_that_of_the_words_with_numeric_gradients(cell: str) -> None:
    _, loss = network()
    z = weights()
    made = LambdaDarts(weight=0.5, cell=cell).transform(loss, step(0.4))
    apart = z[:, :, None].expand(-1, -1, 4, -1, -1).clone()
    slope = numeric(lambda at: float(loss(at).detach()), apart)[0, 0]
    rows = SPACE.rows["normal"]
    expected = float(loss(z).detach()) - 0.5 * 0.4 * by_words([slope[c, rows] for c in (0, 2, 3)])
    assert float(made(z).detach()) == pytest.approx(expected, abs=1e-8)


def test_pairs_of_every_type_count_once() -> None:
    layers = (*SPACE.layers, Layer("cell", 8, 2, "reduce"))
    space = replace(SPACE, layers=layers)
    assert repeated(space) == {"normal": [0, 2, 3], "reduce": [1, 4]}
    slope = torch.randn(1, 1, 5, *SHAPE, generator=stream(2, "g"), dtype=torch.float64)
    normal, reduce = space.rows["normal"], space.rows["reduce"]
    means = [
        by_words([slope[0, 0, c, normal] for c in (0, 2, 3)]),
        by_words([slope[0, 0, c, reduce] for c in (1, 4)]),
    ]
    expected = (3 * means[0] + means[1]) / 4
    assert float(alignment(space, slope)) == pytest.approx(expected, abs=1e-12)
    assert float(alignment(space, slope, "reduce")) == pytest.approx(means[1], abs=1e-12)


def test_cells_without_a_gradient_are_no_error() -> None:
    slope = torch.zeros(1, 1, 4, *SHAPE, requires_grad=True)
    value = alignment(SPACE, slope)
    value.sum().backward()
    assert float(value.detach()) == 0.0
    assert slope.grad is not None and bool(slope.grad.isfinite().all())


def test_theta_s_gradient_is_the_central_difference_of_the_paper() -> None:
    """``-(grad L(p_l + e d_l) - grad L(p_l - e d_l)) / 2e``, ``d = dLambda/dg`` in closed form."""
    parent, loss = network()
    z, weight = weights(), 0.3
    theta = list(parent.parameters())
    made = LambdaDarts(weight=weight).transform(loss, step())
    found = torch.autograd.grad(made(z).sum(), theta, allow_unused=True)
    apart = z[:, :, None].expand(-1, -1, 4, -1, -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(apart).sum(), apart)
    rows, cells = SPACE.rows["normal"], (0, 2, 3)
    own = {c: slope[0, 0, c, rows].flatten() for c in cells}
    total = torch.stack([g / g.norm() for g in own.values()]).sum(dim=0)
    direction = torch.zeros_like(slope)
    for c, g in own.items():
        unit = g / g.norm()
        turned = (total - unit * (unit @ total)) / g.norm() / 3  # three pairs
        direction[0, 0, c, rows] = turned.view(-1, SHAPE[1])
    size = 1e-4 / float(direction.norm())
    plain = torch.autograd.grad(loss(z).sum(), theta, allow_unused=True)
    sides = [
        torch.autograd.grad(
            loss(apart.detach() + sign * size * direction).sum(), theta, allow_unused=True
        )
        for sign in (1, -1)
    ]
    largest = 0.0
    for got, base, up, down in zip(found, plain, *sides, strict=True):
        if got is None or base is None or up is None or down is None:
            continue
        expected = base - weight * (up - down) / (2 * size)
        assert torch.allclose(got, expected, atol=1e-6)
        largest = max(largest, float((got - base).abs().max()))
    assert largest > 1e-3  # the regulariser is no rounding error


def test_theta_s_gradient_is_that_of_differences_of_the_loss() -> None:
    parent, loss = network()
    z = weights()
    made = LambdaDarts(weight=0.5).transform(loss, step())
    theta = [p for p in parent.parameters() if p.dim() == 4]
    gradients = torch.autograd.grad(made(z).sum(), theta)
    moves = [torch.randn(p.shape, generator=stream(3, "m"), dtype=p.dtype) for p in theta]
    along = sum(float((g * m).sum()) for g, m in zip(gradients, moves, strict=True))
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, m in zip(theta, moves, strict=True):
                p += sign * 1e-6 * m
            sides.append(float(made(z)))
            for p, m in zip(theta, moves, strict=True):
                p -= sign * 1e-6 * m
    assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(along, rel=1e-4)


def test_alpha_and_the_first_step_see_the_plain_loss() -> None:
    _, loss = network()
    assert LambdaDarts().transform(loss, step(1.0, "alpha")) is loss
    assert LambdaDarts().transform(loss, step(0.0)) is loss


@pytest.mark.parametrize(
    ("space", "cell", "said"),
    [
        (replace(toy_space(), layers=toy_space().layers[:1]), "", "no type of cell occurs twice"),
        (SPACE, "reduce", "cell 'reduce' does not occur twice"),
    ],
)
def test_a_space_without_cells_to_align_is_refused(space: Space, cell: str, said: str) -> None:
    made, loss = LambdaDarts(cell=cell), network()[1]
    with pytest.raises(ConfigError, match=said):
        made.transform(loss, LossStep("theta", 0.5, space, stream(0, "x")))
