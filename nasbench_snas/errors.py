"""Errors that the suite raises on purpose.

Each message has up to three lines: what is wrong, why or what was expected, and how to mend it.
``exit_code`` is what the command line returns for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NasbenchError(Exception):
    """Base of all errors that a user can mend.

    Args:
        what: One line: what is wrong, with the offending value.
        why: One line: what was expected, or why it matters.
        fix: One line: what to do now.
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__("\n  ".join(part for part in (what, why, fix) if part))


class ConfigError(NasbenchError):
    """A setting, name or option is wrong."""

    exit_code = 2


class PluginError(ConfigError):
    """A plug-in is unknown, broken or registered twice."""


class GenotypeError(ConfigError):
    """A genotype cannot be read, or does not fit the space."""


class DataError(NasbenchError):
    """A data set is missing, damaged or does not fit the settings."""

    exit_code = 3


class MissingDependencyError(NasbenchError):
    """An optional package, a compiler or hardware is missing."""

    exit_code = 3


class CheckpointError(NasbenchError):
    """A checkpoint or run folder is damaged, foreign or locked."""


class DivergedError(NasbenchError):
    """A loss or gradient became NaN or infinite."""


class ReportRefusedError(NasbenchError):
    """A report was asked to be strict and the runs cannot be compared."""

    exit_code = 5


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``"Did you mean 'x'?  Known: …"`` for a misspelt ``word``."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    start = f"Did you mean {close[0]!r}?  " if close else ""
    return f"{start}Known: {', '.join(names) or '(none)'}"
