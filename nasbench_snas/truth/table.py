"""Reading a table of trained architectures, and comparing a search with it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.errors import DataError
from nasbench_snas.outside import unguarded
from nasbench_snas.search.child import accuracies
from nasbench_snas.search.search import Search
from nasbench_snas.stats.agreement import agreement
from nasbench_snas.truth.own import ground


@dataclass(frozen=True)
class Table:
    """A ground truth, averaged over seeds.

    Attributes:
        choices: Operation of each edge, shape ``(N, E)``.
        valid: Mean validation accuracy, percent, shape ``(N,)``.
        test: Mean test accuracy, percent, shape ``(N,)``.
        seeds: Training seeds of each architecture.
        setting: Hash of the space and the images; see :func:`ground`.
    """

    choices: Tensor
    valid: np.ndarray[Any, np.dtype[np.float64]]
    test: np.ndarray[Any, np.dtype[np.float64]]
    seeds: int
    setting: str

    @classmethod
    def read(cls, file: Path) -> Table:
        """Return the table in ``file``.

        Raises:
            DataError: It is not a table.
        """
        try:
            with file.open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            groups: dict[str, list[dict[str, str]]] = {}
            for row in rows:
                if None in row or None in row.values():
                    raise ValueError(f"a row has too few or too many cells: {list(row.values())}")
                groups.setdefault(unguarded(row["architecture"]), []).append(row)
            names = sorted(groups)
            digits = [[int(character, 36) for character in name] for name in names]
            means = [
                [np.mean([float(row[key]) for row in groups[name]]) for name in names]
                for key in ("valid_acc", "test_acc")
            ]
            if not ((np.array(means) >= 0) & (np.array(means) <= 100)).all():
                raise ValueError("an accuracy is not a number from 0 to 100")
            return cls(
                torch.tensor(digits),
                np.array(means[0]),
                np.array(means[1]),
                min(len(rows) for rows in groups.values()),
                ",".join(sorted({unguarded(row["setting"]) for row in rows})),
            )
        except (OSError, LookupError, ArithmeticError, ValueError, csv.Error) as error:
            raise DataError(
                f"{file} is not a table of architectures: {str(error)[:200]}",
                "Expected the columns architecture, seed, setting, valid_acc and test_acc.",
                "Make it again with `nasbench tabulate`; finished shards are kept.",
            ) from error


@own_modes()
def compare(search: Search, table: Table, draws_per_pass: int = 16) -> dict[str, float | None]:
    """Return regret and rank correlation of a finished search against a table.

    Args:
        search: The search at its end.
        table: The ground truth of the same space.
        draws_per_pass: Architectures of one evaluation pass.

    Returns:
        ``test_regret``: best minus derived, in percentage points of test accuracy (None if the
        table is a sample without the derived architecture); ``rank_correlation`` (Kendall's tau)
        and ``spearman`` between the accuracy with inherited weights and the stand-alone
        validation accuracy (None if either is constant); ``n``, the number of architectures.

    Raises:
        DataError: The table is of another space, or of other images.
    """
    if table.setting != ground(search.config):
        config = search.config
        raise DataError(
            "the table is of another space or other images than the search.",
            f"The search: {config.space.name} {config.space.parameters} on {config.data.dataset}, "
            f"setting {ground(config)}; the table: setting {table.setting}.",
            "Make a table with the space and data settings of the search.",
        )
    z = one_hot(table.choices, search.space.num_operations, torch.float32)
    inherited = accuracies(search.parent, z, search.valid_batches, per_pass=draws_per_pass).tolist()
    ranks = agreement(inherited, table.valid.tolist())
    derived = search.derived().argmax(dim=-1).cpu()
    match = np.flatnonzero((table.choices == derived).all(dim=1).numpy())
    best, ours = float(table.test.max()), float(table.test[match[0]]) if len(match) else None
    return {
        "n": len(table.valid),
        "table_seeds": table.seeds,
        "best_test_acc": best,
        "derived_test_acc": ours,
        "test_regret": None if ours is None else best - ours,
        "rank_correlation": ranks["tau"],
        "spearman": ranks["spearman"],
    }
