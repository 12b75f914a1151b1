"""Text of one table cell, by the number of seeds behind it.

| n | text |
|---|---|
| 0 | ``—`` |
| 1 | the bare value |
| 2 | both values |
| 3, 4 | ``mean [min, max]``, no ± |
| 5 to 9 | ``mean ± std (n)``, std with ddof = 1; the t interval goes with HTML and CSV |
| 10 and more | the same, and the IQM with its stratified bootstrap interval |

Runs that failed without a value are not dropped in silence: ``k/n failed`` follows. From 5 values
on the IQM leads then, since a mean over survivors flatters. Decimals: at most ``decimals``, fewer
where the t interval is so wide that they carry nothing (two significant digits of its half-width).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasbench_snas.errors import ConfigError
from nasbench_snas.stats.interval import FloatArray, Interval, as_sample
from nasbench_snas.stats.means import mean_interval
from nasbench_snas.stats.robust import interquartile_mean, iqm

MISSING = "—"


@dataclass(frozen=True, slots=True)
class Cell:
    """One formatted cell with the numbers behind it.

    Args:
        text: The whole text, failures included.
        n: Number of values (one a seed).
        n_failed: Runs that ended without a value.
        mean: Mean, None for n = 0.
        std: Standard deviation with ddof = 1, None for n < 2.
        interval: t interval of the mean from n = 5, else None.
        iqm: IQM with its bootstrap interval from n = 10, else None.
    """

    text: str
    n: int
    n_failed: int
    mean: float | None
    std: float | None
    interval: Interval | None
    iqm: Interval | None


def failed_note(n_failed: int, n_runs: int) -> str:
    """Return ``"k/n failed"``, or an empty string when none failed.

    Raises:
        ConfigError: Counts that cannot be.
    """
    if not 0 <= n_failed <= n_runs:
        raise ConfigError(f"{n_failed} of {n_runs} runs failed", "expected 0 <= failed <= runs")
    return f"{n_failed}/{n_runs} failed" if n_failed else ""


def supported_decimals(half_width: float, at_most: int = 2) -> int:
    """Return how many decimals an interval of this half-width supports, at most ``at_most``.

    Two significant digits of the half-width: 0.34 supports 2 decimals, 3.4 one, 34 none.
    """
    if not math.isfinite(half_width) or half_width <= 0:
        return at_most
    return min(at_most, max(0, 1 - math.floor(math.log10(half_width))))


def format_cell(
    values: Sequence[float | None] | FloatArray,
    *,
    n_failed: int = 0,
    decimals: int = 2,
    confidence: float = 0.95,
) -> Cell:
    """Format one row's values by the table of this module.

    Args:
        values: One number a seed, shape ``(n,)``. None or NaN stands for a run without a value and
            counts as failed. A collapsed run has a value and stays in.
        n_failed: Further failed runs that are not among ``values``.
        decimals: Largest number of decimals.
        confidence: Nominal coverage of the intervals.
    """
    raw = np.array([math.nan if v is None else float(v) for v in values], dtype=np.float64)
    missing = int(np.isnan(raw).sum())
    sample = as_sample(raw[~np.isnan(raw)], at_least=0)
    n, failed = sample.size, n_failed + missing
    interval = mean_interval(sample, confidence) if n >= 3 else None
    robust = iqm(sample, confidence=confidence) if n >= 10 else None
    digits = supported_decimals(interval.half_width if interval else 0.0, decimals)
    note = failed_note(failed, n + failed)
    text = _text(sample, digits, robust, lead_with_iqm=failed > 0)
    return Cell(
        text=", ".join(part for part in (text, note) if part),
        n=n,
        n_failed=failed,
        mean=float(sample.mean()) if n else None,
        std=float(sample.std(ddof=1)) if n >= 2 else None,
        interval=interval if n >= 5 else None,
        iqm=robust,
    )


def _text(sample: FloatArray, digits: int, robust: Interval | None, *, lead_with_iqm: bool) -> str:
    """Text of the values alone, ``sample (n,)``."""
    n = sample.size
    shown = [f"{value:.{digits}f}" for value in sample]
    if n == 0:
        return MISSING
    if n <= 2:
        return ", ".join(shown)
    mean = f"{sample.mean():.{digits}f}"
    if n <= 4:
        return f"{mean} [{sample.min():.{digits}f}, {sample.max():.{digits}f}]"
    middle = f"IQM {interquartile_mean(sample):.{digits}f}"
    if robust is not None:
        middle += f" [{robust.low:.{digits}f}, {robust.high:.{digits}f}]"
    spread = f"{mean} ± {sample.std(ddof=1):.{digits}f} ({n})"
    if lead_with_iqm:
        return f"{middle} ({n})"
    return f"{spread}; {middle}" if robust is not None else spread
