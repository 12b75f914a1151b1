"""Text of one table cell, by the number of seeds behind it.

| n | text |
|---|---|
| 0 | ``—`` |
| 1 | the bare value |
| 2 | both values |
| 3, 4 | ``mean m, range [min, max]``, no ± |
| 5 to 9 | ``mean ± std (n)``, std with ddof = 1 |
| 10 and more | the same, and the interquartile mean (IQM) |

A row with failed or collapsed runs has no ±, which would describe a bell around a mean that no run
is near to: its quantiles stand there, from five runs on led by the IQM. A failed run counts with
the value ``failed_value`` (chance level), so that neither is over survivors alone; where there is
no such value (a cost), the quantiles are of the finished runs and say so. A run has collapsed if
its value is nearer to ``failed_value`` than to the row's median, or (from six values) beyond three
interquartile ranges from the quartile on that side.

The interval is that of the median, from order statistics (:mod:`nasbench_snas.stats.median`), from
six runs on. Decimals: at most ``decimals``, in the whole cell as many as two significant digits of
the half-width of the finished runs' t interval.

Where room is short a cell is ``m [min, max]``, ``m ± std``, or with failed or collapsed runs the
median and the range of all, with how many: ``m [min, max] 1f 2c``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nasbench_snas.errors import ConfigError
from nasbench_snas.stats.interval import FloatArray, Interval, as_sample
from nasbench_snas.stats.means import mean_interval
from nasbench_snas.stats.median import median_interval
from nasbench_snas.stats.robust import interquartile_mean

MISSING = "—"
Form = Literal["value", "pair", "range", "std", "lost"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One formatted cell with the numbers behind it.

    Args:
        text: The whole text, failures included.
        short: The text where room is short.
        form: Which of the short forms: ``value``, ``pair``, ``range``, ``std`` or ``lost``.
        n: Number of values (one a seed).
        n_failed: Runs that ended without a value.
        n_collapsed: Runs whose value is that of a collapse.
        mean: Mean of the values, None for n = 0.
        std: Standard deviation of the values with ddof = 1, None for n < 2.
        median: Median, failed runs counted where they have a value to count with.
        interval: Interval of that median, from six on, else None.
        iqm: IQM, failed runs counted likewise, from five on, else None.
        decimals: Decimals of the text.
    """

    text: str
    short: str
    form: Form
    n: int
    n_failed: int
    n_collapsed: int
    mean: float | None
    std: float | None
    median: float | None
    interval: Interval | None
    iqm: float | None
    decimals: int

    @property
    def centre(self) -> float | None:
        """What a row is sorted by: the mean, or the IQM (median) where runs failed or collapsed."""
        if not (self.n_failed or self.n_collapsed):
            return self.mean
        return self.median if self.iqm is None else self.iqm


def failed_note(n_failed: int, n_runs: int, what: str = "failed") -> str:
    """Return ``"k/n failed"``, or an empty string when none failed.

    Raises:
        ConfigError: Counts that cannot be.
    """
    if not 0 <= n_failed <= n_runs:
        raise ConfigError(f"{n_failed} of {n_runs} runs {what}", "expected 0 <= count <= runs")
    return f"{n_failed}/{n_runs} {what}" if n_failed else ""


def supported_decimals(half_width: float, at_most: int = 2) -> int:
    """Return how many decimals an interval of this half-width supports, at most ``at_most``.

    Two significant digits of the half-width: 0.34 supports 2 decimals, 3.4 one, 34 none.
    """
    if not math.isfinite(half_width) or half_width <= 0:
        return at_most
    return min(at_most, max(0, 1 - math.floor(math.log10(half_width))))


def collapsed(sample: FloatArray, failed_value: float | None) -> FloatArray:
    """Return which of the finished runs collapsed, shape ``(n,)``, by the rule of this module."""
    if failed_value is None or sample.size < 3:
        return np.zeros(sample.shape, dtype=bool)
    low, middle, high = np.quantile(sample, [0.25, 0.5, 0.75])
    sign = 1.0 if middle >= failed_value else -1.0
    near = sign * (sample - failed_value) < sign * (middle - failed_value) / 2
    quartile = low if sign > 0 else high
    far = sign * (quartile - sample) > 3 * (high - low)
    return np.asarray(near | (far if sample.size >= 6 and high > low else False))


def format_cell(
    values: Sequence[float | None] | FloatArray,
    *,
    n_failed: int = 0,
    failed_value: float | None = None,
    decimals: int = 2,
    exactly: int | None = None,
    confidence: float = 0.95,
) -> Cell:
    """Format one row's values by the table of this module.

    Args:
        values: One number a seed, shape ``(n,)``. None or NaN stands for a run without a value and
            counts as failed. A collapsed run has a value and stays in.
        n_failed: Further failed runs that are not among ``values``.
        failed_value: What a failed run counts as (the accuracy of guessing); None: nothing.
        decimals: Largest number of decimals.
        exactly: Decimals of the text whatever the scatter: of a difference, those of its parts.
        confidence: Coverage that the interval has at least.
    """
    raw = np.array([math.nan if v is None else float(v) for v in values], dtype=np.float64)
    missing = int(np.isnan(raw).sum())
    sample = as_sample(raw[~np.isnan(raw)], at_least=0)
    n, failed = sample.size, n_failed + missing
    counted = failed if failed_value is not None else 0
    whole = np.concatenate([sample, np.full(counted, failed_value or 0.0)])
    fallen = int(collapsed(sample, failed_value).sum())
    if exactly is None:
        spread = mean_interval(sample).half_width if n >= 3 else 0.0
        digits = supported_decimals(spread, decimals)
    else:
        digits = exactly
    troubled = failed > 0 or fallen > 0
    text = _quantiles(sample, whole, digits) if troubled else _text(sample, digits)
    survivors = failed > counted
    if survivors and n:
        text = f"of finished runs: {text}"
    notes = (failed_note(failed, n + failed), failed_note(fallen, n + failed, "collapsed"))
    return Cell(
        text=", ".join(part for part in (text, *notes) if part),
        short=_short(whole, digits, failed, fallen),
        form="lost" if troubled else _form(n),
        n=n,
        n_failed=failed,
        n_collapsed=fallen,
        mean=float(sample.mean()) if n else None,
        std=float(sample.std(ddof=1)) if n >= 2 else None,
        median=float(np.median(whole)) if whole.size else None,
        interval=median_interval(whole, confidence) if whole.size >= 6 else None,
        iqm=interquartile_mean(whole) if whole.size >= 5 and not survivors else None,
        decimals=digits,
    )


def _form(n: int) -> Form:
    """Return the short form of ``n`` runs of which none failed or collapsed."""
    return "value" if n < 2 else "pair" if n == 2 else "range" if n <= 4 else "std"


def _short(whole: FloatArray, digits: int, failed: int, fallen: int) -> str:
    """Return the short text; ``whole`` holds failed runs that have a value to count with."""
    marks = [f"{count}{mark}" for count, mark in ((failed, "f"), (fallen, "c")) if count]
    n = whole.size
    if n <= 2:
        text = ", ".join(f"{value:z.{digits}f}" for value in whole) or MISSING
    elif n >= 5 and not marks:
        text = f"{whole.mean():z.{digits}f} ± {whole.std(ddof=1):z.{digits}f}"
    else:
        centre = np.median(whole) if marks else whole.mean()
        low, high = whole.min(), whole.max()
        text = f"{centre:z.{digits}f} [{low:z.{digits}f}, {high:z.{digits}f}]"
    return " ".join((text, *marks))


def _text(sample: FloatArray, digits: int) -> str:
    """Text of a row in which nothing failed or collapsed, ``sample (n,)``."""
    n = sample.size
    if n == 0:
        return MISSING
    if n <= 2:
        return ", ".join(f"{value:z.{digits}f}" for value in sample)
    mean = f"{sample.mean():z.{digits}f}"
    if n <= 4:
        return f"mean {mean}, range [{sample.min():z.{digits}f}, {sample.max():z.{digits}f}]"
    spread = f"{mean} ± {sample.std(ddof=1):z.{digits}f} ({n})"
    return f"{spread}; IQM {interquartile_mean(sample):z.{digits}f}" if n >= 10 else spread


def _quantiles(sample: FloatArray, whole: FloatArray, digits: int) -> str:
    """Text of a row with failed or collapsed runs; ``whole`` holds the failed ones, too."""
    if sample.size == 0:
        return MISSING
    few = whole.size <= 2
    if few:
        shown = ", ".join(f"{value:z.{digits}f}" for value in sample)
        return shown if whole.size == sample.size else f"{shown}, failed at {whole[-1]:z.{digits}f}"
    low, first, middle, third, high = (
        f"{q:z.{digits}f}" for q in np.quantile(whole, [0, 0.25, 0.5, 0.75, 1])
    )
    if whole.size <= 4:
        text = f"median {middle}, range [{low}, {high}] ({whole.size})"
    else:
        text = f"IQM {interquartile_mean(whole):z.{digits}f}, median {middle}, "
        text += f"quartiles [{first}, {third}], range [{low}, {high}] ({whole.size})"
    return text
