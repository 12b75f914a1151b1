"""The log of a run: all messages, and the traceback of an error. Imports no torch."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from nasbench_snas.outside import visible

logger = logging.getLogger("nasbench_snas")


class _LogFile(logging.FileHandler):
    """A log in a file, which must not hide an error where it cannot be written (a full disk)."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Lose the message."""


class _Visible(logging.Formatter):
    """Messages without control characters, as they are read on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return visible(super().format(record))


@contextlib.contextmanager
def log_file(folder: Path, expected: type[Exception]) -> Iterator[None]:
    """Write what is logged to ``run.log``, and the traceback of an error to it alone.

    Args:
        folder: The run's folder.
        expected: An error without a traceback.
    """
    handler = _LogFile(folder / "run.log")
    handler.setFormatter(_Visible("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    except expected:
        raise
    except Exception as error:
        details = (type(error), error, error.__traceback__)
        handler.handle(
            logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "failed", (), details)
        )
        raise
    finally:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()
