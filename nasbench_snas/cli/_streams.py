"""The streams of the command line: nothing that they write can steer a terminal.

The one exception is :mod:`nasbench_snas.cli._terminal`, whose colours and bars go to the stream
behind; the texts in them are treated in the same way there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from nasbench_snas.outside import visible


class SafeStream:
    """A text stream that writes control characters out.

    It hides the bytes below (``buffer``), so that nobody writes around it, and never fails for a
    character that the terminal does not have.

    Args:
        behind: The stream to write to.
    """

    def __init__(self, behind: TextIO) -> None:
        self.behind = behind
        self.buffer = None

    def write(self, text: str) -> int:
        """Write ``text``."""
        shown = visible(text)
        try:
            self.behind.write(shown)
        except UnicodeEncodeError as error:
            plain = shown.encode(error.encoding, "backslashreplace")
            self.behind.write(plain.decode(error.encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write ``lines`` one after another."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Return what the stream behind has by this name."""
        return getattr(self.behind, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Let nothing reach standard output and standard error but through :class:`SafeStream`."""
    before = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        if stream is not None and not isinstance(stream, SafeStream):
            setattr(sys, name, SafeStream(stream))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
