"""Early stops in a search: recorded, identity only where used, resumed bit for bit."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.runner import InterruptedRunError, RunOptions, run_search
from nasbench_snas.search.search import Search
from nasbench_snas.settings.run import from_toml
from nasbench_snas.settings.toml import to_toml

TINY = ["data.dataset=fake", "data.fake.train_images=48", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=8", "search.epochs=6", "child.samples=1"]
TINY += ["checkpoint_seconds=0", "search.alpha.lr=0.1"]
HESSIAN = ["stop.hessian.window=1", "stop.hessian.ratio=0.99", "stop.hessian.start=2"]
HESSIAN += ["stop.hessian.iterations=3"]
PLUGINS = '''"""Stops for tests."""
import torch
from nasbench_snas.api import EarlyStop, Verdict

class At(EarlyStop):
    name = "at"
    summary = "ends at an epoch"
    def __init__(self, epoch: int = 3, back: int = 0, note: str | None = None):
        self.epoch, self.back, self.seen = epoch, back, []
    @property
    def memory(self):
        return self.back
    def decide(self, state):
        self.seen.append(float(torch.rand((), generator=state.generator)))
        state.log("drawn", sum(self.seen))
        return Verdict("it is time", self.back) if state.epoch == self.epoch else None
    def state_dict(self):
        return {"seen": list(self.seen)}
    def load_state_dict(self, state):
        self.seen = list(state["seen"])

class Sees(EarlyStop):
    name = "sees"
    summary = "logs a probability"
    def decide(self, state):
        state.log("seen", float(state.probs[0, 0]))

class Takes(EarlyStop):
    name = "takes"
    summary = "logs by a name of the event"
    def __init__(self, called: str = "entropy"):
        self.called = called
    def decide(self, state):
        state.log(self.called, 1.0)

class Far(EarlyStop):
    name = "far"
    summary = "goes back too far"
    def decide(self, state):
        return Verdict("too far", 1)
'''


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    file = tmp_path_factory.mktemp("plugins") / "ends.py"
    file.write_text(PLUGINS)
    return Registry(plugins=[str(file)])


def config(registry: Registry, *names: str, more: Any = (), estimator: str = "snas") -> Any:
    chosen = [f"stops={list(names)!r}".replace("'", '"')] if names else []
    return plan_run(registry, estimator, "snas-unit", assignments=[*TINY, *chosen, *more]).config


def run(registry: Registry, made: Any, folder: Path, **options: Any) -> tuple[dict[str, Any], Any]:
    result = run_search(
        made, registry, RunFolder(folder), RunOptions(kernels="reference", **options)
    )
    return result, [e for e in RunFolder(folder).events() if e["kind"] == "epoch"]


def test_a_run_of_before_keeps_its_name_and_a_stop_gives_another(registry: Registry) -> None:
    kinds = [
        config(registry),
        config(registry, "at"),
        config(registry, "at", more=["stop.at.epoch=4"]),
        config(registry, "at", "hessian"),
    ]
    assert len({one.digest(1) for one in kinds}) == 4
    assert not {"stops", "stop", "versions"} & kinds[0].identity(1).keys()
    for one in kinds:
        assert from_toml(to_toml(one, {})).digest(1) == one.digest(1)


def test_a_stopped_run_is_done_and_says_why(registry: Registry, tmp_path: Path) -> None:
    result, events = run(registry, config(registry, "at"), tmp_path / "run")
    assert len(events) == 3 and result["epochs_done"] == 3 and result["epochs_planned"] == 6
    assert result["truncated"] is False
    expected = {"at": 3, "by": "at", "reason": "it is time", "architecture": 3}
    assert events[-1]["stopped"] == expected and "stopped" not in events[1]
    assert [event["drawn"] > 0 for event in events] == [True] * 3
    names = ("stopped_at", "stopped_by", "stop_reason", "architecture_epoch")
    assert [result[name] for name in names] == [3, "at", "it is time", 3]
    status = RunFolder(tmp_path / "run").status()
    assert (status["status"], status["reason"]) == ("done", "it is time")
    assert result["search_valid_acc"] == events[-1]["search_acc"]


def test_a_stop_that_does_not_end_the_search_says_so(registry: Registry, tmp_path: Path) -> None:
    made = config(registry, "at", more=["stop.at.epoch=99", "search.epochs=2"])
    result, events = run(registry, made, tmp_path / "run")
    assert len(events) == 2 and result["stopped_at"] is None
    assert result["architecture_epoch"] == 2
    plain, _ = run(registry, config(registry, more=["search.epochs=2"]), tmp_path / "plain")
    assert "stopped_at" not in plain
    assert plain["genotype"]["cells"] == result["genotype"]["cells"]  # looking changes nothing
    assert plain["entropy"] == result["entropy"]


def test_the_architecture_of_an_earlier_epoch_is_brought_back(
    registry: Registry, tmp_path: Path
) -> None:
    made = config(registry, "at", more=["stop.at.epoch=4", "stop.at.back=2"])
    search = Search(made, registry, kernels="reference")
    alphas = []
    while not search.ended:
        search.one_step()
        if search.epoch_finished:
            alphas.append(search.dist.alpha.detach().clone())
            search.finish_epoch()
    assert search.epoch == 4 and search.stops is not None and search.stops.went_back
    assert torch.equal(search.dist.alpha.detach(), alphas[1])
    assert not torch.equal(alphas[1], alphas[3])
    result, events = run(registry, made, tmp_path / "run")
    assert (result["stopped_at"], result["architecture_epoch"]) == (4, 2)
    assert result["entropy"] == pytest.approx(events[1]["entropy"])
    assert result["entropy"] != pytest.approx(events[3]["entropy"])


def test_a_stop_named_after_one_that_goes_back_sees_the_epoch_itself(registry: Registry) -> None:
    seen = []
    for names in (("sees", "at"), ("at", "sees")):
        made = config(registry, *names, more=["stop.at.epoch=2", "stop.at.back=1"])
        search = Search(made, registry, kernels="reference")
        while not search.ended:
            search.one_step()
            if search.epoch_finished:
                event = search.finish_epoch()
        assert search.stops is not None and search.stops.went_back
        seen.append(event["seen"])
        assert event["seen"] != float(search.dist.probs.detach()[0, 0, 0])
    assert seen[0] == seen[1]


@pytest.mark.parametrize("called", ["entropy", "seen", "stopped"])
def test_a_number_of_the_event_is_not_overwritten(registry: Registry, called: str) -> None:
    made = config(registry, "sees", "takes", more=[f"stop.takes.called={called}"])
    search = Search(made, registry, kernels="reference")
    while not search.epoch_finished:
        search.one_step()
    with pytest.raises(PluginError, match=f"'takes' logs '{called}'"):
        search.finish_epoch()


class Kill:
    """Ask the run to stop at a step, as a signal does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: dict[str, Any]) -> None:
        if event.get("step") == self.step and event["kind"] == "step":
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_killed_run_continues_bit_for_bit(registry: Registry, tmp_path: Path) -> None:
    """Killed in the middle of an epoch, and at the very end, after the verdict."""
    made = config(registry, "at", more=["stop.at.epoch=3", "stop.at.back=1"])
    straight, events = run(registry, made, tmp_path / "straight")
    steps = events[0]["step"]
    for step in (steps + 2, 3 * steps):
        with pytest.raises(InterruptedRunError):
            run(registry, made, tmp_path / "killed", listeners=(Kill(step),))
    resumed, again = run(registry, made, tmp_path / "killed")
    assert [untimed(event) for event in events] == [untimed(event) for event in again]
    for key in ("search_valid_acc", "child_valid_acc", "entropy", "stopped_at", "stop_reason"):
        assert straight[key] == resumed[key], key
    assert straight["genotype"]["cells"] == resumed["genotype"]["cells"]


def untimed(event: dict[str, Any]) -> dict[str, Any]:
    timed = {"t", "seconds", "images_per_s", "peak_memory", "elapsed"}
    return {key: value for key, value in event.items() if key not in timed}


@pytest.mark.parametrize(
    ("stop", "more"),
    [
        ("hessian", HESSIAN),
        ("skip-count", ["stop.skip-count.start=3", "stop.skip-count.limit=1"]),
    ],
)
def test_the_state_of_a_built_in_stop_is_in_the_checkpoint(
    registry: Registry, stop: str, more: list[str]
) -> None:
    made = config(registry, stop, more=[*more, "search.epochs=4"])

    def go(search: Search, until: int) -> list[dict[str, Any]]:
        events = []
        while search.step < until and not search.ended:
            search.one_step()
            if search.epoch_finished:
                events.append(search.finish_epoch())
        return events

    straight, first = (Search(made, registry, kernels="reference") for _ in range(2))
    whole = go(straight, 10**6)
    cut = 2 * straight.steps_per_epoch + 1
    events = go(first, cut)
    second = Search(made, registry, kernels="reference")
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    events += go(second, 10**6)
    assert events == whole
    assert straight.stops is not None and second.stops is not None
    assert straight.stops.stopped == second.stops.stopped
    assert torch.equal(straight.dist.alpha, second.dist.alpha)


def test_a_stop_that_goes_back_further_than_it_keeps_is_named(registry: Registry) -> None:
    search = Search(config(registry, "far"), registry, kernels="reference")
    assert search.stops is not None
    search.epoch = 1
    with pytest.raises(PluginError, match="'far' wants the architecture of 1 epochs ago"):
        search.stops.after_epoch()


def test_epochs_of_theta_alone_are_not_looked_at(registry: Registry) -> None:
    made = config(registry, "at", more=["search.alpha_from_epoch=2"])
    search = Search(made, registry, kernels="reference")
    assert search.stops is not None
    search.epoch = 2
    assert search.stops.after_epoch() == {}
    search.epoch = 3
    assert "drawn" in search.stops.after_epoch()


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        (("hessain",), [], "unknown stop 'hessain'"),
        (("at", "at"), [], "named twice"),
        (("at",), ["stop.hessian.window=3"], "--stop hessian"),
        (("at",), ["stop.at.epohc=3"], "epoch"),
    ],
)
def test_what_cannot_be_applied_is_refused(
    registry: Registry, names: tuple[str, ...], more: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        config(registry, *names, more=more)
