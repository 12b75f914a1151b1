"""What a run computes does not depend on the modes of torch that its caller has set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from torch import nn

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.compute.distributed import World
from nasbench_snas.compute.modes import own_autocast
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.accuracy import evaluate
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.plan import Target, plan_retraining
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search

FAKE = ["data.dataset=fake", "data.fake.train_images=64", "data.fake.test_images=32"]


@contextmanager
def default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


Mode = Callable[[], AbstractContextManager[object]]
MODES: dict[str, Mode] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast off": lambda: torch.autocast("cpu", enabled=False),
    "no grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "default dtype": default_dtype,
    "default device": lambda: torch.device("meta"),
    "deterministic": deterministic,
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
}


def searched(amp: str) -> list[float]:
    words = [*FAKE, "search.epochs=2", "search.batch_size=16", f"search.amp={amp}"]
    search = Search(plan_run(Registry(), "snas", "snas-unit", assignments=words).config, Registry())
    values = []
    for _ in range(2):
        while not search.epoch_finished:
            search.one_step()
        event = search.finish_epoch()
        values += [event["train_loss"], event["search_acc"], event["search_loss"], event["entropy"]]
    return values + [cell.accuracy for cell in search.child_matrix()]


def retrained(amp: str) -> list[float]:
    words = [*FAKE, "training.epochs=2", "training.batch_size=16", f"training.amp={amp}"]
    words += ["network.channels=2", "network.cells=3"]
    target = Target("snas-mild", zoo("snas-mild"))
    config = plan_retraining(Registry(), target, assignments=words).config
    work = Retraining(config, Registry(), "cpu", World())
    values = []
    for _ in range(2):
        while not work.epoch_finished:
            work.one_step()
        values.append(work.finish_epoch()["train_loss"])
    found = work.evaluate()
    return [*values, found.loss, float(found.top1)]


WORK = {"search": searched, "retraining": retrained}
PLAIN: dict[tuple[str, str], list[float]] = {}


def plain(kind: str, amp: str) -> list[float]:
    if (kind, amp) not in PLAIN:
        PLAIN[kind, amp] = WORK[kind](amp)
    return PLAIN[kind, amp]


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize("kind", list(WORK))
@pytest.mark.parametrize("mode", list(MODES))
def test_results_are_bitwise_equal_in_every_surrounding_mode(
    mode: str, kind: str, amp: str
) -> None:
    expected = plain(kind, amp)
    with MODES[mode]():
        found = WORK[kind](amp)
    assert found == expected


@pytest.mark.parametrize("mode", list(MODES))
def test_an_evaluation_is_bitwise_equal_in_every_surrounding_mode(mode: str) -> None:
    generator = torch.Generator().manual_seed(1)
    network = nn.Linear(6, 7)
    with torch.no_grad():
        network.weight.normal_(generator=generator)
    batches = [(torch.randn(40, 6, generator=generator), torch.arange(40) % 7)]
    losses = []
    for surroundings in (nullcontext, MODES[mode]):
        with surroundings():
            losses.append(evaluate(network, batches, 7).loss)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("enabled", [True, False])
def test_no_copy_of_a_weight_outlives_our_region_inside_a_callers(enabled: bool) -> None:
    weight = torch.ones(4, 4, requires_grad=True)
    images, outputs = torch.ones(2, 4), []
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        for _ in range(2):
            with own_autocast("cpu", torch.bfloat16):
                outputs.append(float((images @ weight)[0, 0].detach()))
            with torch.no_grad():
                weight.mul_(2)
    assert outputs == [4.0, 8.0]
