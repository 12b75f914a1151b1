"""How far a running job is, in a file: for whoever looks at the folder, also from other machines.

``progress.json`` is written after a step, at most every :data:`BEAT_SECONDS`; nothing depends on
it, so it is not forced to the disk. A job whose process is gone leaves its last one behind. Imports
no torch.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.temporaries import temporary_of

BEAT_SECONDS = 5.0
"""Least time between two writings."""
ALIVE_SECONDS = 300.0
"""So long after its last sign a job on another machine counts as running."""
_SIGNS = ("progress.json", "events.jsonl", "status.json", "checkpoints/last.pt")
_KEPT = ("epoch", "step", "total_steps", "train_loss")


class Beat:
    """Writes the progress of one process of a job, and tells the time that is left.

    Args:
        folder: The run's folder.
        first: Steps that were done before.
        share: Of all steps, what this process is to reach (below 1 with a limit on epochs).
        end: ``time.monotonic()`` at which it stops in any case; infinite: never.
    """

    def __init__(
        self, folder: RunFolder, first: int, share: float = 1.0, end: float = math.inf
    ) -> None:
        self._file = folder.path / "progress.json"
        self._first, self._share, self._end = first, share, end
        self._began = self._written = time.monotonic()

    def step(self, event: Mapping[str, Any]) -> float:
        """Return the seconds left after a step, and write them now and then.

        Args:
            event: Of the step: ``step``, ``total_steps`` and what else is known.
        """
        now, done = time.monotonic(), event["step"] - self._first
        ahead = max(event["total_steps"] * self._share - event["step"], 0.0)
        left: float = min((now - self._began) / max(done, 1) * ahead, max(self._end - now, 0.0))
        if now - self._written >= BEAT_SECONDS:
            self._written = now
            known = {key: event[key] for key in _KEPT if key in event}
            self._write({**known, "left_s": left, "t": time.time()})
        return left

    def _write(self, values: Mapping[str, Any]) -> None:
        temporary = temporary_of(self._file)
        with suppress(OSError):  # a full disk stops the run at its next checkpoint, not here
            temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
            os.replace(temporary, self._file)


def progress_of(folder: RunFolder) -> dict[str, Any]:
    """Return the contents of ``progress.json``; ``{}`` if there is none, or it is damaged."""
    try:
        values = json.loads((folder.path / "progress.json").read_text(encoding="utf-8"))
        numbers = {key: float(values[key]) for key in ("step", "total_steps", "left_s")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return numbers if 0 < numbers["total_steps"] < float("inf") else {}


def forget_progress(folder: RunFolder) -> None:
    """Remove ``progress.json``: a job begins, or has ended."""
    with suppress(OSError):
        (folder.path / "progress.json").unlink(missing_ok=True)


def last_sign(folder: RunFolder) -> float:
    """Return when a job last wrote something into its folder, in seconds since 1970; 0: never."""
    return max((_modified(folder.path / name) for name in _SIGNS), default=0.0)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def duration(seconds: float) -> str:
    """Return a duration in words, for example ``14 s``, ``3.2 min``, ``1.5 h`` or ``2.1 d``."""
    for limit, size, unit in ((100, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} s" if unit == "s" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"
