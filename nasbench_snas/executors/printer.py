"""One command a line, for any scheduler that the suite does not know."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from nasbench_snas.executors.task import Outcome, Task


class PrintExecutor:
    """Writes the commands and runs none of them.

    Args:
        stream: Where to; None: standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Write one command for each task; there are no outcomes."""
        stream = self._stream or sys.stdout
        for task in tasks:
            stream.write(shlex.join(("nasbench", *task.arguments)) + "\n")
        yield from ()
