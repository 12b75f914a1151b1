"""What a run is told besides its settings: nothing here changes its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Listener = Callable[[dict[str, Any]], None]
"""Called with every event of a run."""


@dataclass(frozen=True)
class RunOptions:
    """What does not change the result of a run.

    Attributes:
        device: Where it runs.
        kernels: Backend of the parent or derived network.
        resume: Continue from a checkpoint if there is one.
        max_epochs: Stop after so many epochs of this run, as ``truncated``; None: never.
        max_seconds: Seconds of this process, the measurements after the training included. It stops
            early for them, as ``truncated``; what does not fit is measured in part. None: no limit.
        listeners: Called with every event (progress displays, trackers).
        sources: Source of each setting, for the comments in ``config.toml``.
    """

    device: str = "cpu"
    kernels: str = "auto"
    resume: bool = True
    max_epochs: int | None = None
    max_seconds: float | None = None
    listeners: tuple[Listener, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
