"""Which rows of a table are bold: the best mean and all that cannot be told from it.

Bold needs rows that share preset, space, data set and device class, and at least 6 seeds a row that
are paired with the best row's. The differences from the best row are tested with sign flips and
Holm's adjustment over the table; a row is bold unless its adjusted p-value is at most ``alpha``.
Otherwise nothing is bold and a footnote says why. Where the seeds are too few for any adjusted
p-value to reach ``alpha`` (m comparisons of n seeds: not below ``m 2^(1-n)``), every row is bold by
this rule, and a footnote says that this means nothing. A row with failed runs is never bold, since
its mean covers the survivors only; the footnote says that, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nasbench_snas.errors import DataError
from nasbench_snas.stats.paired import MIN_SEEDS_FOR_P, PairedComparison, compare_family

SHARED_SETTINGS = ("preset", "space", "dataset", "device_class")


@dataclass(frozen=True, slots=True)
class BoldRows:
    """Outcome of the rule.

    Args:
        bold: Names of the bold rows, in the order of the table.
        reason: Why nothing (or not some row) is bold; empty when there is nothing to say.
        best: Name of the row with the best mean; None when nothing is bold.
        comparisons: ``row - best`` for the rows that took part.
        powerless: Why the test could tell no row from the best; empty where it could.
    """

    bold: tuple[str, ...]
    reason: str
    best: str | None = None
    comparisons: tuple[PairedComparison, ...] = ()
    powerless: str = ""


def bold_rows(
    rows: Mapping[str, Mapping[int, float | None]],
    settings: Mapping[str, Mapping[str, str]],
    *,
    higher_is_better: bool = True,
    alpha: float = 0.05,
) -> BoldRows:
    """Decide which rows are bold.

    Args:
        rows: Row name to (seed to value); None or NaN stands for a failed run.
        settings: Row name to its ``preset``, ``space``, ``dataset`` and ``device_class``.
        higher_is_better: True for accuracies, False for errors and costs.
        alpha: Level of the Holm-adjusted test.

    Raises:
        DataError: A row without settings.
    """
    refusal = _mixed_settings(rows, settings)
    if refusal:
        return BoldRows((), refusal)
    failed = [name for name, values in rows.items() if any(_absent(v) for v in values.values())]
    whole = {
        name: {seed: float(v) for seed, v in values.items() if v is not None}
        for name, values in rows.items()
        if name not in failed
    }
    note = f"not bold for failed runs: {', '.join(failed)}" if failed else ""
    short = [name for name, values in rows.items() if len(values) < MIN_SEEDS_FOR_P]
    if len(whole) < 2 or short:
        why = f"fewer than {MIN_SEEDS_FOR_P} seeds: {', '.join(short)}" if short else ""
        return BoldRows((), "; ".join(p for p in (why, note) if p) or "nothing to compare with")
    sign = 1.0 if higher_is_better else -1.0
    best = max(whole, key=lambda name: sign * math.fsum(whole[name].values()) / len(whole[name]))
    unpaired = [n for n in whole if len(whole[n].keys() & whole[best].keys()) < MIN_SEEDS_FOR_P]
    if unpaired:
        why = f"fewer than {MIN_SEEDS_FOR_P} seeds shared with {best}: {', '.join(unpaired)}"
        return BoldRows((), "; ".join(p for p in (why, note) if p))
    comparisons = compare_family(whole, best)
    worse = {c.row for c in comparisons if c.p_holm <= alpha}
    bold = tuple(name for name in whole if name not in worse)
    return BoldRows(bold, note, best, comparisons, _powerless(comparisons, alpha))


def _powerless(comparisons: tuple[PairedComparison, ...], alpha: float) -> str:
    """Return why no adjusted p-value of the table can be at most ``alpha``; empty if one can."""
    count, seeds = len(comparisons), max(c.n for c in comparisons)
    smallest = min(count * 2.0 ** (1 - seeds), 1.0)
    if smallest <= alpha:
        return ""
    needed = 1 + math.ceil(math.log2(count / alpha))
    return (
        f"with {seeds} seeds and {count} comparisons no Holm-adjusted p-value can be below "
        f"{smallest:.3f}, so no row can be told from the best; it takes {needed} seeds"
    )


def _absent(value: float | None) -> bool:
    """Whether a run has no value."""
    return value is None or not math.isfinite(value)


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
