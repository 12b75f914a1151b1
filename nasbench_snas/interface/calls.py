"""What every call does around its work: the device's modes, progress, interruption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nasbench_snas.compute.device import resolve_device
from nasbench_snas.interface.progress import Progress, listening
from nasbench_snas.interface.stores import is_temporary
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.runs.start import InterruptedRunError

_AGAIN = "The same call continues it."


@contextmanager
def computing_on(device: str) -> Iterator[str]:
    """Resolve ``device`` with deterministic algorithms, and restore what that changed.

    Yields:
        ``cpu`` or ``cuda:i``.

    Raises:
        ConfigError: The name is not a device.
        MissingDependencyError: There is no such device.
    """
    cudnn, fill = torch.backends.cudnn, torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, filled = cudnn.benchmark, fill.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield resolve_device(device)
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
        cudnn.benchmark = benchmark
        fill.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextmanager
def interruptible(temporary: bool) -> Iterator[None]:
    """Let an interruption say how to continue in Python; none ends the interpreter.

    Args:
        temporary: Whether the run's store ends with the process.

    Raises:
        InterruptedRunError: The run was interrupted and wrote a checkpoint.
        KeyboardInterrupt: It was interrupted while it could not write one.
    """
    try:
        yield
    except InterruptedRunError as error:
        fix = f"{_AGAIN[:-1]}, in this process." if temporary else _AGAIN
        told = InterruptedRunError(error.exit_code - 128, "")
        told.fix = fix
        told.args = (f"{error.what}\n  {fix}",)
        raise told from None
    except SystemExit as stopped:  # a compiler was running, which obeys signals at once
        raise KeyboardInterrupt from stopped


@contextmanager
def running(
    store: Path, name: str, epochs: int, *, device: str, progress: Progress, **options: Any
) -> Iterator[RunOptions]:
    """Yield the options of a search or retraining; errors of :func:`computing_on` and interruption.

    Args:
        store: The run store.
        name: The run.
        epochs: Epochs that are planned.
        device: What was asked for.
        progress: As of :func:`listening`.
        options: Further ones of :class:`RunOptions`.
    """
    last = min(epochs, options["max_epochs"] or epochs)
    with (
        computing_on(device) as where,
        listening(progress, name, last) as listeners,
        interruptible(is_temporary(store)),
    ):
        yield RunOptions(device=where, listeners=listeners, **options)
