"""Estimates of time for runs that have not started, from runs that have finished."""

from __future__ import annotations

from pathlib import Path

from nasbench_snas.search.plan import PlannedRun
from nasbench_snas.store import run_folders


def expected_seconds(root: Path, plan: PlannedRun) -> tuple[float, int] | None:
    """Return (seconds, number of measured runs) for ``plan``, or None if nothing like it finished.

    Measured are finished runs of the same space, preset and data set; those of the same estimator
    if there are any. The time is scaled by the number of epochs.
    """
    config = plan.config
    same, near = [], []
    for folder in run_folders(root):
        result = folder.result()
        if result is None or result.get("truncated"):
            continue
        key = (result["space"], result["preset"], result["dataset"])
        if key != (config.space.name, config.preset, config.data.dataset):
            continue
        seconds = result["wall_s"] * config.search.epochs / max(result["epochs_done"], 1)
        (same if result["estimator"] == config.estimator.name else near).append(seconds)
    found = same or near
    return (sum(found) / len(found), len(found)) if found else None


def estimate(root: Path, plan: PlannedRun) -> str:
    """Return the estimate in words."""
    found = expected_seconds(root, plan)
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
