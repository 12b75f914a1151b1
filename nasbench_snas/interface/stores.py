"""Where the runs of a call lie: in the store that was named, else in one for this process only."""

from __future__ import annotations

import tempfile
import threading
import uuid
from pathlib import Path

from nasbench_snas.errors import ConfigError

_LOCK = threading.Lock()
_TEMPORARY: dict[str, tempfile.TemporaryDirectory[str]] = {}


def store_of(root: str | Path | None, sources: str | None) -> Path:
    """Return the run store of a call.

    Without ``root`` it is a temporary folder of this process, removed at its end; the same call
    finds its run there again, unless a class that it was given has changed.

    Args:
        root: The store; None: a temporary one.
        sources: Hash of the classes of a notebook that the call uses; None: it is not known.

    Raises:
        ConfigError: ``root`` is a file.
    """
    if root is None:
        return _temporary(sources)
    path = Path(root).expanduser().absolute()  # a result outlives a change of the folder
    if path.is_file():
        raise ConfigError(
            f"root {str(path)!r} is a file, not a folder of runs.",
            "A file of packed runs can be read (load_results), not written.",
        )
    return path


def is_temporary(path: Path) -> bool:
    """Whether a store ends with this process."""
    return any(Path(folder.name) == path for folder in _TEMPORARY.values())


def _temporary(sources: str | None) -> Path:
    key = uuid.uuid4().hex if sources is None else sources
    with _LOCK:
        if key not in _TEMPORARY:
            _TEMPORARY[key] = tempfile.TemporaryDirectory(prefix="nasbench-snas-")
        return Path(_TEMPORARY[key].name)
