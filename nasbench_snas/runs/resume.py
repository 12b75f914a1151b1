"""What a continued run keeps so that it stays bit-equal, and what it says where that cannot be."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from nasbench_snas.errors import MissingDependencyError
from nasbench_snas.kernels.dispatch import BACKENDS, select_backend
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.runs.trackers import require_tracker

logger = logging.getLogger("nasbench_snas")


def kept_kernels(folder: RunFolder, options: RunOptions, unrecorded: str = "auto") -> str:
    """Return the backend to use: a continued run keeps its own, so that it stays bit-equal.

    Args:
        folder: The run's folder.
        options: The options; a backend asked for by name wins.
        unrecorded: What a run that recorded no backend used.

    Raises:
        MissingDependencyError: The run's own backend cannot be had here.
    """
    if options.kernels != "auto" or not (options.resume and folder.checkpoint_file.exists()):
        return options.kernels
    starts = folder.starts()
    if not starts or starts[-1].get("device") != options.device:
        return "auto"
    kept = str(starts[-1].get("kernels", unrecorded))
    if kept in BACKENDS:
        try:
            select_backend(kept, options.device)
        except MissingDependencyError as error:
            raise MissingDependencyError(
                f"run {folder.run_id} began with kernels {kept!r}: {error.what}",
                "With others its numbers are rounded differently; nothing was changed.",
                "Make them available again, or continue all the same with --kernels reference.",
            ) from error
    return kept


def check_unused(kernels: str, device: str, tracker: str = "none") -> None:
    """Check what was asked for beside a run that has finished, and say that it plays no part.

    Raises:
        ConfigError: The backend cannot run on this device.
        MissingDependencyError: The backend or the tracker cannot be had here.
    """
    if kernels != "auto":
        select_backend(kernels, device)
        logger.warning("--kernels %s plays no part: the run has finished", kernels)
    if tracker != "none":
        require_tracker(tracker)
        logger.warning("--track %s plays no part: the run has finished", tracker)


def changed_note(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what rounding depends on and has changed since a checkpoint; "" if nothing has."""
    changed = [
        f"{key} {now[key]} instead of {before[key]}"
        for key in now
        if key in before and before[key] != now[key]
    ]
    if not changed:
        return ""
    return (
        f"continued with {', '.join(changed)}: numbers are rounded differently, so the result is "
        "not bit-equal to a run that never changed"
    )
