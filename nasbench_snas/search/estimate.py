"""Estimates of time for runs that have not started, from runs that have finished."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nasbench_snas.errors import CheckpointError
from nasbench_snas.runs.folder import run_folders
from nasbench_snas.search.plan import PlannedRun


@dataclass(frozen=True)
class Measured:
    """What a finished run took.

    Attributes:
        kind: Its space, preset and data set.
        estimator: Its estimator.
        device: Its device.
        seconds: Wall-clock seconds of an epoch, validation included.
    """

    kind: tuple[str, str, str]
    estimator: str
    device: str
    seconds: float


@dataclass(frozen=True)
class Expected:
    """What a run will take.

    Attributes:
        seconds: Wall-clock seconds of the whole run.
        sources: The finished runs it is estimated from.
    """

    seconds: float
    sources: tuple[Measured, ...]


def measured_times(root: Path) -> list[Measured]:
    """Return what the finished runs of a store took; damaged ones are left out."""
    times = []
    for folder in run_folders(root):
        try:
            result = folder.result() or {}
            epochs, seconds = int(result["epochs_done"]), float(result["wall_s"])
            kind = (str(result["space"]), str(result["preset"]), str(result["dataset"]))
            names = (str(result["estimator"]), str(result.get("device_name")))
        except (CheckpointError, KeyError, TypeError, ValueError):
            continue
        if epochs > 0 and seconds > 0:
            times.append(Measured(kind, *names, seconds / epochs))
    return times


def expected(times: Iterable[Measured], plan: PlannedRun) -> Expected | None:
    """Return what ``plan`` will take, or None if nothing like it has finished.

    Measured are finished runs of the same space, preset and data set; those of the same estimator
    if there are any. The time is scaled by the number of epochs.
    """
    config = plan.config
    wanted = (config.space.name, config.preset, config.data.dataset)
    near = [m for m in times if m.kind == wanted]
    same = [m for m in near if m.estimator == config.estimator.name]
    found = tuple(same or near)
    if not found:
        return None
    per_epoch = sum(m.seconds for m in found) / len(found)
    return Expected(per_epoch * config.search.epochs, found)


def estimate(times: Iterable[Measured], plan: PlannedRun) -> str:
    """Return the estimate in words."""
    found = expected(times, plan)
    if found is None:
        return "time unknown (no finished run of this kind)"
    return f"about {duration(found.seconds)} ({told(found.sources)})"


def told(sources: Iterable[Measured]) -> str:
    """Return where an estimate comes from: ``from 3 finished runs on cpu (2 cores)``."""
    runs = list(sources)
    devices = ", ".join(sorted({run.device for run in runs}))
    return f"from {len(runs)} finished run{'s' if len(runs) > 1 else ''} on {devices}"


def duration(seconds: float) -> str:
    """Return a duration in words, for example ``14 s``, ``3.2 min``, ``1.5 h`` or ``2.1 d``."""
    for limit, size, unit in ((100, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} s" if unit == "s" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"
