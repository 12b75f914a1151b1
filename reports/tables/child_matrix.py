"""The child matrix of Table 1: child accuracy by way of derivation and batch-norm statistics."""

from __future__ import annotations

import json

from . import rules
from .measure import count_value, failures_note, seeds_value
from .model import MEASURED, Column, Table, Value, text
from .selection import Comparable, Variant

_VIEWS = {
    "soft": "soft sample",
    "hard": "hard sample",
    "mean": "probabilities",
    "argmax": "argmax",
    "top2": "DARTS top 2",
    "sample": "one draw",
    "best-of-N": "best of N",
    "perturbation": "perturbation",
    "shapley": "Shapley values",
}


def row_head(variant: Variant, found: Comparable) -> list[Value]:
    """Return the first cells of a row: estimator, level, number of seeds."""
    dagger = " †" if found.provisional else ""
    label = text(variant.label + dagger, runs=variant.ids)
    return [label, text(variant.level), count_value(variant)]


def child_matrix(found: Comparable, confidence: float) -> Table | None:
    """Return the child matrix of the searches of a table, or None if none was measured."""
    views: list[str] = []
    cells: dict[tuple[str, str, str], dict[int, float | None]] = {}
    for variant in found.variants:
        for run in variant.runs:
            for entry in json.loads(run["child_matrix"] or "[]"):
                if entry["view"] not in views:
                    views.append(entry["view"])
                key = (variant.label, entry["view"], entry["statistics"])
                cells.setdefault(key, {})[int(run["seed"])] = float(entry["accuracy"])
    if not cells:
        return None
    columns = [
        Column("estimator", "Estimator", numeric=False),
        Column("statistics", "Batch norm", numeric=False),
        *(Column(f"view_{view}", _VIEWS.get(view, view), MEASURED) for view in views),
    ]
    rows = []
    for variant in found.variants:
        for statistics in ("inherited", "recalibrated"):
            values = [cells.get((variant.label, view, statistics), {}) for view in views]
            if variant.runs or variant.failed:
                lost = {int(r["seed"]): None for r in variant.failed if r["seed"] is not None}
                body = [
                    seeds_value(
                        {**lost, **known},
                        variant.ids,
                        confidence=confidence,
                        failed_value=variant.chance,
                        failed=variant.failed_ids,
                    )
                    for known in values
                ]
                rows.append((row_head(variant, found)[0], text(statistics), *body))
    note = (
        "Accuracy (%) of every way to derive a child from the trained parent: a soft sample at the "
        "last temperature, a hard sample, the probabilities themselves, the strongest operation of "
        "every edge (none included), DARTS' two strongest edges of each node (none left out), the "
        "best of N draws by the selection images where that is the rule."
    )
    return Table(
        key="1",
        title="Table 1, child matrix. Child accuracy by derivation and batch-norm statistics",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(
            note,
            rules.UNIT,
            *failures_note(found.variants),
            *((rules.APART,) if found.provisional else ()),
        ),
        subject=found.subject,
        provisional=found.provisional,
        slug=f"table1-child-matrix-{found.slug}",
    )
