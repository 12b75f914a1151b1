"""``nasbench ls runs``: which runs, in columns that fit the terminal, once or again and again."""

from __future__ import annotations

import collections
import itertools
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.cli._columns import aligned, legend, print_rows, shown
from nasbench_snas.errors import ConfigError, suggest

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session

Row = dict[str, Any]
Wanted = Mapping[str, tuple[str, ...]]

_KEYS = (
    "run_id stage status reason epochs_done epochs_planned search_valid_acc child_valid_acc "
    "test_err_top1 gpu_days updated note estimator space dataset preset constraint level seed "
    "left_s"
).split()
_DROPPED = ("stage", "gpu-days", "age", "error", "search", "left", "child", "epoch")
"""Columns that give way on a narrow terminal, the first one first."""
_STATUSES = "queued running stale interrupted failed diverged truncated damaged done".split()
_STAGES = ("search", "retrain", "transfer", "gradients")
_FIRST = ("running", "stale", "interrupted", "failed", "damaged", "diverged")
WATCH_SECONDS = 3.0


def rows(session: Session, wanted: Wanted, *, rebuild: bool = False) -> list[Row]:
    """Return the runs of the store that are wanted, newest first, with what is left of living ones.

    Args:
        session: The command's session.
        wanted: Accepted values by filter.
        rebuild: Read every folder again.

    Raises:
        ConfigError: There is no such status or stage.
    """
    from nasbench_snas.runs.index import read_index

    for key, known in (("status", _STATUSES), ("stage", _STAGES)):
        for value in wanted.get(key, ()):
            if value not in known:
                raise ConfigError(f"unknown {key} {value!r}.", suggest(value, known))
    kept = [r for r in read_index(session.root, rebuild=rebuild) if _is_wanted(r, wanted)]
    return [dict.fromkeys(_KEYS) | row | _progress(session, row) for row in kept]


def _is_wanted(row: Row, wanted: Wanted) -> bool:
    for key, values in wanted.items():
        if key == "name":
            if not any(value in row["run_id"] for value in values):
                return False
        elif str(row.get(key)) not in values:
            return False
    return True


def _progress(session: Session, row: Row) -> Row:
    """Return the epochs of a living run, the begun one in part, and the seconds left."""
    from nasbench_snas.runs.folder import RETRAININGS, STUDIES, RunFolder
    from nasbench_snas.runs.progress import progress_of

    unknown = {"at": row.get("epochs_done"), "left_s": None}
    if row["status"] != "running":
        return unknown
    part = {"search": "", "gradients": STUDIES}.get(row["stage"], RETRAININGS)
    told = progress_of(RunFolder(session.root / part / row["run_id"]))
    if not told or not isinstance(row.get("epochs_planned"), int):
        return unknown
    done = told["step"] / told["total_steps"] * row["epochs_planned"]
    return {"left_s": told["left_s"], "at": max(row["epochs_done"] or 0, done)}


def show(session: Session, found: list[Row], wanted: Wanted, *, as_json: bool) -> None:
    """Print runs: as JSON, in all columns, or on a terminal in those that fit."""
    if as_json:
        click.echo(json.dumps([{k: row[k] for k in _KEYS} for row in found], indent=1))
    elif not found:
        click.echo(f"no runs in {session.root}{_in_words(wanted)}")
    elif sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        lines = fitted([_shown(row) for row in found], width)
        told = legend(lines[0].lower().split())
        for line in [*lines, *textwrap.wrap(told, width)]:
            click.echo(line)
    else:
        print_rows([_shown(row) for row in found])


def _in_words(wanted: Wanted) -> str:
    told = " and ".join(f"{key} {' or '.join(values)}" for key, values in wanted.items())
    return f" with {told}" if told else ""


def _shown(row: Row) -> Row:
    """Return a run as people read it."""
    from nasbench_snas.runs.progress import duration

    done = row["at"] or 0
    epochs = f"{round(done, 1):.9g}/{row['epochs_planned'] or '?'}"
    return {
        "run": row["run_id"],
        "stage": row["stage"],
        "status": row["status"],
        "epoch": "" if row["stage"] == "gradients" else epochs,
        "left": "" if row["left_s"] is None else duration(row["left_s"]),
        "search": row["search_valid_acc"],
        "child": row["child_valid_acc"],
        "error": row["test_err_top1"],
        "gpu-days": row["gpu_days"],
        "age": _age(time.time() - row["updated"]) if row["updated"] else "",
        "note": row["note"],
    }


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def fitted(shown_rows: list[Row], width: int) -> list[str]:
    """Return the lines of a listing that is ``width`` characters wide.

    Columns that say nothing are left out, then those that matter least; a note goes below its run.
    The name of a run is never cut: it stands on a line of its own where it leaves no room.
    """
    names = [n for n in shown_rows[0] if n != "note" and any(_says(r[n]) for r in shown_rows)]
    if len({row["stage"] for row in shown_rows}) == 1:
        names.remove("stage")
    for name in _DROPPED:
        if max(map(len, aligned(shown_rows, names))) <= width:
            break
        names = [n for n in names if n != name]
    alone = max(map(len, aligned(shown_rows, names))) > width
    lines = aligned(shown_rows, [n for n in names if n != "run"] if alone else names)
    out = [] if alone else [lines[0]]
    for row, line in zip(shown_rows, lines[1:], strict=True):
        out += [row["run"], f"  {line}"] if alone else [line]
        if _says(row["note"]):
            note = shown(row["note"])
            out += textwrap.wrap(
                note,
                width,
                initial_indent="  ",
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return out


def _says(value: Any) -> bool:
    return value is not None and value != ""


def watch(
    session: Session,
    wanted: Wanted,
    looks: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Show the runs again and again: on a terminal in place, elsewhere a line for each change.

    Args:
        session: The command's session.
        wanted: Accepted values by filter.
        looks: How often; None: until it is interrupted.
        pause: Waits so many seconds.
    """
    numbers = itertools.count() if looks is None else range(looks)
    try:
        if sys.stdout.isatty():
            _watch_in_place(session, wanted, numbers, pause)
        else:
            _watch_changes(session, wanted, numbers, pause)
    except KeyboardInterrupt:
        return


def _watch_in_place(
    session: Session, wanted: Wanted, numbers: Any, pause: Callable[[float], None]
) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(console=session.console(), auto_refresh=False) as live:
        for number in numbers:
            if number:
                pause(WATCH_SECONDS)
            size = shutil.get_terminal_size()
            lines = frame(rows(session, wanted), wanted, size.columns, size.lines - 1)
            live.update(Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)


def frame(found: list[Row], wanted: Wanted, width: int, height: int) -> list[str]:
    """Return what one look shows: a line of counts, then the runs, those at work first."""
    counts = collections.Counter(row["status"] for row in found)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    head = f"{time.strftime('%H:%M:%S')}  {len(found)} runs{_in_words(wanted)}"
    lines = [f"{head}: {told}" if told else head]
    place = {status: number for number, status in enumerate(_FIRST)}
    ordered = sorted(found, key=lambda row: place.get(row["status"], len(_FIRST)))
    if ordered:
        lines += fitted([_shown(row) for row in ordered], width)
    hidden = len(lines) - height
    if hidden > 0:
        lines = [*lines[: height - 1], f"… {hidden + 1} more lines"]
    return lines


def _watch_changes(
    session: Session, wanted: Wanted, numbers: Any, pause: Callable[[float], None]
) -> None:
    before: dict[str, tuple[Any, ...]] = {}
    for number in numbers:
        if number:
            pause(WATCH_SECONDS)
        for row in reversed(rows(session, wanted)):
            now = (row["status"], row["epochs_done"] or 0)
            if before.get(row["run_id"]) != now:
                before[row["run_id"]] = now
                cells = {k: v for k, v in _shown(row).items() if k != "stage" and _says(v)}
                run, status = cells.pop("run"), cells.pop("status")
                words = (f"{name} {shown(value)}" for name, value in cells.items())
                click.echo("  ".join([run, status, *words]))
