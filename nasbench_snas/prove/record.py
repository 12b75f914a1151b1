"""What ``nasbench prove`` found: rows written as they come, as JSON and as a page.

A row is one statement with its numbers. A check that ended the process, by a crash or by a kill, is
a row, too: the next start finds it marked as running, writes that down, and goes on after it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nasbench_snas.runs.folder import write_atomic

SCHEMA = 1
"""Version of ``prove.json``."""

Status = Literal["passed", "failed", "error", "skipped", "measured"]


@dataclass(frozen=True)
class Row:
    """One statement.

    Attributes:
        check: The check it belongs to.
        case: What was looked at.
        status: ``passed`` or ``failed`` against a limit; ``measured``: a number without one;
            ``error``: it could not be found out; ``skipped``: not here, and why.
        values: Numbers and names, plain JSON values.
        note: What a reader should know: why skipped, which error.
        interpreted: Whether Triton's interpreter ran the kernels: right or wrong, never fast.
        seconds: Wall-clock time that it took.
    """

    check: str
    case: str
    status: Status
    values: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    interpreted: bool = False
    seconds: float = 0.0


class Record:
    """The rows of one folder.

    Args:
        folder: Where ``prove.json`` and ``prove.md`` go.
        identity: What the rows depend on: device, versions. Rows of another identity are left.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder, self.identity = folder, identity
        self.rows: list[Row] = []
        self.finished: list[str] = []
        self.running = ""
        self.started = time.time()
        folder.mkdir(parents=True, exist_ok=True)
        self._continue()

    @property
    def file(self) -> Path:
        """The JSON file."""
        return self.folder / "prove.json"

    def begin(self, check: str) -> None:
        """Write down that a check runs now; what it left of an earlier start is dropped."""
        self.rows = [row for row in self.rows if row.check != check]
        self.running = check
        self.write()

    def add(self, row: Row) -> None:
        """Add a row and write it."""
        self.rows.append(row)
        self.write()

    def finish(self, check: str) -> None:
        """Write down that a check is complete."""
        self.finished.append(check)
        self.running = ""
        self.write()

    @property
    def bad(self) -> list[Row]:
        """Rows that failed or could not be found out."""
        return [row for row in self.rows if row.status in ("failed", "error")]

    def write(self) -> None:
        """Write both files."""
        content = {
            "schema": SCHEMA,
            "identity": self.identity,
            "started": self.started,
            "written": time.time(),
            "running": self.running,
            "finished": self.finished,
            "rows": [asdict(row) for row in self.rows],
        }
        write_atomic(self.file, json.dumps(content, indent=1) + "\n")
        write_atomic(self.folder / "prove.md", page(self))

    def _continue(self) -> None:
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA or content["identity"] != self.identity:
                return
            rows = [Row(**row) for row in content["rows"]]
            finished, running = list(content["finished"]), str(content["running"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        self.rows, self.finished = rows, finished
        self.started = float(content["started"])
        if running:
            note = "the process ended while this check ran; it is not tried again"
            self.rows.append(Row(running, "the check itself", "error", note=note))
            self.finish(running)


def page(record: Record) -> str:
    """Return the page, Markdown."""
    counts = {
        status: sum(row.status == status for row in record.rows)
        for status in ("passed", "failed", "error", "measured", "skipped")
    }
    said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    lines = ["# What was proved here", "", f"{said or 'nothing yet'}.", ""]
    lines += [f"* {key}: {value}" for key, value in record.identity.items()]
    if record.running:
        lines += ["", f"Running: {record.running}."]
    for check in dict.fromkeys(row.check for row in record.rows):
        lines += ["", f"## {check}", "", "| case | | numbers | seconds |", "|---|---|---|---|"]
        for row in record.rows:
            if row.check == check:
                lines.append(_line(row))
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    numbers = "; ".join(f"{key} {_text(value)}" for key, value in row.values.items())
    about = " ".join(part for part in (numbers, row.note) if part).replace("|", "\\|")
    status = f"**{row.status}**" if row.status in ("failed", "error") else row.status
    if row.interpreted:
        status += " (interpreted)"
    return f"| {row.case} | {status} | {' '.join(about.split())} | {row.seconds:.1f} |"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    return str(value)
