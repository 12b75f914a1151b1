"""The index of a run store: one line for each search, retraining and gradient study.

It is derived from the folders, and imports no torch.

``index.jsonl`` caches what is read from a folder together with times and sizes of its files, so
that thousands of runs are listed without opening them again. It may be deleted at any time.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

from nasbench_snas.errors import CheckpointError, NasbenchError
from nasbench_snas.runs.binding import BOUND
from nasbench_snas.runs.events import read_events
from nasbench_snas.runs.folder import (
    RETRAININGS,
    STUDIES,
    RunFolder,
    run_folders,
    write_atomic,
)
from nasbench_snas.runs.progress import ALIVE_SECONDS, last_sign
from nasbench_snas.runs.provenance import boot_id, host_id
from nasbench_snas.runs.schema import NOT_RECORDED
from nasbench_snas.runs.temporaries import remove_dead
from nasbench_snas.settings.toml import read_toml

_KEPT = (
    "search_valid_acc",
    "child_valid_acc",
    "test_err_top1",
    "gpu_days",
    "epochs_done",
    "epochs_planned",
)
ABOUT = ("estimator", "space", "dataset", "preset", "constraint", "level", "seed")
"""What a listing can be filtered by, beside stage and status."""
_FIELDS = {"run_id", "stage", "status", "reason", "updated", "note", *ABOUT}
_AGAIN = {
    "search": "nasbench run --resume",
    "retrain": "nasbench retrain --resume",
    "transfer": "nasbench retrain --resume",
}


def read_index(root: Path, *, rebuild: bool = False) -> list[dict[str, Any]]:
    """Return one row for each run of every stage under ``root``, newest first.

    Args:
        root: The run store.
        rebuild: Read every folder again.
    """
    file = root / "index.jsonl"
    known: dict[str, dict[str, Any]] = {}
    if not rebuild:
        try:
            known = {row["run_id"]: row for row in read_events(file) if row.keys() >= _FIELDS}
        except (CheckpointError, TypeError):
            known = {}
    rows, changed = [], rebuild
    parts = (root, root / RETRAININGS, root / STUDIES)
    for folder in itertools.chain.from_iterable(run_folders(part) for part in parts):
        stamp = _stamp(folder)
        row = known.get(folder.run_id)
        living = row is not None and row["status"] in ("running", "stale")
        if row is None or living or row.get("stamp") != stamp:
            fresh = {**index_row(folder), "stamp": stamp}
            changed |= fresh != row
            row = fresh
        rows.append(row)
    if changed or len(rows) != len(known):
        _write(file, rows)
    return sorted(rows, key=lambda row: row["updated"], reverse=True)


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    if file.parent.is_dir():
        remove_dead(file.parent, locked=False)
        try:
            write_atomic(file, "".join(json.dumps(row) + "\n" for row in rows))
        except CheckpointError:
            return  # a store that cannot be written is still listed


def _stamp(folder: RunFolder) -> list[int]:
    """Return times and sizes of the files that a row is read from."""
    stamp = []
    for name in ("status.json", "result.json", "config.toml", "events.jsonl", *BOUND):
        try:
            found = (folder.path / name).stat()
            stamp += [found.st_mtime_ns, found.st_size]
        except OSError:
            stamp += [0, 0]
    return stamp


def index_row(folder: RunFolder) -> dict[str, Any]:
    """Return the row of one run, with a ``note`` where the user can do something about it."""
    stage = {RETRAININGS: "retrain", STUDIES: "gradients"}.get(folder.path.parent.name, "search")
    row: dict[str, Any] = {"run_id": folder.run_id, "stage": stage, **dict.fromkeys(ABOUT)}
    try:
        result, status = folder.verify() or {}, folder.status()
        if status.get("status") == "done" and not result:
            raise CheckpointError(f"run {folder.run_id} is damaged: result.json is missing.")
        _check_types(status, result)
    except (CheckpointError, OSError) as error:
        what = error.what if isinstance(error, CheckpointError) else str(error)
        return row | {"status": "damaged", "reason": "", "updated": 0.0, "note": what}
    row |= {
        "stage": result.get("stage", stage),
        "status": status.get("status", "queued"),
        "reason": status.get("reason", ""),
        "updated": status.get("updated") or 0.0,
        **{key: result.get(key) for key in (*_KEPT, *ABOUT)},
        "note": "",
    }
    if row["stage"] != "gradients" and result.get("images", NOT_RECORDED) == NOT_RECORDED:
        row["note"] = NOT_RECORDED if result else ""
    if row["status"] != "done":
        _unfinished(folder, row)
    return row


def _check_types(status: dict[str, Any], result: dict[str, Any]) -> None:
    """Raise a :class:`CheckpointError` if a value of a row is of another type than it has to be."""
    texts = {name: status.get(name, "") for name in ("status", "reason")}
    texts["stage"] = result.get("stage", "")
    numbers = {"updated": status.get("updated", 0.0), **{key: result.get(key) for key in _KEPT}}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise CheckpointError(f"{name} is {str(value)[:40]!r}, expected a text.")
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise CheckpointError(f"{name} is {str(value)[:40]!r}, expected a number.")


def _unfinished(folder: RunFolder, row: dict[str, Any]) -> None:
    try:
        _progress(folder, row)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, NasbenchError) as error:
        row["status"], row["note"] = "damaged", f"cannot be read: {error}"
        return
    if row["status"] == "running" and not folder.is_locked() and not _alive_elsewhere(folder):
        row["status"], row["note"] = "stale", _why_stale(folder)
    if row["status"] in ("interrupted", "stale", "truncated"):
        command = _AGAIN.get(row["stage"])
        hint = f"{command} {folder.run_id}" if command else "the same command continues it"
        row["note"] = f"{row['note']}; {hint}" if row["note"] else hint
    elif row["status"] in ("failed", "diverged"):
        row["note"] = row["reason"]


def _progress(folder: RunFolder, row: dict[str, Any]) -> None:
    """Fill in how far a search or retraining is (the length of a study is not in epochs).

    Without a result the settings say what it is.
    """
    config = read_toml(folder.config_file)
    if row["estimator"] is None:
        row |= {key: value for key in ABOUT if (value := _setting(config, key)) is not None}
    if row["stage"] == "gradients":
        return
    table = config.get("search" if row["stage"] == "search" else "training", {})
    row["epochs_planned"] = table.get("epochs")
    epochs = [e for e in read_events(folder.events_file) if e.get("kind") == "epoch"]
    row["epochs_done"] = int(epochs[-1]["epoch"]) if epochs else 0


def _setting(config: dict[str, Any], key: str) -> Any:
    """Return a setting that listings show, of any stage; None if there is none."""
    if key == "dataset":
        return config.get("data", {}).get("dataset")
    if key == "level":
        return config.get("search", {}).get("level")
    value = config.get(key)
    return value.get("name") if isinstance(value, dict) else value


def _alive_elsewhere(folder: RunFolder) -> bool:
    """Whether another machine holds the run (its lock may not be seen here) and still writes."""
    host = folder.holder().get("host")
    silent = time.time() - last_sign(folder)
    return host not in (None, host_id()) and silent < ALIVE_SECONDS


def _why_stale(folder: RunFolder) -> str:
    who = folder.holder()
    if who.get("host") not in (None, host_id()):
        return "started on another host"
    if who.get("boot_id") not in (None, boot_id()):
        return "the machine was restarted"
    return f"process {who.get('pid', '?')} is gone"
