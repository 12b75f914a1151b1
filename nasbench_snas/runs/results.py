"""Results as data: one row for each run and stage, with documented columns.

>>> import nasbench_snas
>>> frame = nasbench_snas.load_results("runs")  # doctest: +SKIP

Searches are the folders of a root, retrainings those of its ``_retrain``, gradient studies those of
its ``_gradients`` (one row for each estimator and point). Several roots, such as the stores of
several machines, are merged: of two copies of a run the finished one counts. Results of older
schema versions are migrated while they are read; files are never changed. Imports no torch, and
pandas only where a table is asked for.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.outside import csv_line, unguarded
from nasbench_snas.runs.copies import further, merge_copies
from nasbench_snas.runs.folder import RunFolder, stored_runs, write_atomic
from nasbench_snas.runs.pack import store_of
from nasbench_snas.runs.rows import RowLoader
from nasbench_snas.runs.schema import COLUMNS, TYPES, Row

if TYPE_CHECKING:
    import pandas as pd


@runtime_checkable
class HasRows(Protocol):
    """A result that knows its rows of the table, such as that of a search."""

    def rows(self) -> list[Row]:
        """Return the rows."""


Roots = str | Path | HasRows | Iterable[str | Path | HasRows]


def load_results(roots: Roots = "runs") -> pd.DataFrame:
    """Return all runs under one or several roots as a table, one row for each run and stage.

    Args:
        roots: A run store, a file of packed runs, a result (of :func:`nasbench_snas.search`), or
            several of them.

    Returns:
        Columns :data:`COLUMNS`, rows by stage and run id. Numbers that a run does not have are
        NaN; a run without a result has its status, its reason and its settings.

    Raises:
        DataError: A root does not exist, or two roots hold different runs of the same name.
    """
    return _frame(load_rows(roots))


def load_rows(roots: Roots = "runs") -> list[Row]:
    """Return what :func:`load_results` returns, as plain dictionaries (without pandas)."""
    items = [roots] if isinstance(roots, str | Path | HasRows) else list(roots)
    paths = [Path(item) for item in items if not isinstance(item, HasRows)]
    found: dict[tuple[str, str], RunFolder] = {}
    for root in _distinct(paths):
        for stage, folder in stored_runs(root):
            other = found.setdefault((stage, folder.run_id), folder)
            if other is not folder:
                found[stage, folder.run_id] = further(other, folder)
    loader = RowLoader()
    rows = [row for (stage, _), folder in found.items() for row in loader.rows(stage, folder)]
    rows += [row for item in items if isinstance(item, HasRows) for row in item.rows()]
    rows = merge_copies(rows)
    _join_parents(rows)
    order = {"search": 0, "retrain": 1, "transfer": 2, "gradients": 3}
    return sorted(rows, key=lambda row: (order.get(row["stage"], 9), row["run_id"]))


def export_results(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows to ``path``; its suffix decides the format (``.csv`` or ``.parquet``).

    Raises:
        ConfigError: Another suffix, or parquet without a package that writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        lines = [csv_line(COLUMNS), *(csv_line(row[name] for name in COLUMNS) for row in rows)]
        write_atomic(path, "".join(lines))
    elif path.suffix == ".parquet":
        try:
            _write_parquet(_frame(rows), path)
        except ImportError as error:
            raise ConfigError(
                "parquet files need a package that writes them.",
                "pandas found neither pyarrow nor fastparquet.",
                "pip install pyarrow, or use --format csv",
            ) from error
    else:
        raise ConfigError(f"cannot write results as {path.suffix!r}.", "Known: .csv, .parquet")


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a table with one schema for all files: a column without values has its type, too."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        frame.to_parquet(path, index=False)
        return
    kinds = {"object": pa.string(), "Int64": pa.int64(), "boolean": pa.bool_()}
    fields = [(name, kinds.get(TYPES.get(name, ""), pa.float64())) for name in COLUMNS]
    frame.to_parquet(path, index=False, engine="pyarrow", schema=pa.schema(fields))


def read_exported(path: Path) -> pd.DataFrame:
    """Return the table that :func:`export_results` wrote: the same columns, types and texts.

    Raises:
        DataError: The file is missing, or is no such table.
    """
    try:
        names, rows = (_from_parquet if path.suffix == ".parquet" else _from_csv)(path)
    except (OSError, ValueError, TypeError, KeyError, ImportError, csv.Error) as error:
        raise DataError(f"cannot read the results in {path}: {error}") from error
    if wrong := sorted(set(COLUMNS) ^ set(names)):
        raise DataError(f"{path} is no table of results: check the columns {', '.join(wrong)}.")
    return _frame(rows)


def _from_csv(path: Path) -> tuple[list[str], list[Row]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, strict=True)
        names = next(lines, [])
        if set(names) != set(COLUMNS):
            return names, []
        return names, [dict(zip(names, map(_value, names, row), strict=True)) for row in lines]


def _value(name: str, cell: str) -> Any:
    readers: dict[str, Callable[[str], Any]] = {
        "object": unguarded,
        "Int64": int,
        "boolean": {"True": True, "False": False}.__getitem__,
    }
    return readers.get(TYPES.get(name, ""), float)(cell) if cell else None


def _from_parquet(path: Path) -> tuple[list[str], list[Row]]:
    import pandas as pd

    stored = pd.read_parquet(path)
    columns = {str(name): [None if pd.isna(v) else v for v in stored[name]] for name in stored}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return list(columns), rows


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table whose column types do not depend on the rows."""
    import pandas as pd

    columns = {}
    for name in COLUMNS:
        values = [row[name] for row in rows]
        columns[name] = pd.Series(values, dtype=TYPES.get(name, "float64"))
    return pd.DataFrame(columns)


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Return the roots, each once; raises if one is not a folder."""
    for path in (paths := [store_of(path) for path in paths]):
        if not path.is_dir():
            raise DataError(
                f"there is no run store at {path}.",
                "Expected a folder of runs, such as the one `nasbench run` writes to.",
                "Make a run with `nasbench run -e snas -s darts-cnn`, or pass --root.",
            )
    return [path for path in {path.resolve(): path for path in paths}.values()]


def _join_parents(rows: Sequence[Row]) -> None:
    """Let retrainings say what their search was, where it is in the same stores."""
    searches = {row["run_id"]: row for row in rows if row["stage"] == "search"}
    names = (
        "estimator estimator_version estimator_params level alpha_settings space constraint seed"
    )
    for row in rows:
        parent = searches.get(row["parent_id"])
        if row["stage"] in ("retrain", "transfer") and parent is not None:
            row |= {name: parent[name] for name in names.split() if row[name] is None}
