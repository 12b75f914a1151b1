"""The statistical rules of every table, in words. They stand under each table and in the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from nasbench_snas.runs.schema import NOT_RECORDED
from nasbench_snas.stats.bold import DECIDES, FEWEST, BoldRows

CELL = (
    "Cells: one seed: its value; two: both; three or four: mean and range [min, max]; from five: "
    "mean ± standard deviation (n), n-1 in the denominator; from ten also the interquartile mean "
    "(IQM). A row with failed or collapsed runs has no ±: its quantiles stand there. Collapsed: "
    "nearer to guessing than to the row's median, or beyond three interquartile ranges."
)
INTERVAL = (
    "Intervals are of the median, from order statistics: they cover at least 95 % whatever the "
    "shape of the data, and exist from six seeds on. A mean of runs of which some collapse has no "
    "interval that could be trusted at these numbers of seeds, so none is printed."
)
UNIT = (
    "The unit of replication is the search seed: child samples, batches and retrainings of "
    "one cell are averaged first and never counted as replicates."
)
SELECTION = (
    "Means over seeds and the best of n seeds by search validation (the paper's protocol) "
    "never share a row; a selected value is no estimate of a mean."
)
FAILURES = (
    "Failed and diverged runs are counted (k/n failed), never dropped: they count with the "
    "accuracy of guessing in medians, quartiles, IQM and paired differences, since anything over "
    "survivors alone flatters. A collapsed run has a value and stays in."
)
PAIRED = (
    "Estimators are compared on shared seeds by the median of the differences, what one gains on a "
    "typical seed, against a row that is not chosen by its accuracy: random search, else random "
    "sampling, else darts, else the first. Intervals are from order statistics and hold for all "
    "rows at once (Bonferroni over those that can be tested); p is of the exact sign test, "
    "two-sided, Holm-adjusted over the same rows; both for any shape of the data. Nothing is said "
    "of means: a row that is a little better on most seeds and collapses on one can have the lower "
    "mean, so the runs that failed or collapsed stand beside. Below six shared seeds there is no "
    "p-value: five cannot reach 0.05."
)
BOLD = (
    "Bold: the row that is ahead on the shared seeds (ranks; higher accuracy is better) and every "
    "row that is not told from it as worse by permuting the rows within seeds (max-min of mean "
    "ranks over their errors, step by step). A row that nothing beats is called worse with "
    "probability 0.06 at most. Only where all rows share preset, space, data set, device class and "
    f"{FEWEST} seeds and, for several bold rows, only where a difference of {DECIDES:g} points "
    "would be told with probability 0.8."
)
BIAS = (
    "No estimator is called free of bias: the bias is printed with its standard error and "
    "interval, the variance as the trace of the covariance, and variance times cost so that "
    "cheap noisy and dear quiet estimators can be compared."
)
APART = (
    "† marks runs of the presets smoke and small and truncated runs: they are not comparable "
    "with the paper and share no table with runs of the preset paper."
)
COST = (
    "GPU-days are wall-clock time of the whole search, validation included, times GPUs / "
    "86,400, on the GPU named in the column head; nothing is converted between devices. On a "
    "CPU: seconds."
)
ROUNDING = (
    "Decimals: two at most, fewer where the scatter carries fewer (two significant digits of the "
    "half-width of the mean's t interval, itself not printed), the same in a whole cell and in "
    "what is derived from it; numbers of gradient studies have three significant digits, "
    "parameters in millions with one decimal where the network has at least one million."
)
AGGREGATE = (
    "Over several spaces, scores are normalised in each space to 0 for random search "
    "with parameter sharing (best of N) and 1 for the best median; a random-search row is part of "
    "every comparison."
)
SEPARATE = (
    "Published and measured numbers never share a column, and Δ (measured minus published) is "
    "printed only for rows whose whole resolved configuration is that of the paper's preset. It "
    "compares a mean over seeds (the IQM where runs failed or collapsed) with a published value "
    "that may be of a selected run; its range is that over our seeds."
)

ALL: tuple[str, ...] = (
    CELL,
    INTERVAL,
    UNIT,
    SELECTION,
    FAILURES,
    PAIRED,
    BOLD,
    BIAS,
    APART,
    COST,
    AGGREGATE,
    ROUNDING,
    SEPARATE,
)


def p_text(p: float) -> str:
    """Return a p-value with three decimals, or that it is below."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def bold_notes(bold: BoldRows, n_rows: int) -> list[str]:
    """Return what bold says in a table: why there is none, what it could decide, who is worse."""
    notes = [] if bold.bold else [f"Nothing is bold: {bold.reason}."]
    if bold.bold and math.isfinite(bold.detectable):
        notes.append(
            f"Bold: {n_rows} rows on {bold.n} shared seeds; a row that is {bold.detectable:.1f} "
            "points worse than the others would be told from them with probability 0.8."
        )
    if bold.worse:
        told = ", ".join(f"{row} (p {p_text(p)})" for row, p in bold.worse)
        notes.append(f"Told from the best row, {bold.best}, as worse: {told}.")
    return notes


def images_notes(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what is to be said about how the images of a table's runs are known."""
    images = {str(run["images"] or NOT_RECORDED) for run in runs}
    notes = []
    if NOT_RECORDED in images:
        notes.append(
            "Images not recorded: these runs are of an earlier version, which did not take a "
            "fingerprint of the images, so they share no row with later ones."
        )
    if any(value.startswith("listing ") for value in images):
        notes.append(
            "The images are known by names, sizes and times of their files only "
            '(data.fingerprint = "listing"), not by contents.'
        )
    return notes
