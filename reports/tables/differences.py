"""Differences of child accuracy from a row that the data do not choose, paired on seeds."""

from __future__ import annotations

from collections.abc import Mapping

from nasbench_snas.stats.cells import format_cell
from nasbench_snas.stats.median import smallest_sample
from nasbench_snas.stats.paired import PairedComparison, compare_family

from . import rules
from .baselines import is_random_sampling, is_random_search
from .measure import counted, failures_note, interval_text, variant_value
from .model import MEASURED, MISSING, Column, Table, Value, number, text
from .selection import Comparable, Variant

_COLUMN = "child_valid_acc"


def differences(found: Comparable, confidence: float) -> Table | None:
    """Return every row's difference from the baseline, or None without two rows to compare.

    The baseline is random search, else random sampling, else DARTS, else the first row by name:
    were it the best row, it would be chosen by the accuracies that the test compares, and no
    p-value would hold.
    """
    variants = {v.label: v for v in found.variants if len(counted(v, _COLUMN)) >= 2}
    rows = {label: counted(variant, _COLUMN) for label, variant in variants.items()}
    if len(rows) < 2:
        return None
    baseline = _baseline(variants)
    comparisons = compared_with(rows, baseline, confidence)
    if not comparisons:
        return None
    percent = f"{100 * confidence:g} %"
    columns = (
        Column("estimator", f"Estimator minus {baseline}", numeric=False),
        Column("n", "Shared seeds", brief="n"),
        Column("difference", "Child acc., median difference", MEASURED, brief="Median"),
        Column(
            "interval", f"Simultaneous {percent} CI", MEASURED, numeric=False, brief=f"{percent} CI"
        ),
        Column("p", "p (sign test, Holm)", MEASURED, brief="p"),
        Column(
            "lost",
            f"Failed or collapsed ({baseline}: {_lost(variants[baseline])})",
            MEASURED,
            brief="Lost",
        ),
    )
    beside = variants[baseline].ids
    digits = {label: variant_value(v, _COLUMN).decimals for label, v in variants.items()}
    body = tuple(
        _row(c, variants[c.row], variants[c.row].ids + beside, min(digits[c.row], digits[baseline]))
        for c in comparisons
    )
    return Table(
        key="1",
        title=f"Table 1, differences. Child accuracy against {baseline}, paired on seeds",
        columns=columns,
        rows=body,
        notes=(
            rules.PAIRED,
            _family(comparisons, confidence),
            *failures_note(found.variants),
            *((rules.APART,) if found.provisional else ()),
        ),
        subject=found.subject,
        provisional=found.provisional,
        slug=f"table1-differences-{found.slug}",
    )


def _baseline(variants: dict[str, Variant]) -> str:
    rules_of = (is_random_search, is_random_sampling, lambda v: v.estimator == "darts")
    for rule in rules_of:
        for label, variant in variants.items():
            if rule(variant):
                return label
    return min(variants)


def _lost(variant: Variant) -> str:
    """Return ``k/n``: runs of a row that failed or collapsed."""
    values = variant.by_seed(_COLUMN)
    cell = format_cell(list(values.values()), failed_value=variant.chance)
    return f"{cell.n_failed + cell.n_collapsed}/{len(values)}"


def _family(comparisons: tuple[PairedComparison, ...], confidence: float) -> str:
    """Return over how many rows intervals and p-values hold, and from how many seeds on."""
    m = comparisons[0].family
    tested = sum(c.p_holm is not None for c in comparisons)
    seeds = smallest_sample(1 - (1 - confidence) / m)
    return (
        f"Tested here: {tested} of {len(comparisons)} rows. Simultaneous intervals of {m} "
        f"row{'s' if m > 1 else ''} exist from {seeds} shared seeds on."
    )


def _row(
    comparison: PairedComparison, variant: Variant, ids: tuple[str, ...], decimals: int
) -> tuple[Value, ...]:
    c = comparison
    detail = f"not paired: seeds {c.unmatched}" if c.unmatched else ""
    return (
        text(c.row, runs=ids),
        Value(str(c.n), float(c.n), ids, detail),
        *comparison_cells(c, ids, decimals),
        text(_lost(variant), runs=ids),
    )


def compared_with(
    rows: Mapping[str, Mapping[int, float]], baseline: str, confidence: float
) -> tuple[PairedComparison, ...]:
    """Compare with ``baseline`` the rows that share at least two seeds with it."""
    shared = {
        name: values
        for name, values in rows.items()
        if name == baseline or len(values.keys() & rows[baseline].keys()) >= 2
    }
    return compare_family(shared, baseline, confidence=confidence)


def comparison_cells(
    c: PairedComparison, ids: tuple[str, ...], decimals: int
) -> tuple[Value, Value, Value]:
    """Return the cells of a paired comparison: median difference, interval, p-value.

    Args:
        c: The comparison.
        ids: Of the runs in it.
        decimals: Of the difference: as many as both accuracies have, printed alone.
    """
    interval = c.interval
    ends = {"low": interval.low, "high": interval.high} if interval else {}
    return (
        number(c.median, decimals, runs=ids, sign=True),
        Value(
            interval_text(interval, decimals, sign=True) or MISSING,
            None,
            ids,
            "" if interval else "no such interval with so few shared seeds",
            ends,
        ),
        Value(MISSING, detail=f"no p-value below {smallest_sample()} shared seeds")
        if c.p_holm is None
        else Value(rules.p_text(c.p_holm), c.p_holm, ids, numbers={"value": c.p_holm}),
    )
