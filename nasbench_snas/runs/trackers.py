"""Trackers: send a run's events to TensorBoard or Weights & Biases, behind one small protocol.

A tracker is a callable that receives every event. It cannot stop the run: one that fails is
dropped with a warning.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from nasbench_snas.errors import ConfigError, MissingDependencyError
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.settings.run import RunConfig

_LOG = logging.getLogger("nasbench_snas")


class Tracker(Protocol):
    """Receives the events of one run."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Record one event."""


def require_tracker(name: str) -> None:
    """Check that a tracker (or ``none``) could be opened, without opening it.

    Raises:
        ConfigError: There is no such tracker.
        MissingDependencyError: Its package is not installed.
    """
    if name == "none":
        return
    _maker(name)
    if importlib.util.find_spec(name) is None:
        raise _missing(name, name)


def _maker(name: str) -> Callable[[RunFolder, RunConfig], Tracker]:
    makers: dict[str, Callable[[RunFolder, RunConfig], Tracker]] = {  # named as their packages
        "tensorboard": TensorBoardTracker,
        "wandb": WandbTracker,
    }
    if name not in makers:
        raise ConfigError(f"unknown tracker {name!r}.", f"Known: {', '.join(makers)}")
    return makers[name]


def _missing(name: str, package: str | None) -> MissingDependencyError:
    return MissingDependencyError(
        f"tracker {name!r} needs a package that is not installed: {package}.",
        fix=f"pip install 'nasbench-snas[{name}]'",
    )


def open_tracker(name: str, folder: RunFolder, config: RunConfig) -> Tracker:
    """Return the tracker called ``name`` for one run.

    Raises:
        ConfigError: There is no such tracker.
        MissingDependencyError: Its package is not installed.
    """
    make = _maker(name)
    try:
        return _Guarded(name, make(folder, config))
    except ImportError as error:
        raise _missing(name, error.name) from error
    except Exception as error:
        raise ConfigError(
            f"tracker {name!r} cannot be opened: {error}",
            fix="Mend it (wandb: `wandb login`, or WANDB_MODE=offline), or --track none.",
        ) from error


class LaterTracker:
    """A tracker that is opened at the first event, when the run's folder stands."""

    def __init__(self, name: str, folder: RunFolder, config: RunConfig) -> None:
        self._make: Callable[[], Tracker] = partial(open_tracker, name, folder, config)
        self._tracker: Tracker | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        """Record one event."""
        if self._tracker is None:
            self._tracker = self._make()
        self._tracker(event)


class _Guarded:
    """A tracker whose failure is told once and never reaches the run."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name = name
        self._tracker: Tracker | None = tracker

    def __call__(self, event: dict[str, Any]) -> None:
        """Pass an event on."""
        if self._tracker is None:
            return
        try:
            self._tracker(event)
        except Exception as error:  # noqa: BLE001  whatever a tracker raises, the run goes on
            _LOG.warning("tracker %s failed and is left out from now on: %s", self._name, error)
            self._tracker = None


_COUNTED = frozenset({"t", "epoch", "step"})
"""Unix times and counters: TensorBoard keeps 24 bits of a number, and its axis is the step."""


def scalars(event: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of an event by name."""
    return {
        key: float(value)
        for key, value in event.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


class TensorBoardTracker:
    """Writes the scalars of every epoch into ``<run>/tensorboard``."""

    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder.path / "tensorboard"))

    def __call__(self, event: dict[str, Any]) -> None:
        """Record an epoch event; close at the result."""
        if event["kind"] == "epoch":
            for key, value in scalars(event).items():
                if key not in _COUNTED:
                    self._writer.add_scalar(key, value, event["step"])
            self._writer.flush()
        elif event["kind"] == "result":
            self._writer.close()


class WandbTracker:
    """Logs the scalars of every epoch to Weights & Biases (mode from ``WANDB_MODE``)."""

    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        import wandb

        self._run = wandb.init(
            project="nasbench_snas",
            id=folder.run_id,
            name=folder.run_id,
            dir=str(folder.path),
            config=config.model_dump(mode="json"),
            resume="allow",
        )

    def __call__(self, event: dict[str, Any]) -> None:
        """Record an epoch event; close at the result."""
        if event["kind"] == "epoch":
            self._run.log(scalars(event), step=int(event["step"]))
        elif event["kind"] == "result":
            self._run.summary.update(scalars(event))
            self._run.finish()
