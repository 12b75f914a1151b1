"""The console of the command line: colours, tables and progress, with texts that steer nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from nasbench_snas.cli._streams import SafeStream
from nasbench_snas.outside import visible


class SafeConsole(Console):
    """A rich console whose texts hold no control characters, and no markup.

    Args:
        stderr: Whether it writes to standard error.
        options: As for :class:`rich.console.Console`.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        stream = sys.stderr if stderr else sys.stdout
        behind = stream.behind if isinstance(stream, SafeStream) else stream
        super().__init__(file=behind, markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return ``text`` as rich lays it out, control characters written out."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of ``renderable``, control characters of its texts written out."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text == (text := visible(segment.text)):
                yield segment
            else:
                yield Segment(text, segment.style)
