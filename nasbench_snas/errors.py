"""Errors that the suite raises on purpose.

Each message has up to three lines: what is wrong, why or what was expected, and how to mend it; a
long list of what is known stands last.
``exit_code`` is what the command line returns for it, of :class:`ExitCode`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line returns; :data:`EXIT_MEANINGS` says when."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    SOME_FAILED = 4
    REFUSED = 5
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_MEANINGS = {
    ExitCode.OK: "what was asked for is done",
    ExitCode.FAILED: "a run or check failed, or a run folder is damaged or in use",
    ExitCode.USAGE: "a wrong option, setting or name, also of a run, genotype or file of settings "
    "that there is not",
    ExitCode.MISSING: "missing data, hardware or package",
    ExitCode.SOME_FAILED: "a sweep or table finished, some of its runs failed",
    ExitCode.REFUSED: "a report was refused (--strict)",
    ExitCode.INTERRUPTED: "SIGINT, after a checkpoint was written",
    ExitCode.TERMINATED: "SIGTERM, after a checkpoint was written",
}
"""The table of exit codes: what `nasbench --help` and the documentation say."""


_KNOWN = "Known: "
_SHORT = 100
"""Characters of a list that is not long."""


class NasbenchError(Exception):
    """Base of all errors that a user can mend.

    Args:
        what: One line: what is wrong, with the offending value.
        why: One line: what was expected, or why it matters.
        fix: One line: what to do now.
    """

    exit_code: int = ExitCode.FAILED

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        reason, mark, known = why.partition(_KNOWN)
        if len(known) <= _SHORT:
            reason, mark, known = why, "", ""
        parts = (what, reason.rstrip(), fix, mark + known)
        super().__init__("\n  ".join(part for part in parts if part))


class ConfigError(NasbenchError):
    """A setting, name or option is wrong."""

    exit_code = ExitCode.USAGE


class PluginError(ConfigError):
    """A plug-in is unknown, broken or registered twice."""


class GenotypeError(ConfigError):
    """A genotype cannot be read, or does not fit the space."""


class DataError(NasbenchError):
    """A data set is missing, damaged or does not fit the settings."""

    exit_code = ExitCode.MISSING


class MissingDependencyError(NasbenchError):
    """An optional package, a compiler or hardware is missing."""

    exit_code = ExitCode.MISSING


class CheckpointError(NasbenchError):
    """A checkpoint or run folder is damaged, foreign or locked."""


class UnknownRunError(CheckpointError):
    """A name is that of no run, or of several.

    Args:
        name: What was given.
        where: Where it was looked for.
        known: Names of the runs there; of several, those that it may mean.
        several: Whether it is that of several.
    """

    exit_code = ExitCode.USAGE

    def __init__(
        self, name: str, where: object, known: Iterable[str] = (), *, several: bool = False
    ) -> None:
        self.several = several
        shown = repr(name if len(name) <= 80 else f"{name[:80]}…")
        names = list(known)[:8]
        if not name.strip():
            super().__init__(
                "the name of a run is empty.",
                "A shell variable that is not set gives an empty name.",
                "`nasbench ls runs` lists the names.",
            )
        elif several:
            super().__init__(
                f"{shown} matches several runs in {where}.",
                f"They are: {', '.join(names)}",
                "Write more of the name.",
            )
        else:
            super().__init__(
                f"{shown} matches no run in {where}.",
                suggest(name[:80], names),
                "`nasbench ls runs` lists the names; --root says where they are looked for.",
            )


class DivergedError(NasbenchError):
    """A loss or gradient became NaN or infinite."""


class ReportRefusedError(NasbenchError):
    """A report was asked to be strict and the runs cannot be compared."""

    exit_code = ExitCode.REFUSED


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``"Did you mean 'x'?  Known: …"`` for a misspelt ``word``.

    Of names that begin as the word does, whatever its capitals, the one with the fewest parts is
    meant, the first of several.
    """
    names = sorted(known)
    begun = [name for name in names if name.lower().startswith(word.lower())] if word else []
    begun.sort(key=lambda name: name.count("-"))
    close = begun or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    start = f"Did you mean {close[0]!r}?  " if close else ""
    return f"{start}{_KNOWN}{', '.join(names) or '(none)'}"
