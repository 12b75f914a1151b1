"""What runs took in seconds, failed and unfinished ones included."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nasbench_snas.errors import CheckpointError
from nasbench_snas.runs.events import read_events

from .selection import Run


@dataclass(frozen=True)
class Spent:
    """What runs took.

    Attributes:
        runs: How many.
        total: Seconds of those whose time is known.
        unknown: Runs whose time is not known.
    """

    runs: int
    total: float
    unknown: int


def seconds(runs: Iterable[Run]) -> Spent:
    """Return the wall-clock seconds of runs: of the result, or up to the last epoch's event."""
    number, total, unknown = 0, 0.0, 0
    for run in runs:
        number += 1
        took = run["wall_s"] if run["wall_s"] is not None else _logged(run)
        unknown += took is None
        total += took or 0.0
    return Spent(number, total, unknown)


def _logged(run: Run) -> float | None:
    try:
        events = list(read_events(Path(str(run["folder"])) / "events.jsonl"))
    except CheckpointError:
        return None
    known = [float(event["elapsed"]) for event in events if event.get("elapsed") is not None]
    return known[-1] if known else None


def duration(value: float) -> str:
    """Return seconds in words: ``14 s``, ``3.2 min``, ``1.5 h``."""
    for limit, size, unit in ((100.0, 1, "s"), (5400.0, 60, "min")):
        if value < limit:
            return f"{value / size:.0f} {unit}" if size == 1 else f"{value / size:.1f} {unit}"
    return f"{value / 3600:.1f} h"


def told(spent: Spent) -> str:
    """Return ``12 runs, 3.4 h`` and how many of them have no time."""
    without = f", {spent.unknown} without a time" if spent.unknown else ""
    return f"{spent.runs} runs, {duration(spent.total)}{without}"
