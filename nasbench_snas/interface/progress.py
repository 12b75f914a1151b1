"""Progress of a call: one line that is updated in a notebook or on a terminal, else nothing."""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nasbench_snas.outside import visible
from nasbench_snas.runs.options import Listener

Progress = bool | Listener | None
"""``None``: in a notebook and on a terminal; ``True``: always; ``False``: never; a function: it is
called with every event instead."""

_SECONDS = 0.25
_SHOWN = (
    ("search_acc", "search accuracy {:.2f} %"),
    ("test_acc", "test accuracy {:.2f} %"),
    ("train_loss", "loss {:.3f}"),
)


@contextmanager
def listening(progress: Progress, name: str, epochs: int) -> Iterator[tuple[Listener, ...]]:
    """Yield the listeners of a run.

    Args:
        progress: What was asked for.
        name: The run.
        epochs: Epochs until it stops.
    """
    latest: dict[str, Any] = {}

    def text(event: dict[str, Any]) -> str | None:
        if event["kind"] not in ("step", "epoch"):
            return None
        latest.update(event)
        values = (form.format(latest[key]) for key, form in _SHOWN if key in latest)
        return ", ".join([f"{name}: epoch {latest['epoch']}/{epochs}", *values])

    with _shown(progress, text) as listener:
        yield () if listener is None else (listener,)


@contextmanager
def reporting(progress: Progress, name: str) -> Iterator[Listener]:
    """Yield what a study reports its events to; arguments as of :func:`listening`."""

    def text(event: dict[str, Any]) -> str:
        done = f"  {event['draws']} draws" if "draws" in event else ""
        return f"{name}: {event['point']}  {event.get('estimator', event['kind'])}{done}"

    with _shown(progress, text) as listener:
        yield (lambda event: None) if listener is None else listener


@contextmanager
def _shown(
    progress: Progress, text: Callable[[dict[str, Any]], str | None]
) -> Iterator[Listener | None]:
    if callable(progress):
        yield progress
        return
    line = None if progress is False else _line(always=progress is True)
    if line is None:
        yield None
        return
    last, shown = "", 0.0

    def listener(event: dict[str, Any]) -> None:
        nonlocal last, shown
        found = text(event)
        if found is None:
            return
        last = visible(found)
        if time.monotonic() - shown >= _SECONDS:
            line.write(last)
            shown = time.monotonic()

    try:
        yield listener
    finally:
        line.close(last)


def _line(*, always: bool) -> _NotebookLine | _TerminalLine | None:
    if in_notebook():
        return _NotebookLine()
    if always or sys.stderr.isatty():
        return _TerminalLine()
    return None


def in_notebook() -> bool:
    """Whether a Jupyter kernel shows what this process displays."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _NotebookLine:
    """One output of the running cell, which is replaced."""

    def __init__(self) -> None:
        self._display: Any = importlib.import_module("IPython.display").display
        self._handle: Any = None

    def write(self, text: str) -> None:
        """Show ``text`` in place of what was there."""
        data = {"text/plain": text, "text/html": f"<small>{html.escape(text)}</small>"}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def close(self, text: str) -> None:
        """Show the last line for good."""
        if text:
            self.write(text)


class _TerminalLine:
    """One line on standard error."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()

    def write(self, text: str) -> None:
        """Show ``text`` in place of what was there; not where lines cannot be replaced."""
        if self._tty:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def close(self, text: str) -> None:
        """Show the last line for good."""
        if text:
            self.write(text)
            sys.stderr.write("\n" if self._tty else f"{text}\n")
