"""The largest eigenvalue against whole matrices, and the rule of DARTS-ES against its words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nasbench_snas.api import Categorical, EpochState, Verdict
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search
from nasbench_snas.search.stopping import FixedLoss
from nasbench_snas.seeding import stream
from nasbench_snas.stops.hessian import Hessian, largest_eigenvalue
from nasbench_snas.testing import StopConformance
from nasbench_snas.testing.toy import SmoothLoss, toy_space


class TestKit(StopConformance):
    stop = Hessian
    settings = {"window": 1}


def symmetric(values: list[float]) -> Tensor:
    shape = (len(values), len(values))
    turned = torch.linalg.qr(torch.randn(shape, generator=stream(0, "m"), dtype=torch.float64))[0]
    return turned @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turned.T


@pytest.mark.parametrize(
    "values",
    [[3.0, -1.0, 0.5, 0.0, -7.0], [1.0, 1.0, 1.0], [-2.0, -5.0, -9.0], [0.0, 0.0, 4.0, 4.0]],
    ids=["a negative one dominates", "multiples of one", "all negative", "repeated"],
)
def test_lanczos_finds_the_algebraically_largest_eigenvalue(values: list[float]) -> None:
    matrix = symmetric(values)
    value, error = largest_eigenvalue(lambda v: matrix @ v, len(values), 50, stream(1, "start"))
    assert value == pytest.approx(max(values), abs=1e-9)
    assert error < 1e-6


def test_the_bound_holds_when_lanczos_is_cut_short() -> None:
    spread = [float(v) for v in torch.linspace(-1, 1, 60).pow(3)]
    matrix = symmetric(spread)
    exact = torch.linalg.eigvalsh(matrix)
    for steps in (2, 4, 8, 16):
        value, error = largest_eigenvalue(lambda v: matrix @ v, 60, steps, stream(1, "start"))
        assert float((exact - value).abs().min()) <= error + 1e-12
        assert value <= float(exact[-1]) + 1e-12


def state(logits: Tensor, epoch: int = 1, loss: Any = None) -> EpochState:
    return EpochState(
        toy_space(),
        Categorical(logits),
        stream(2, "stop"),
        epoch=epoch,
        epochs=20,
        derive=lambda: logits,
        loss=lambda images: loss or SmoothLoss(),
    )


def test_the_eigenvalue_is_that_of_the_whole_hessian_by_the_logits() -> None:
    """The matrix by central differences of the loss alone, without one derivative."""
    logits = torch.randn(5, 4, generator=stream(3, "logits"), dtype=torch.float64)
    found, error = Hessian(iterations=20).eigenvalue(state(logits))
    step, count = 1e-3, logits.numel()
    units = step * torch.eye(count, dtype=torch.float64)

    def value(move: Tensor) -> float:
        z = (logits + move.view_as(logits)).softmax(dim=-1)
        return float(SmoothLoss()(z[None, None]))

    matrix = torch.empty(count, count, dtype=torch.float64)
    for i in range(count):
        for j in range(count):
            a, b = units[i], units[j]
            sides = value(a + b) - value(a - b) - value(b - a) + value(-a - b)
            matrix[i, j] = sides / (4 * step * step)
    assert found == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), abs=1e-5)
    assert error < 1e-6


def test_a_stop_has_no_accuracies_and_trains_nothing() -> None:
    one, z = state(torch.zeros(5, 4)), torch.zeros(5, 4)
    with pytest.raises(PluginError, match="a stop asked for accuracies"):
        one.accuracy(z[None])
    with pytest.raises(PluginError, match="a stop trained the parent"):
        one.tune(z, 1)
    with pytest.raises(PluginError, match="measured x = nan"):
        one.log("x", float("nan"))


class Given(Hessian):
    """The rule alone, on given eigenvalues."""

    def __init__(self, values: list[float], **settings: Any) -> None:
        super().__init__(**settings)
        self.given = iter(values)

    def eigenvalue(self, state: EpochState) -> tuple[float, float]:
        return next(self.given), 0.0


def verdicts(stop: Hessian, epochs: int) -> list[Verdict | None]:
    logits = torch.zeros(5, 4)
    return [stop.decide(state(logits, epoch)) for epoch in range(1, epochs + 1)]


def by_the_words(values: list[float], k: int = 5, ratio: float = 0.75) -> tuple[int, int] | None:
    """The first epoch at which it ends, and the epoch whose architecture it returns."""
    half = k // 2
    for now in range(1, len(values) + 1):
        i = now - half  # the last epoch around which a mean is known
        if i - k - half < 1:
            continue
        around = [sum(values[c - half - 1 : c + half]) / k for c in (i - k, i)]
        if around[1] > 0 and around[0] / around[1] < ratio:
            return now, i - k
    return None


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_ends_where_the_rule_says_and_returns_the_earlier_architecture(
    seed: int, k: int
) -> None:
    growth = torch.linspace(0, 1.5 * (seed % 3), 20).exp()
    values = (growth * (1 + 0.3 * torch.rand(20, generator=stream(seed, "values")))).tolist()
    found = verdicts(Given(values, window=k), 20)
    first = next((i for i, verdict in enumerate(found, 1) if verdict is not None), None)
    expected = by_the_words(values, k)
    if expected is None:
        assert first is None
        return
    assert first == expected[0]
    verdict = found[first - 1]
    assert verdict is not None and first - verdict.back == expected[1]


def test_a_constant_eigenvalue_never_ends_and_a_jump_does() -> None:
    assert verdicts(Given([1.0] * 20), 20) == [None] * 20
    jump = verdicts(Given([1.0] * 10 + [2.0] * 10), 20)
    assert any(jump) and not any(jump[:10])


def test_falling_or_negative_eigenvalues_end_nothing() -> None:
    assert not any(verdicts(Given([20.0 - i for i in range(20)]), 20))
    assert not any(verdicts(Given([-1.0 - i for i in range(20)]), 20))


def test_a_ratio_of_zero_measures_and_never_ends() -> None:
    assert not any(verdicts(Given([2.0**i for i in range(20)], ratio=0.0), 20))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"window": 4}, "odd"),
        ({"ratio": 1.0}, "ratio"),
        ({"iterations": 0}, "iterations"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Hessian(**settings)


TINY = ["data.dataset=fake", "data.fake.train_images=48", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=8", "search.epochs=2", "child.samples=1"]


@pytest.mark.parametrize("estimator", ["darts", "snas", "rloo", "enas"])
def test_measuring_changes_nothing_of_the_network(estimator: str) -> None:
    registry = Registry()
    plan = plan_run(registry, estimator, "snas-unit", assignments=[*TINY, 'stops=["hessian"]'])
    search = Search(plan.config, registry)
    search.one_step()
    assert search.stops is not None and "gradients of gradients" in search.note
    before = {name: value.clone() for name, value in search.parent.state_dict().items()}
    search.epoch = 1
    event = search.stops.after_epoch()
    assert event["hessian_error"] < 1e-2 * (1 + abs(event["hessian_lambda_max"]))
    for name, value in search.parent.state_dict().items():
        assert torch.equal(before[name], value), name
    assert all(p.grad is None or p.grad.isfinite().all() for p in search.parent.parameters())


def test_the_loss_of_a_stop_is_the_network_s_on_the_first_images() -> None:
    registry = Registry()
    plan = plan_run(registry, "darts", "snas-unit", assignments=[*TINY, 'stops=["hessian"]'])
    search = Search(plan.config, registry)
    assert search.stops is not None
    loss = search.stops._loss(10)
    assert isinstance(loss, FixedLoss) and loss.images.shape[0] == 10
    z = search.dist.marginals(stream(0, "x"))[None]
    found = float(loss(z).detach())
    search.parent.train()
    logits = search.parent(loss.images, z[0])[0]
    right = torch.nn.functional.cross_entropy(logits, loss.labels).detach()
    assert found == pytest.approx(float(right))
