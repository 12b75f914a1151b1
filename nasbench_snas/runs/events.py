"""The event log of a run, line by line. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nasbench_snas.errors import CheckpointError
from nasbench_snas.runs.binding import plain


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a log; a torn last line is ignored.

    Raises:
        CheckpointError: A line other than the last is damaged, or one is no JSON object.
    """
    try:
        lines = plain(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                return
            raise CheckpointError(f"{path}, line {number}: {error}") from error
        if not isinstance(event, dict):
            raise CheckpointError(
                f"{path}, line {number}: expected a JSON object, got {line[:40]!r}."
            )
        yield event
