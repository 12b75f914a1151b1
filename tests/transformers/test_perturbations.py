"""SDARTS-RS and SDARTS-ADV against closed forms, brute force and what they promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from nasbench_snas.api import LossStep
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.seeding import stream
from nasbench_snas.testing import TransformerConformance
from nasbench_snas.testing.toy import toy_space
from nasbench_snas.transformers.sdarts_adv import SdartsAdv
from nasbench_snas.transformers.sdarts_rs import SdartsRs

SPACE = toy_space()
SHAPE = (SPACE.num_edges, SPACE.num_operations)


class TestRandom(TransformerConformance):
    transformer = SdartsRs


class TestAdversarial(TransformerConformance):
    transformer = SdartsAdv


def step(role: Any = "theta", progress: float = 0.5, seed: int = 0) -> LossStep:
    return LossStep(role, progress, SPACE, stream(seed, "perturb"))


class Linear:
    """``sum c z`` of each architecture: its maximum over a box stands in every text book."""

    def __init__(self, slope: Tensor) -> None:
        self.slope, self.seen = slope, []  # type: ignore[var-annotated]

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        self.seen.append(z.detach())
        return (self.slope * z).sum(dim=(-1, -2))

    def error(self, z: Tensor) -> Tensor:
        return torch.zeros(z.shape[:2])


def clipped(rows: Tensor, sums: Tensor) -> Tensor:
    """The projection of the released code, row by row, with the row's own sum."""
    out = torch.empty_like(rows)
    for index, row in enumerate(rows):
        new = row.clamp(0, 1)
        if float(new.sum()) == 0:
            new[row.argmax()] = 1.0
        out[index] = sums[index] * new / new.sum()
    return out


@pytest.mark.parametrize("kind", ["soft", "one-hot", "dropped and sigmoid"])
def test_random_weights_are_the_drawn_noise_projected(kind: str) -> None:
    z = torch.rand(SHAPE, dtype=torch.float64, generator=stream(1, kind))
    z = z.softmax(dim=-1) if kind == "soft" else z
    if kind == "one-hot":
        z = torch.nn.functional.one_hot(z.argmax(dim=-1), SHAPE[1]).double()
    if kind.startswith("dropped"):
        z[0] = 0.0
    loss = Linear(torch.ones(SHAPE, dtype=torch.float64))
    SdartsRs(start=0.1, end=0.5).transform(loss, step(progress=0.25))(z[None, None])
    noise = 0.2 * (2 * torch.rand(SHAPE, generator=stream(0, "perturb")) - 1)
    expected = clipped(z + noise.double(), z.sum(dim=-1))
    assert torch.allclose(loss.seen[-1][0, 0], expected, atol=1e-12)
    assert torch.allclose(expected.sum(dim=-1), z.sum(dim=-1), atol=1e-12)


def test_a_row_of_which_nothing_is_left_keeps_its_largest_entry() -> None:
    z = torch.full((1, 1, *SHAPE), 1 / SHAPE[1])
    loss = Linear(torch.zeros(SHAPE))
    found = set()
    for seed in range(200):  # each entry is clipped to 0 with probability 3/8: a row by 2 %
        SdartsRs(start=1.0, end=1.0).transform(loss, step(seed=seed))(z)
        found |= {float(v) for v in loss.seen[-1].sum(dim=-1).flatten().round(decimals=5)}
        assert bool(loss.seen[-1].isfinite().all())
    assert found == {1.0}


@pytest.mark.parametrize("cls", [SdartsRs, SdartsAdv])
def test_alpha_sees_its_own_loss(cls: Any) -> None:
    loss = Linear(torch.ones(SHAPE))
    assert cls().transform(loss, step("alpha")) is loss


def test_an_ascent_that_no_bound_stops_reaches_the_maximum_of_a_linear_loss() -> None:
    """Far from 0 and 1, and with rows of zero sum of signs, the ball's corner is the maximum."""
    slope = torch.tensor([1.0, -2.0, 3.0, -1.0], dtype=torch.float64).expand(SHAPE)
    z = torch.full((1, 2, *SHAPE), 0.25, dtype=torch.float64)
    loss = Linear(slope)
    made = SdartsAdv(start=0.05, end=0.05).transform(loss, step())
    value = made(z)
    best = ((z[0, 0] + 0.05 * slope.sign()) * slope).sum()
    assert torch.allclose(value, best.expand(1, 2), atol=1e-9)
    assert torch.allclose(loss.seen[-1], z + 0.05 * slope.sign(), atol=1e-9)


def test_the_ascent_is_that_of_the_released_code_step_by_step() -> None:
    """An independent loop over architectures and rows, on a loss that is not linear."""

    class Curved(Linear):
        def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
            return ((self.slope * z).sin() + z**2).sum(dim=(-1, -2))

    generator = stream(2, "curved")
    slope = 4 * torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    z = torch.randn((1, 3, *SHAPE), generator=generator, dtype=torch.float64).softmax(dim=-1)
    size, steps = 0.2, 7
    loss = Curved(slope)
    found = SdartsAdv(start=size, end=size).transform(loss, step())(z)
    start = size * (2 * torch.rand(SHAPE, generator=stream(0, "perturb")) - 1).double()
    for n in range(3):
        saved = z[0, n]
        p = clipped(saved + start, saved.sum(dim=-1))
        for _ in range(steps):
            slopes = slope * (slope * p).cos() + 2 * p
            p = p + 2 * size / steps * slopes.sign()
            p = clipped(saved + (p - saved).clamp(-size, size), saved.sum(dim=-1))
        assert torch.allclose(found[0, n], loss(p[None, None])[0, 0], atol=1e-12)
        assert float(found[0, n]) > float(loss(saved[None, None]))


def test_an_attacked_loss_is_no_less_than_that_of_its_random_start_on_average() -> None:
    """On 50 starts of a linear loss, whose ascent cannot overshoot: no tolerance is needed."""
    slope = torch.randn(SHAPE, generator=stream(3, "slope"))
    z = torch.randn((1, 1, *SHAPE), generator=stream(4, "z")).softmax(dim=-1)
    kinds: list[Any] = [SdartsRs, SdartsAdv]
    means = [
        torch.stack([kind().transform(Linear(slope), step(seed=s))(z) for s in range(50)]).mean()
        for kind in kinds
    ]
    assert means[1] > means[0]


def test_theta_gets_the_gradient_at_the_attacked_weights() -> None:
    theta = torch.tensor(1.5, requires_grad=True)

    class OfTheta(Linear):
        def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
            self.seen.append(z.detach())
            return theta * (self.slope * z).sum(dim=(-1, -2))

    loss = OfTheta(torch.randn(SHAPE, generator=stream(5, "slope")))
    z = torch.full((1, 1, *SHAPE), 0.25)
    with torch.no_grad():
        made = SdartsAdv().transform(loss, step())
    made(z).sum().backward()
    assert theta.grad is not None
    assert float(theta.grad) == pytest.approx(float((loss.slope * loss.seen[-1]).sum()), rel=1e-6)


@pytest.mark.parametrize(
    ("cls", "settings", "said"),
    [
        (SdartsRs, {"end": 1.5}, "sdarts-rs.end"),
        (SdartsRs, {"start": -0.1}, "sdarts-rs.start"),
        (SdartsAdv, {"steps": 0}, "sdarts-adv.steps"),
    ],
)
def test_impossible_settings_are_refused(cls: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        cls(**settings)


def test_they_are_found_by_name() -> None:
    names = {entry.name for entry in Registry().entries("transformer")}
    assert {"sdarts-rs", "sdarts-adv", "beta-darts"} <= names


@pytest.mark.parametrize("cls", [SdartsRs, SdartsAdv])
def test_operations_that_an_edge_does_not_have_get_no_weight(cls: Any) -> None:
    """Also where the perturbation leaves nothing of a row: 50 steps at the largest radius."""
    rows = (("none", "sep_conv_3x3"), *((SPACE.operations,) * (SPACE.num_edges - 1)))
    space = replace(SPACE, edge_operations=rows)
    absent = torch.tensor(space.absent)
    z = torch.tensor(space.uniform)[None, None]
    for seed in range(50):
        loss = Linear(torch.randn(SHAPE, generator=stream(seed, "slope")))
        at = LossStep("theta", 1.0, space, stream(seed, "perturb"))
        cls(start=1.0, end=1.0).transform(loss, at)(z)
        assert float(loss.seen[-1][..., absent].abs().max()) == 0.0
        assert torch.allclose(loss.seen[-1].sum(dim=-1), torch.ones(1), atol=1e-5)


def test_what_is_composed_is_cited() -> None:
    done = CliRunner().invoke(nasbench, ["cite", "sdarts-rs", "oles", "hessian", "skip-count"])
    assert done.exit_code == 0, done.output
    for key in ("chen2020sdarts", "jiang2023oles", "zela2020rdarts", "liang2019dartsplus"):
        assert key in done.output
