"""Finished runs whose result lacks what tables are made of: they are damaged, and say so.

A row of the result schema that would stop a table is turned into one of status ``damaged`` with the
reason; where the run's configuration can be read, it says to which row of a table it belongs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nasbench_snas.errors import NasbenchError
from nasbench_snas.runs.binding import broken_settings
from nasbench_snas.runs.rows import complete_row, setting_columns

from .selection import Run

_NEEDED = ("search_valid_acc", "child_valid_acc", "child_gap")
_ENDED = ("done", "truncated")


def with_damage(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows, those that no table can be made of marked as damaged."""
    return [_checked(row) for row in rows]


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    if row["status"] == "damaged":
        reason = str(row["reason"] or "it cannot be read")
    else:
        reason = _damage(row)
    if not reason:
        return row
    known = _settings(row)
    told = reason if reason.startswith("damaged") else f"damaged: {reason}"
    lost: dict[str, Any] = dict.fromkeys((*_NEEDED, "child_matrix"), None)
    trusted = ("estimator_params", "alpha_settings")
    filled = {
        k: v for k, v in known.items() if v is not None and (row.get(k) is None or k in trusted)
    }
    lost |= {name: known.get(name) for name in trusted}
    return {**row, **filled, **lost, "status": "damaged", "reason": told}


def _damage(row: Run) -> str:
    """Return what a finished run lacks; empty for a whole one and for one that has not ended."""
    if row["status"] not in _ENDED:
        return ""
    if row["stage"] in ("retrain", "transfer"):
        if row["test_err_top1"] is None:
            return "its result has no test error"
        changed = _parsed(row["changed_settings"], [])
        named = isinstance(changed, list) and all(isinstance(name, str) for name in changed)
        return "" if named else "changed_settings is not a list of names"
    if row["stage"] != "search":
        return ""
    lacking = [name for name in _NEEDED if row[name] is None]
    if lacking or row["seed"] is None:
        return f"its result has no {', '.join(lacking) or 'seed'}"
    for name in ("estimator_params", "alpha_settings"):
        if not isinstance(_parsed(row[name], {}), dict):
            return f"{name} is not a table"
    entries = _parsed(row["child_matrix"], [])
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        return "child_matrix is not a list of accuracies"
    return ""


def _parsed(text: Any, empty: Any) -> Any:
    if not text:
        return empty
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    accuracy = entry.get("accuracy")
    return (
        isinstance(accuracy, int | float)
        and not isinstance(accuracy, bool)
        and 0 <= accuracy <= 100
        and all(isinstance(entry.get(name), str) for name in ("view", "statistics"))
    )


def _settings(row: Run) -> dict[str, Any]:
    """Return the columns that the configuration gives; none where it is what is damaged."""
    file = Path(str(row["folder"])) / "config.toml"
    if "config.toml" in str(row["reason"]) or broken_settings(file.parent):
        return {}
    try:
        return complete_row(setting_columns(file.read_text(encoding="utf-8")))
    except (NasbenchError, OSError, ValueError):
        return {}
