"""Pickles of plain containers and arrays; whatever else one names is refused, never built."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from nasbench_snas.errors import DataError
from nasbench_snas.outside import UNREADABLE

_ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what arrays are made with; refuse everything else."""
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def read_plain(path: Path) -> dict[str, Any]:
    """Return the dictionary pickled in ``path``, its keys as text.

    Raises:
        DataError: The file is missing, is no such pickle, or names anything but arrays.
    """
    try:
        with path.open("rb") as file:
            content = _Plain(file, encoding="latin1").load()
        items = content.items()
    except (pickle.UnpicklingError, ImportError, MemoryError) as error:
        raise DataError(
            f"{path} is no file of arrays: {error}.", "Nothing else in a pickle is built."
        ) from error
    except UNREADABLE as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in items}
