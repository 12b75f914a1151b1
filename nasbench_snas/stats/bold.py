"""Which rows of a table are bold: the best row and all that are not told from it.

Rows are compared on the seeds that all of them have, six at least, and must share preset, space,
data set and device class. The best row is the one that is ahead on the seeds (largest sum of
ranks), in the direction in which the measure is better; a row is told from it by the max-min
permutation test of :mod:`nasbench_snas.stats.ranks`. Failed runs count, with ``failed_value`` or,
without one, as worse than every run that finished.

Several bold rows mean "not told apart", which says something only where the design could have told
them apart. So the difference is computed that would have been told with probability 0.8, and where
it is above the stated difference ``decides``, nothing is bold and the reason says so. A row that
all others are told from is bold in any case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nasbench_snas.errors import DataError
from nasbench_snas.stats.ranks import POWER, detectable_difference, told_from_best

SHARED_SETTINGS = ("preset", "space", "dataset", "device_class")
FEWEST = 6
"""Shared seeds below which nothing is bold."""
DECIDES = 5.0
"""The difference that a table must be able to decide, in the unit of its values."""


@dataclass(frozen=True, slots=True)
class BoldRows:
    """Outcome of the rule.

    Args:
        bold: Names of the bold rows, in the order of the table.
        reason: Why nothing is bold; empty where something is.
        best: Name of the best row; None where rows could not be compared.
        worse: Rows that are told from the best, worst first, with their p-values.
        n: Seeds that all rows have.
        detectable: Difference that is told with probability 0.8; infinite where there is none.
    """

    bold: tuple[str, ...]
    reason: str
    best: str | None = None
    worse: tuple[tuple[str, float], ...] = ()
    n: int = 0
    detectable: float = math.inf


def bold_rows(
    rows: Mapping[str, Mapping[int, float | None]],
    settings: Mapping[str, Mapping[str, str]],
    *,
    higher_is_better: bool = True,
    failed_value: float | None = None,
    decides: float = DECIDES,
) -> BoldRows:
    """Decide which rows are bold.

    Args:
        rows: Row name to (seed to value); None or NaN stands for a failed run.
        settings: Row name to its ``preset``, ``space``, ``dataset`` and ``device_class``.
        higher_is_better: True for accuracies, False for errors and costs.
        failed_value: What a failed run counts as (the accuracy of guessing).
        decides: Difference that must be told with probability 0.8 for several rows to be bold.

    Raises:
        DataError: A row without settings.
    """
    refusal = _mixed_settings(rows, settings)
    if refusal or len(rows) < 2:
        return BoldRows((), refusal or "there is nothing to compare with")
    names = list(rows)
    seeds = sorted(set.intersection(*(set(values) for values in rows.values())))
    if len(seeds) < FEWEST:
        return BoldRows((), _too_few(rows, len(seeds)), n=len(seeds))
    sign = 1.0 if higher_is_better else -1.0
    lost = -math.inf if failed_value is None else sign * failed_value
    table = np.array(
        [[_counted(rows[name][seed], sign, lost) for name in names] for seed in seeds]
    ).reshape(len(seeds), len(names))
    detectable = detectable_difference(table)
    if math.isinf(detectable):
        why = f"{len(seeds)} shared seeds cannot decide any difference of {len(names)} rows"
        return BoldRows((), why, n=len(seeds))
    told = told_from_best(table)
    left = [index for index in range(len(names)) if index not in told]
    best = names[_best(table, left)]
    worse = tuple((names[index], p) for index, p in told.items())
    found = BoldRows(tuple(names[i] for i in left), "", best, worse, len(seeds), detectable)
    if len(left) == 1 or detectable <= decides:
        return found
    reason = (
        f"{len(left)} rows are not told apart, but with {len(seeds)} shared seeds and "
        f"{len(names)} rows only a difference of {detectable:.1f} would be told with probability "
        f"{POWER:g}, not the {decides:g} that bold stands for"
    )
    return BoldRows((), reason, best, worse, len(seeds), detectable)


def _counted(value: float | None, sign: float, lost: float) -> float:
    """Return a run's value, higher is better; ``lost`` for a failed run."""
    return lost if value is None or not math.isfinite(value) else sign * value


def _best(table: np.ndarray[tuple[int, ...], np.dtype[np.float64]], rows: list[int]) -> int:
    """Return which of the rows beats most runs of the same seeds, ties counted half."""
    chosen = table[:, rows]
    wins = (chosen[:, :, None] > chosen[:, None, :]).sum(axis=(0, 2))
    losses = (chosen[:, :, None] < chosen[:, None, :]).sum(axis=(0, 2))
    return rows[int(np.argmax(wins - losses))]


def _too_few(rows: Mapping[str, Mapping[int, float | None]], shared: int) -> str:
    """Return that the rows share too few seeds, and which rows lack some."""
    total = len(set().union(*(set(values) for values in rows.values())))
    short = [f"{name} ({len(v)} of {total})" for name, v in rows.items() if len(v) < total]
    lacking = f"; rows that lack seeds: {', '.join(short)}" if short else ""
    return f"the rows share {shared} seeds, fewer than {FEWEST}{lacking}"


def _mixed_settings(
    rows: Mapping[str, Mapping[int, float | None]], settings: Mapping[str, Mapping[str, str]]
) -> str:
    """Return which settings differ between rows, as a footnote; empty when none does."""
    for name in rows:
        lacking = [key for key in SHARED_SETTINGS if key not in settings.get(name, {})]
        if lacking:
            raise DataError(
                f"row {name!r} does not state its {', '.join(lacking)}",
                f"expected the settings {', '.join(SHARED_SETTINGS)} for every row",
            )
    mixed = [key for key in SHARED_SETTINGS if len({settings[n][key] for n in rows}) > 1]
    return f"rows differ in {', '.join(mixed)}" if mixed else ""
