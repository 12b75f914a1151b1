"""Runs that a file of another run names: its search, the run whose result it took over."""

from __future__ import annotations

from pathlib import Path

from nasbench_snas.errors import CheckpointError
from nasbench_snas.runs.folder import RunFolder


def named_in(root: Path, name: str) -> RunFolder:
    """Return the folder in ``root`` that a file of another run names: a name, never a path.

    Raises:
        CheckpointError: It would lead out of ``root``.
    """
    if name in ("", ".", "..") or "\0" in name or Path(name).name != name:
        raise CheckpointError(
            f"a run folder in {root} names another run {name!r}.",
            "Expected the name of a folder beside it; a path is not followed.",
            "Restore the folder, or delete it.",
        )
    return RunFolder(root / name)
