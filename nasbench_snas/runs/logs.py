"""The log of a run: ``run.log`` in its folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger("nasbench_snas")


class _LogFile(logging.FileHandler):
    """A log in a file, which must not hide an error where it cannot be written (a full disk)."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Lose the message."""


@contextlib.contextmanager
def log_file(path: Path, *, quiet: type[Exception]) -> Iterator[None]:
    """Write what is logged to ``path``, and the traceback of an error to it alone.

    Args:
        path: The file.
        quiet: An exception whose traceback is not written.
    """
    handler = _LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    except quiet:
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
