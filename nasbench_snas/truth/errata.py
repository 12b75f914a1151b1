"""The records of NAS-Bench-201 that state another network's parameters, and what they shift.

An architecture's odd records are compared with its own sound ones: the difference of their mean
accuracies, one value an architecture, with a t interval over architectures and Wilcoxon's signed
rank test. An architecture whose records are all odd, or state sizes of both kinds, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from nasbench_snas.truth.classes import key_of
from nasbench_snas.truth.published import DATASETS, PARAMETERS, PublishedTable, parameters


@dataclass(frozen=True)
class Shift:
    """Accuracy of odd records against the sound ones of the same architectures.

    Attributes:
        dataset: Name of the data set.
        stated: ``smaller`` or ``larger``: the stated network against the architecture's own.
        n: Architectures.
        mean: Mean difference, odd minus sound, percentage points.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Of Wilcoxon's signed rank test, two-sided.
    """

    dataset: str
    stated: str
    n: int
    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Counts:
    """How many records are odd.

    Attributes:
        records: All records of a data set.
        odd: Odd ones.
        architectures: Architectures with an odd record.
        missing: Odd records that state one convolution too few, by digit (2: 1x1, 3: 3x3).
        extra: Odd records that state one too many, by digit.
        other: Odd records that differ by anything else.
    """

    records: int
    odd: int
    architectures: int
    missing: dict[str, int]
    extra: dict[str, int]
    other: int


def count(table: PublishedTable) -> Counts:
    """Return the counts, recomputing each odd record's difference in parameters."""
    missing, extra, other = dict.fromkeys(PARAMETERS, 0), dict.fromkeys(PARAMETERS, 0), 0
    for difference in _differences(table):
        for digit, size in PARAMETERS.items():
            if abs(difference) == size:
                (missing if difference < 0 else extra)[digit] += 1
                break
        else:
            other += 1
    records = int((~np.isnan(table.accuracies(DATASETS[0]))).sum())
    return Counts(records, len(table.odd), len(np.unique(table.odd[:, 0])), missing, extra, other)


def shifts(table: PublishedTable) -> list[Shift]:
    """Return the accuracy shift of each data set and kind of odd record."""
    smaller = np.array(_differences(table)) < 0
    found = []
    for dataset in DATASETS:
        values, sound = table.accuracies(dataset), table.mean(dataset, odd=False)
        for stated, chosen in (("smaller", smaller), ("larger", ~smaller)):
            rows = table.odd[chosen]
            mixed = np.intersect1d(rows[:, 0], table.odd[~chosen][:, 0])
            names = [a for a in np.unique(rows[:, 0]) if a not in mixed and not np.isnan(sound[a])]
            odd = [np.nanmean(values[a, rows[rows[:, 0] == a, 1]]) for a in names]
            found.append(_shift(dataset, stated, np.array(odd) - sound[names]))
    return found


def _differences(table: PublishedTable) -> list[int]:
    """Return stated minus recomputed CIFAR-10 parameters of each odd record."""
    return [int(stated) - parameters(key_of(int(a))) for a, _, stated in table.odd]


def _shift(
    dataset: str, stated: str, values: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Shift:
    mean, error = float(values.mean()), float(stats.sem(values))
    low, high = stats.t.interval(0.95, len(values) - 1, mean, error)
    p = float(stats.wilcoxon(values).pvalue)
    return Shift(dataset, stated, len(values), mean, float(low), float(high), p)
