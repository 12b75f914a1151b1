"""Copies of a run are one run: merged by what it is, whatever its folder is called.

A folder that was copied or renamed holds the same replicate. Counted twice it would be taken for
another seed (pseudo-replication), and intervals would shrink for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from nasbench_snas.errors import DataError, NasbenchError
from nasbench_snas.runs.binding import bare_settings, digest_of, named_hash
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.schema import Row


def merge_copies(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, each run of one stage, settings and seed once.

    Of two copies the finished one counts, else the newer one; between equal ones the one whose
    folder bears the name that the run was given.

    Raises:
        DataError: Two copies have finished with different results.
    """
    kept: dict[tuple[object, ...], Row] = {}
    kinds: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        kinds.setdefault(_what_it_is(row), []).append(row)
    for kind, row, digest in (
        (kind, row, digest)
        for kind, members in kinds.items()
        for row, digest in zip(members, _hashes(members), strict=True)
    ):
        key = (*kind, digest)
        other = kept.get(key)
        if other is None:
            kept[key] = row
            continue
        one, two = (RunFolder(Path(str(r["folder"]))) for r in (other, row))
        chosen = further(one, two)
        same = _result_of(one) == _result_of(two)
        if chosen is two or (same and two.run_id == row["run_id"]):
            kept[key] = row
    return list(kept.values())


def _what_it_is(row: Row) -> tuple[object, ...]:
    """Return what makes a row a replicate of its own; its name where its settings are unread."""
    if row["stage"] == "gradients" or row["status"] == "damaged":
        return ("as named", row["stage"], row["folder"], row["run_id"], id(row))
    file = RunFolder(Path(str(row["folder"]))).config_file
    settings = digest_of(bare_settings(file.read_text(encoding="utf-8")))
    return (row["stage"], row["seed"], row["retrain_seed"], settings)


def _hashes(rows: Sequence[Row]) -> list[str]:
    """Return the hash of each row: recorded, in its folder's name, or the only one of its kind.

    Rows are of one kind: they differ in the version of the estimator at most.
    """
    found = [str(row["config_hash"] or named_hash(str(row["run_id"]))) for row in rows]
    known = sorted(set(found) - {""})
    return [value or (known[0] if len(known) == 1 else "") for value in found]


def _result_of(folder: RunFolder) -> bytes:
    file = folder.path / "result.json"
    return file.read_bytes() if file.is_file() else b""


def further(one: RunFolder, other: RunFolder) -> RunFolder:
    """Return the copy of a run that is further: the finished one, else the newer one.

    A copy that is whole wins over a damaged one.

    Raises:
        DataError: Both have finished, with different results.
    """
    whole = [_is_whole(folder) for folder in (one, other)]
    if whole[0] != whole[1]:
        return one if whole[0] else other
    results = [_result_of(folder) for folder in (one, other)]
    if all(results) and results[0] != results[1]:
        raise DataError(
            _where(one, other),
            "It was made twice, and the results (or times) are not the same.",
            "Move one of the two folders away, then load again.",
        )
    if any(results):
        return one if results[0] else other
    return max(one, other, key=_updated)


def _is_whole(folder: RunFolder) -> bool:
    try:
        folder.verify()
    except NasbenchError:
        return False
    return True


def _updated(folder: RunFolder) -> float:
    try:
        return float(folder.status().get("updated", 0.0))
    except (NasbenchError, TypeError, ValueError):
        return -math.inf


def _where(one: RunFolder, other: RunFolder) -> str:
    if one.run_id == other.run_id:
        return f"run {one.run_id} is in {one.path.parent} and in {other.path.parent}, and differs."
    return f"{one.path} and {other.path} are the same run under two names, and differ."
