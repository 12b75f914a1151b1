"""How far estimates of time are from what a search takes: ten settings, each measured and run.

``python benchmarks/estimates.py [FOLDER]`` times a few steps of each setting (``--measure``), runs
the whole search, and estimates it once more from one finished search of two thirds of its channels.
It writes one line a setting: work of a step, seconds of the training, both estimates over it, and
what finished searches of the other settings say. Seconds are of this process's processor, so that
other work on the machine does not count; the searches are short, on fake images, one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.provenance import device_name, versions
from nasbench_snas.search.estimate import Measured, Times, kind_of, measure
from nasbench_snas.search.plan import PlannedRun, load_config, plan_run
from nasbench_snas.search.runner import RunOptions, run_search

SETTINGS = (
    # estimator, space, level, channels, pixels, images, batch, settings of the space
    ("snas", "darts-cnn", "joint", 4, 8, 640, 16, "cells=3 nodes=2"),
    ("snas", "darts-cnn", "joint", 16, 16, 320, 16, "cells=3 nodes=2"),
    ("snas", "darts-cnn", "joint", 36, 32, 80, 8, "cells=3 nodes=2"),
    ("darts", "darts-cnn", "unrolled", 4, 8, 160, 8, "cells=3 nodes=2"),
    ("darts", "darts-cnn", "unrolled", 16, 16, 96, 8, "cells=3 nodes=2"),
    ("snas", "snas-unit", "joint", 8, 8, 640, 16, "nodes=3"),
    ("snas", "snas-unit", "joint", 36, 32, 160, 16, "nodes=3"),
    ("darts", "snas-unit", "unrolled", 16, 32, 160, 16, "nodes=3"),
    ("snas", "nasbench201", "joint", 16, 32, 160, 16, "cells_per_stage=1"),
    ("darts", "nasbench201", "unrolled", 8, 16, 320, 16, "cells_per_stage=1"),
)
EPOCHS = 2


def assignments(level: str, channels: int, pixels: int, images: int, batch: int) -> list[str]:
    """Return the settings of one search on fake images, as ``--set`` takes them."""
    return [
        f"search.level='{level}'",
        f"search.epochs={EPOCHS}",
        f"search.batch_size={batch}",
        f"space.channels={channels}",
        "data.dataset='fake'",
        f"data.fake.size={pixels}",
        f"data.fake.train_images={images}",
        "child.samples=1",
        "child.recalibration_images=32",
    ]


def searched(plan: PlannedRun, registry: Registry, root: Path) -> tuple[float, int]:
    """Run a search; return the seconds of its training, validation included, and its steps."""
    moments: dict[str, float] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["kind"] in ("start", "epoch"):
            moments[event["kind"]] = time.process_time()

    folder = RunFolder(root / plan.run_id)
    result = run_search(plan.config, registry, folder, RunOptions(listeners=(listen,)))
    return moments["epoch"] - moments["start"], int(result["steps"])


def ratio(times: Times, plan: PlannedRun, took: float) -> str:
    """Return the estimate over the seconds that it took."""
    found = times.expected(plan)
    return "unknown" if found is None else f"{found.seconds / took:.2f}"


def known(registry: Registry, root: Path, runs: dict[str, tuple[float, int]]) -> Times:
    """Return what finished runs took, by their processor time."""
    times = Times(registry, root, "this processor")
    for name, (seconds, steps) in runs.items():
        config = load_config(root / name / "config.toml")
        work = times.work(config) or 0.0
        found = Measured(kind_of(config), times.device, work, seconds / steps)
        times.measured.append(found)
    return times


def main(root: Path) -> None:
    """Measure and run every setting, then print the table."""
    registry = Registry()
    plans, rows = [], []
    here: dict[str, tuple[float, int]] = {}
    beside: dict[str, tuple[float, int]] = {}
    for name, space, level, channels, pixels, images, batch, own in SETTINGS:
        chosen = assignments(level, channels, pixels, images, batch)
        chosen += [f"space.{word}" for word in own.split()]
        plan = plan_run(registry, name, space, assignments=chosen)
        told = measure(plan.config, registry, "cpu", clock=time.process_time)
        here[plan.run_id] = searched(plan, registry, root / "settings")
        fewer = [*chosen, f"space.channels={round(channels / 1.5)}"]
        near = plan_run(registry, name, space, assignments=fewer)
        beside[near.run_id] = searched(near, registry, root / "near")
        plans.append((plan, near))
        rows.append((f"{name} {space} {level} {channels} ch {pixels} px batch {batch}", told))
        print(f"{rows[-1][0]}: {told:.2f} s, took {here[plan.run_id][0]:.2f} s", flush=True)
    print(f"\n{device_name('cpu')}, torch {versions()['torch']}, {EPOCHS} epochs")
    for (plan, near), (label, told) in zip(plans, rows, strict=True):
        took = here[plan.run_id][0]
        rest = {name: run for name, run in here.items() if name != plan.run_id}
        one = known(registry, root / "near", {near.run_id: beside[near.run_id]})
        others = known(registry, root / "settings", rest)
        found = [ratio(times, plan, took) for times in (one, others)]
        work = one.work(plan.config) or 0.0
        print(f"{label}, {work:.3g}, {took:.2f}, {told / took:.2f}, {', '.join(found)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
