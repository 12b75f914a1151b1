"""Packs the NAS-Bench-201 accuracies from a text table into the file that is shipped.

Counts of correct images stay integers of 16 bits; training times are kept in tenths of a second,
latencies in units of 10 microseconds: what was published, to the last digit. Run as
``python -m nasbench_snas.truth.packing validation.csv.gz``.
"""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_snas.errors import DataError
from nasbench_snas.truth.classes import classes, key_of
from nasbench_snas.truth.published import DATASETS, FILE, NOT_RUN, SEEDS

ODD_COLUMNS = ("architecture", "seed", "parameters")


def pack(source: Path, target: Path) -> None:
    """Write the packed table of ``source``.

    Raises:
        DataError: The rows are not all architectures in order, or a value does not fit.
    """
    with gzip.open(source, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if [row["operations"] for row in rows] != [key_of(i) for i in range(5**6)]:
        raise DataError(f"{source} does not hold all 15,625 architectures in order.")
    odd = [
        (index, *map(int, part.split(":")))
        for index, row in enumerate(rows)
        for part in row["odd_seeds"].split()
    ]
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "correct": np.array([[_counts(row, name) for name in DATASETS] for row in rows], "<u2"),
        "seconds": _fixed(rows, "train_seconds", 10, "<u4"),
        "latency": _fixed(rows, "latency_seconds", 1e5, "<u2"),
        "odd": np.array(odd, "<u4"),
        "classes": np.array([classes(shift=False), classes(shift=True)], "<u2"),
    }
    with target.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _counts(row: dict[str, str], dataset: str) -> list[int]:
    texts = [row[f"{dataset}_correct_seed{seed}"] for seed in range(SEEDS)]
    return [int(text) if text else NOT_RUN for text in texts]


def _fixed(
    rows: list[dict[str, str]], column: str, unit: float, dtype: str
) -> np.ndarray[Any, Any]:
    values = np.array([[float(row[f"{name}_{column}"]) for name in DATASETS] for row in rows])
    scaled = np.rint(values * unit)
    if np.abs(scaled / unit - values).max() > 1e-9 or scaled.max() > np.iinfo(dtype).max:
        raise DataError(f"{column}: a value has more digits than the packed table keeps.")
    return scaled.astype(dtype)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), FILE)
