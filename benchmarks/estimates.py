"""How far estimates of time are from what a search takes: ten settings, each measured and run.

``python benchmarks/estimates.py [FOLDER]`` times a few steps of each setting (``--measure``), runs
the whole search, and estimates it once more from one finished search of two thirds of its channels.
It writes one line a setting: work of a step, seconds of the search (``wall_s``), both estimates over
it, and what finished searches of the other settings say. The searches are short, on fake images, so
that all take a few minutes of one core.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.provenance import device_name, versions
from nasbench_snas.search.estimate import Times, kind_of, measure
from nasbench_snas.search.plan import PlannedRun, plan_run
from nasbench_snas.search.runner import RunOptions, run_search

SETTINGS = (
    # estimator, space, level, channels, pixels, images, batch, settings of the space
    ("snas", "darts-cnn", "joint", 4, 8, 640, 16, "cells=3 nodes=2"),
    ("snas", "darts-cnn", "joint", 16, 16, 320, 16, "cells=3 nodes=2"),
    ("snas", "darts-cnn", "joint", 36, 32, 80, 8, "cells=3 nodes=2"),
    ("darts", "darts-cnn", "unrolled", 4, 8, 320, 8, "cells=3 nodes=2"),
    ("darts", "darts-cnn", "unrolled", 16, 16, 160, 8, "cells=3 nodes=2"),
    ("snas", "snas-unit", "joint", 8, 8, 640, 16, "nodes=3"),
    ("snas", "snas-unit", "joint", 36, 32, 320, 16, "nodes=3"),
    ("darts", "snas-unit", "unrolled", 16, 32, 320, 16, "nodes=3"),
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


def searched(plan: PlannedRun, registry: Registry, root: Path) -> float:
    """Run a search; return its seconds."""
    result = run_search(plan.config, registry, RunFolder(root / plan.run_id), RunOptions())
    return float(result["wall_s"])


def ratio(times: Times, plan: PlannedRun, took: float) -> str:
    """Return the estimate over the seconds that it took."""
    found = times.expected(plan)
    return "unknown" if found is None else f"{found.seconds / took:.2f}"


def main(root: Path) -> None:
    """Measure and run every setting, then print the table."""
    registry = Registry()
    plans, rows = [], []
    for name, space, level, channels, pixels, images, batch, own in SETTINGS:
        chosen = assignments(level, channels, pixels, images, batch)
        chosen += [f"space.{word}" for word in own.split()]
        plan = plan_run(registry, name, space, assignments=chosen)
        told = measure(plan.config, registry, "cpu")
        took = searched(plan, registry, root / "settings")
        plans.append(plan)
        fewer = [*chosen, f"space.channels={round(channels / 1.5)}"]
        searched(plan_run(registry, name, space, assignments=fewer), registry, root / "near")
        rows.append((f"{name} {space} {level} {channels} ch {pixels} px batch {batch}", told, took))
        print(f"{rows[-1][0]}: measured {told:.2f} s, took {took:.2f} s", flush=True)
    print(f"\n{device_name('cpu')}, torch {versions()['torch']}, {EPOCHS} epochs")
    for plan, (label, told, took) in zip(plans, rows, strict=True):
        others = Times(registry, root / "settings", device_name("cpu"))
        work = others.work(plan.config) or 0.0
        others.measured = [m for m in others.measured if m.work != work]
        near = Times(registry, root / "near", device_name("cpu"))
        kind = kind_of(plan.config)
        same = [m for m in near.measured if m.kind == kind]
        near.measured = sorted(same, key=lambda m: abs(math.log(m.work / work)))[:1]
        found = [ratio(times, plan, took) for times in (near, others)]
        print(f"{label}, {work:.3g}, {took:.2f}, {told / took:.2f}, {', '.join(found)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
