"""The table of all estimators: what their gradients are like, and what their searches lead to.

One table for every gradient study and every group of comparable searches. With ``b²`` the
debiased squared bias, ``V`` the trace of the covariance of a draw, ``F`` its cost in forward
equivalents and ``g`` the exact gradient, the mean of as many draws as 100 forward equivalents buy
has the relative mean squared error ``(b² + V F / 100) / |g|²``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from nasbench_snas.stats.budget import Costed, mse_at_budget

from . import rules
from .measure import count_value, failures_note, variant_value
from .model import EMPTY, MEASURED, Column, Table, Value, slug, text
from .selection import Comparable, Run, Variant

BUDGET = 100
"""Forward equivalents at which mean squared errors are compared."""

_ACCURACIES = ("search_valid_acc", "child_valid_acc", "child_valid_acc_recalibrated")
_COLUMNS = (
    Column("estimator", "Estimator", numeric=False),
    Column("relative_bias_sq", "Bias² / |g|²", MEASURED, brief="Bias²"),
    Column("relative_variance", "Variance / |g|²", MEASURED, brief="Var."),
    Column("forward_equivalents", "Forward equivalents", MEASURED, brief="F", core=False),
    Column("relative_mse", f"MSE at {BUDGET} F / |g|²", MEASURED, brief=f"MSE@{BUDGET}F"),
    Column("cos_to_ref", "Cosine to exact", MEASURED, brief="cos", core=False),
    Column("n", "Seeds", MEASURED, brief="n"),
    Column("search_valid_acc", "Search acc. (%)", MEASURED, brief="Search (%)"),
    Column("child_valid_acc", "Child acc. (%)", MEASURED, brief="Child (%)"),
    Column("child_valid_acc_recalibrated", "Child acc. (%), recalibrated", MEASURED, core=False),
    Column("child_gap", "Gap", MEASURED, core=False),
)


def estimators_tables(
    rows: Sequence[Run], groups: Sequence[Comparable], *, confidence: float = 0.95
) -> list[Table]:
    """Return a table for each study and group of searches; the study's last point stands for it."""
    studies: dict[str, list[Run]] = {}
    for row in rows:
        if row["stage"] == "gradients" and row["coord_set"] == "all":
            studies.setdefault(str(row["run_id"]), []).append(row)
    return [
        _table([row for row in study if row["point"] == study[-1]["point"]], group, confidence)
        for study in studies.values()
        for group in groups
    ]


def _table(study: Sequence[Run], group: Comparable, confidence: float) -> Table:
    first = study[0]
    body = [
        (
            text(label, runs=variant.ids if variant else (str(first["run_id"]),)),
            *_gradient(row),
            *_search(variant, confidence),
        )
        for label, row, variant in _pairs(study, group)
    ]
    where = f"{first['space']}, {first['dataset']}, point {first['point']}, seed {first['seed']}"
    return Table(
        key="estimators",
        title="Estimators: the gradient and the child",
        columns=_COLUMNS,
        rows=tuple(body),
        notes=(
            f"Gradient: study {first['run_id']} ({where}; up to {first['n_samples']} draws), "
            "relative to the exact gradient g of the estimator's own architecture parameters. "
            "Bias² is debiased, may be negative by noise, and enters the error as it is, so that "
            "the error is unbiased too; a cosine may exceed 1 by noise.",
            "Gap: search minus child accuracy, without retraining, batch norms as in the search. "
            "A search anneals its temperature; its accuracies stand at each temperature studied.",
            *failures_note(group.variants),
            rules.CELL,
            rules.BIAS,
            *((rules.APART,) if group.provisional else ()),
        ),
        subject=f"searches: {group.subject}",
        provisional=group.provisional or bool(first["truncated"]),
        slug=slug(f"estimators-{first['run_id']}-{group.slug}"),
    )


def _pairs(
    study: Sequence[Run], group: Comparable
) -> Iterator[tuple[str, Run | None, Variant | None]]:
    """Yield label, row of the study and row of the searches; either may be missing."""
    variants: dict[str, list[Variant]] = {}
    for variant in group.variants:
        variants.setdefault(variant.label, []).append(variant)
    gradients: dict[str, list[Run]] = {}
    for studied_row in study:
        gradients.setdefault(_without_temperature(studied_row), []).append(studied_row)
    dagger = " †" if group.provisional else ""
    for name in sorted(variants | gradients):
        studied: Sequence[Run | None] = gradients.get(name) or [None]
        searches: Sequence[Variant | None] = variants.get(name) or [None]
        for row, search in itertools.product(studied, searches):
            label = str(row["label"] or name) if row else name
            level = f", {search.level}" if search and len(searches) > 1 else ""
            yield label + level + (dagger if search else ""), row, search


def _without_temperature(row: Run) -> str:
    """Return the name that a search with the same settings has in tables."""
    return str(row["label"] or row["estimator"]).split(" λ=")[0]


def _gradient(row: Run | None) -> list[Value]:
    """Return the cells of a study: bias², variance, cost, MSE at equal cost, cosine."""
    if row is None:
        return [EMPTY] * 5
    runs = (str(row["run_id"]),)
    bias, variance, cost = row["relative_bias_sq"], row["var_trace"], row["forward_equivalents"]
    if bias and row["bias_sq"] and variance is not None:
        variance = variance * bias / row["bias_sq"]
    elif variance:
        variance = None  # the length of the exact gradient is not known
    known = None not in (bias, variance, cost)
    error = mse_at_budget(Costed(bias, max(variance, 0.0), cost), BUDGET) if known else None
    return [_number(v, runs) for v in (bias, variance, cost, error, row["cos_to_ref"])]


def _number(value: float | None, runs: tuple[str, ...]) -> Value:
    if value is None:
        return EMPTY
    return Value(f"{value:.3g}", float(value), runs, numbers={"value": float(value)})


def _search(variant: Variant | None, confidence: float) -> list[Value]:
    """Return the cells of the searches: seeds and accuracies."""
    if variant is None:
        return [EMPTY] * (2 + len(_ACCURACIES))
    cells = {c: variant_value(variant, c, confidence=confidence) for c in _ACCURACIES}
    digits = min(cells[column].decimals for column in ("search_valid_acc", "child_valid_acc"))
    gap = variant_value(variant, "child_gap", confidence=confidence, exactly=digits)
    return [count_value(variant), *cells.values(), gap]
