"""Files that are being written: their names say by which process, so that a dead one's can go.

A process that is killed between writing a file and giving it its name leaves it behind; a scheduler
that requeues a job would fill the disk with them. Imports no torch.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from nasbench_snas.runs.provenance import host_id

_NAME = re.compile(r"\..+?(?:\.([0-9a-f]{8}))?\.(\d+)\.tmp")
_ELSEWHERE_SECONDS = 3600.0
"""Age from which a file of another machine is taken for a dead process's: writing takes seconds."""


def temporary_of(path: Path) -> Path:
    """Return the name under which this process writes what will be ``path``."""
    return path.with_name(f".{path.name}.{host_id()}.{os.getpid()}.tmp")


def remove_dead(folder: Path, *, locked: bool) -> None:
    """Remove the temporary files of processes that are gone.

    Args:
        folder: Where they are looked for.
        locked: Whether this process has just taken the folder's lock: then also below it, and a
            file with this process's own number is an earlier one's (in containers they repeat).
    """
    files = folder.rglob(".*.tmp") if locked else folder.glob(".*.tmp")
    for file in files:
        named = _NAME.fullmatch(file.name)
        if named is None:
            continue
        with suppress(OSError):
            if _is_dead(file, named.group(1), int(named.group(2)), locked):
                file.unlink()


def _is_dead(file: Path, host: str | None, pid: int, locked: bool) -> bool:
    if host not in (None, host_id()):
        return time.time() - file.stat().st_mtime > _ELSEWHERE_SECONDS
    if pid == os.getpid():
        return locked
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
