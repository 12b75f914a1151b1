"""The log of a run, beside its other files."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from nasbench_snas.runs.folder import RunFolder

logger = logging.getLogger("nasbench_snas")


class _LogFile(logging.FileHandler):
    """A log in a file, which must not hide an error where it cannot be written (a full disk)."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Lose the message."""


@contextlib.contextmanager
def log_file(folder: RunFolder, stopped: type[Exception]) -> Iterator[None]:
    """Write what is logged to ``run.log``, and the traceback of an error to it alone.

    ``stopped`` is the error of a run that was asked to stop: it has no traceback there.
    """
    handler = _LogFile(folder.path / "run.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    except stopped:
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
