"""How long runs will take: from finished runs and counted work, from a few steps, or unknown."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from nasbench_snas.executors.sweep import SweepRun, SweepSettings, plan_sweep, summary
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import SCHEMA_VERSION, RunFolder
from nasbench_snas.search import search as searching
from nasbench_snas.search.estimate import (
    REACH,
    Measured,
    Times,
    _seconds_of,
    kind_of,
    measure,
    steps_of,
)
from nasbench_snas.search.plan import PlannedRun, plan_run
from nasbench_snas.settings.toml import to_toml

TINY = (
    "data.dataset=fake",
    "data.fake.train_images=64",
    "search.epochs=1",
    "search.batch_size=16",
    "space.nodes=1",
    "space.cells=1",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=16",
)


def finished(root: Path, plan: PlannedRun, seconds_a_step: float, device: str) -> None:
    """A run that has finished, as far as estimates look at it."""
    folder = RunFolder(root / plan.run_id)
    folder.path.mkdir(parents=True)
    folder.config_file.write_text(to_toml(plan.config, plan.sources))
    steps = (steps_of(plan.config) or 1) * plan.config.search.epochs
    result = {"steps": steps, "wall_s": seconds_a_step * steps, "device_name": device}
    folder.write_result({"schema_version": SCHEMA_VERSION, **result}, "done")


def test_the_time_is_estimated_from_work_and_finished_runs_of_this_device(tmp_path: Path) -> None:
    def planned(channels: int, name: str = "snas") -> list[SweepRun]:
        own = [t for t in TINY if "channels" not in t] + [f"space.channels={channels}"]
        settings = SweepSettings(estimators=(name,), seeds=(0,), set=(*own, "search.epochs=3"))
        return plan_sweep(Registry(), settings, tmp_path)

    (small,), (middle,), (large,) = planned(8), planned(16), planned(32)
    assert Times(Registry(), tmp_path, "cpu").expected(small.plan) is None
    finished(tmp_path, small.plan, 0.01, "cpu")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.toml").touch()
    (tmp_path / "torn" / "result.json").write_text("torn")
    times = Times(Registry(), tmp_path, "cpu")
    steps = steps_of(middle.plan.config) * 3
    near = times.expected(middle.plan)
    ratio = times.work(middle.plan.config) / times.work(small.plan.config)
    assert 2 < ratio < 4 and near.seconds == pytest.approx(0.01 * ratio**0.5 * steps)
    assert times.expected(large.plan) is None, "too far to be scaled"
    assert times.expected(planned(8, "random")[0].plan) is None, "another estimator"
    assert Times(Registry(), tmp_path, "another device").expected(small.plan) is None
    finished(tmp_path, large.plan, 0.16, "cpu")
    between = Times(Registry(), tmp_path, "cpu").expected(middle.plan)
    works = [times.work(run.plan.config) for run in (small, middle, large)]
    share = (works[1] - works[0]) / (works[2] - works[0])
    assert between.seconds == pytest.approx((0.01 + share * 0.15) * steps)
    assert len(between.sources) == 2
    text = summary([middle, *planned(8, "random")], Times(Registry(), tmp_path, "cpu"))
    assert "from 2 finished runs on cpu" in text and "CPU-days" in text
    assert "and 1 runs of unknown time" in text
    assert kind_of(small.plan.config) == ("darts-cnn", "snas", "joint")


@pytest.mark.parametrize("fixed", [0.0, 0.3, 1.0])
def test_within_reach_an_estimate_is_within_two_whatever_part_grows_with_the_work(
    fixed: float,
) -> None:
    def seconds(work: float) -> float:
        return fixed + (1 - fixed) * work

    for ratio in (1 / REACH, 0.6, 1.0, 2.0, REACH):
        found = _seconds_of(ratio, [Measured(("", "", ""), "cpu", 1.0, seconds(1.0))])
        assert found is not None and 0.5 <= found[0] / seconds(ratio) <= 2
    ends = [Measured(("", "", ""), "cpu", work, seconds(work)) for work in (1.0, 100.0)]
    between = _seconds_of(40.0, ends)
    assert between is not None and between[0] == pytest.approx(seconds(40.0))
    assert _seconds_of(100.0 * REACH * 1.01, ends) is None


def test_what_is_measured_is_steps_and_validations_with_the_kernels_of_such_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned: list[int] = []
    made = searching.Search.__init__

    def begin(self: Any, *args: Any, planned_epochs: int = 0, **options: Any) -> None:
        planned.append(planned_epochs)
        made(self, *args, planned_epochs=planned_epochs, **options)

    monkeypatch.setattr(searching.Search, "__init__", begin)
    plan = plan_run(Registry(), "snas", "snas-unit", assignments=[*TINY[:4], "search.epochs=7"])
    ticks = itertools.count()
    told = measure(plan.config, Registry(), "cpu", "reference", clock=lambda: float(next(ticks)))
    steps = steps_of(plan.config)
    assert planned == [7] and steps is not None
    assert told == 7 * (steps * 1.0 + 1.0)  # a second between two looks at the clock


def test_channels_count_in_whole_vectors(tmp_path: Path) -> None:
    """Measured: a step with 11 channels takes as long as one with 16, not half of it."""
    times = Times(Registry(), tmp_path, "cpu")

    def work(channels: int) -> float | None:
        own = [t for t in TINY if "channels" not in t] + [f"space.channels={channels}"]
        return times.work(plan_run(Registry(), "snas", "darts-cnn", assignments=own).config)

    assert work(9) == work(11) == work(16)
    assert work(1) == work(8)
    assert work(16) < work(17) == work(24)
