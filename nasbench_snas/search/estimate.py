"""Estimates of time for runs that have not started, from runs that have finished."""

from __future__ import annotations

from pathlib import Path

from nasbench_snas.search.plan import PlannedRun
from nasbench_snas.store import run_folders

Times = list[tuple[tuple[str, str, str], str, float]]


def measured_times(root: Path) -> Times:
    """Return (space, preset, data set), estimator and seconds per epoch of all finished runs."""
    times: Times = []
    for folder in run_folders(root):
        result = folder.result() or {}
        if result.get("wall_s") and result.get("epochs_done"):
            key = (result["space"], result["preset"], result["dataset"])
            times.append((key, result["estimator"], result["wall_s"] / result["epochs_done"]))
    return times


def expected_seconds(times: Times, plan: PlannedRun) -> tuple[float, int] | None:
    """Return (seconds, number of measured runs) for ``plan``, or None if nothing like it finished.

    Measured are finished runs of the same space, preset and data set; those of the same estimator
    if there are any. The time is scaled by the number of epochs.
    """
    config = plan.config
    wanted = (config.space.name, config.preset, config.data.dataset)
    near = [(estimator, seconds) for key, estimator, seconds in times if key == wanted]
    same = [seconds for estimator, seconds in near if estimator == config.estimator.name]
    found = same or [seconds for _, seconds in near]
    return (sum(found) / len(found) * config.search.epochs, len(found)) if found else None


def estimate(times: Times, plan: PlannedRun) -> str:
    """Return the estimate in words."""
    found = expected_seconds(times, plan)
    if found is None:
        return "time unknown (no finished run of this kind)"
    seconds, runs = found
    return f"about {duration(seconds)} (from {runs} finished run{'s' if runs > 1 else ''})"


def duration(seconds: float) -> str:
    """Return a duration in words, for example ``14 s``, ``3.2 min``, ``1.5 h`` or ``2.1 d``."""
    for limit, size, unit in ((100, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} s" if unit == "s" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"
