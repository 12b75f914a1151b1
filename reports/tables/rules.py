"""The statistical rules of every table, in words. They stand under each table and in the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nasbench_snas.runs.schema import NOT_RECORDED

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
    "Estimators are compared on shared seeds: mean difference with its t interval, and the "
    "two-sided sign-flip p-value of differences that are symmetric about zero (all flips up to 16 "
    "seeds, 99,999 drawn ones beyond), Holm-adjusted over the rows that can be tested. It does not "
    "test means: where runs of one estimator collapse, equal means can have a small p. Below six "
    "shared seeds no p-value is printed: five cannot reach 0.05."
)
BOLD = (
    "Bold: the best mean and every row whose Holm-adjusted difference from it is not "
    "significant at 0.05; only where all rows share preset, space, data set and device class "
    "and have at least six seeds."
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
    "At most two decimals for accuracies and errors, fewer where the interval carries fewer; "
    "parameters in millions with one decimal where the network has at least one million."
)
AGGREGATE = (
    "Over several spaces, scores are normalised in each space to 0 for random search with "
    "parameter sharing (best of N) and 1 for the best mean; a random-search row is part of every comparison."
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
