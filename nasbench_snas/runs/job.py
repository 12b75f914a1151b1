"""What is run in a folder: training that can stop after any step, and what a job says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from nasbench_snas.compute.deadline import Deadline
from nasbench_snas.compute.distributed import World
from nasbench_snas.runs.folder import RunFolder


class Work(Protocol):
    """Training that can stop after any step: a search, or a retraining.

    Attributes:
        epoch: Finished epochs.
        step: Finished steps.
        elapsed: Seconds of all processes that worked on it one after another.
        apart: Seconds of measurements that count neither there nor in an epoch's seconds.
        deadline: When the measurements after the training have to end.
        note: One line about how it computes.
    """

    epoch: int
    step: int
    elapsed: float
    apart: float
    deadline: Deadline
    note: str

    @property
    def epochs(self) -> int:
        """Planned epochs."""

    @property
    def ended(self) -> bool:
        """Whether the training is over: its epochs are done, or it has decided to end."""

    @property
    def batch_size(self) -> int:
        """Images of a step, over all processes."""

    @property
    def elements(self) -> int:
        """Size of a feature map of the first layer, over this process's part of the batch."""

    @property
    def measured_images(self) -> int:
        """Images that the measurements after the training take through the network."""

    @property
    def epoch_finished(self) -> bool:
        """Whether all steps of the current epoch are done."""

    def one_step(self) -> None:
        """Do the next step of the current epoch."""

    def step_event(self) -> dict[str, Any]:
        """Return what displays show after a step."""

    def finish_epoch(self) -> dict[str, Any]:
        """Close the epoch and return its event, without times."""

    def write_epoch(self, folder: RunFolder) -> None:
        """Write further files at the end of an epoch."""

    def peak_memory(self) -> int:
        """Return the largest memory in use so far, in bytes."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""


@dataclass(frozen=True)
class Job:
    """What is run in a folder.

    Attributes:
        kind: ``search`` or ``retrain``; the key of the state in checkpoints.
        config: The resolved settings.
        digest: Hash of the settings that checkpoints must belong to.
        same: Tells whether the text of a ``config.toml`` holds these settings.
        make: Builds the work for the processes at hand.
        finish: Measures the result at the end, called on every process with the work and whether
            it stopped early; writes nothing but files of its own.
        record: Added to ``env.json``.
        checkpoint_seconds: Seconds between checkpoints within an epoch.
        finite: Keys of epoch events that must be finite.
        synchronised: Whether batch norms use the statistics of all processes.
        again: Command that continues an interrupted run.
        fix: Advice when it diverges, or what gives it from the work.
    """

    kind: str
    config: BaseModel
    digest: str
    same: Callable[[str], bool]
    make: Callable[[World], Any]
    finish: Callable[[Any, bool], dict[str, Any]]
    record: dict[str, Any]
    checkpoint_seconds: float
    finite: tuple[str, ...]
    synchronised: bool = False
    again: str = ""
    fix: str | Callable[[Any], str] = ""
