"""Packs a table of ``snas-unit`` that ``nasbench tabulate`` made into the file that is shipped.

Run as ``python -m nasbench_snas.truth.unit_packing table.csv meta.json``: the second file says how
the table was made (command, commit, versions, epochs, seconds).
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from nasbench_snas.errors import DataError
from nasbench_snas.truth.unit import EDGES, FILE, OPERATIONS, UnitTable, index_of

_KINDS = ("valid", "test")


def pack_unit(source: Path, meta: dict[str, Any], target: Path) -> None:
    """Write the packed table of ``source``.

    Raises:
        DataError: Rows are missing, or differ among members of a function or in their images.
    """
    with source.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    seeds = sorted({int(row["seed"]) for row in rows})
    trained = sorted({row["trained"] for row in rows})
    images = {tuple(int(row[f"{kind}_images"]) for kind in _KINDS) for row in rows}
    total = len(OPERATIONS) ** EDGES
    if len(rows) != total * len(seeds) or len(images) != 1:
        raise DataError(f"{source} does not hold all {total} architectures with equal images.")
    (of_kind,) = images
    right = np.full((len(trained), len(seeds), 2), -1, dtype=np.int64)
    functions = np.zeros(total, dtype="<u2")
    for row in rows:
        place = (trained.index(row["trained"]), seeds.index(int(row["seed"])))
        functions[index_of(row["architecture"])] = place[0]
        shares = zip(_KINDS, of_kind, strict=True)
        counts = np.array([round(float(row[f"{k}_acc"]) * n / 100) for k, n in shares])
        if right[place].max() >= 0 and (right[place] != counts).any():
            raise DataError(f"{source}: members of the function {row['trained']} differ.")
        right[place] = counts
    arrays = {
        "right": right.astype("<u2"),
        "images": np.array(of_kind, dtype="<u2"),
        "functions": functions,
    }
    meta = {**meta, "seeds": seeds, "quantile": 0.0}
    _write(target, arrays, meta)
    freedom = UnitTable(target).deviation[1]
    _write(target, arrays, {**meta, "quantile": comparison_quantile(len(trained), freedom)})


def _write(target: Path, arrays: dict[str, Any], meta: dict[str, Any]) -> None:
    with target.open("wb") as file:
        text = np.array(json.dumps(meta, sort_keys=True))
        np.savez_compressed(file, allow_pickle=False, meta=text, **arrays)


def comparison_quantile(count: int, freedom: int, draws: int = 20_000) -> float:
    """Return the 95 % quantile of the largest of ``count - 1`` comparisons with one mean.

    Of ``max_i (Z_i - Z_0) / (sqrt(2) S)`` with independent standard normals and ``S^2`` a
    chi-square over its degrees of freedom, by a fixed simulation (standard error about 0.01).

    Args:
        count: Means that are compared.
        freedom: Degrees of freedom of the variance.
        draws: Simulated tables.
    """
    generator = np.random.default_rng(0)
    first = generator.standard_normal(draws)
    largest = ndtri(generator.random(draws) ** (1 / (count - 1)))  # of so many normals
    scale = np.sqrt(generator.chisquare(freedom, draws) / freedom)
    return float(np.quantile((largest - first) / (2**0.5 * scale), 0.95))


if __name__ == "__main__":
    pack_unit(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), FILE)
