"""Random search and random sampling among the rows, and how far the others are above the latter.

Random search keeps the best of N draws by validation; random sampling is one random child. The
relative improvement over it is ``100 (a - a_r) / a_r`` (Yang et al. 2020, arXiv:1912.12522, section
3), with ``a`` and ``a_r`` measured by one rule.
"""

from __future__ import annotations

from collections.abc import Mapping

from .measure import counted, mean_of, seeds_value
from .model import MEASURED, Column, Value, text
from .selection import Comparable, Variant

BEST_OF = "best-of-N"
RELATIVE = (
    "Relative improvement over random sampling: 100 (a - a_r) / a_r, where a_r is the mean of the "
    "row random-sampling, both children with inherited weights and batch norms, without retraining."
)
SELECTED = (
    "Selected: best-of-N draws N architectures and keeps the best by inherited weights and running "
    "batch-norm statistics on the selection images; its seconds are part of the search cost. Every "
    "accuracy of every row is of the reporting images, which select nothing."
)


def is_random_search(variant: Variant) -> bool:
    """Whether a row is random search with parameter sharing (before version 2 it was sampling)."""
    return variant.estimator == "random" and all(
        run["derive_rule"] == BEST_OF for run in variant.runs
    )


def is_random_sampling(variant: Variant) -> bool:
    """Whether a row is one uniformly random child a seed."""
    return variant.estimator in ("random-sampling", "random") and all(
        run["derive_rule"] == "argmax" for run in variant.runs
    )


def sampled_mean(found: Comparable) -> float | None:
    """Return the mean inherited child accuracy of random sampling; None without such a row."""
    rows = [v for v in found.variants if v.runs and is_random_sampling(v)]
    return mean_of(dict(counted(rows[0], "child_valid_acc"))) if rows else None


def relative(values: Mapping[int, float | None], base: float) -> dict[int, float | None]:
    """Return the relative improvement over ``base`` of each seed, percent."""
    return {seed: _above(value, base) for seed, value in values.items()}


def _above(value: float | None, base: float) -> float | None:
    return None if value is None else 100 * (value - base) / base


def further_columns(found: Comparable) -> list[Column]:
    """Return the columns that the rows of a table need: selection, relative improvement."""
    columns = []
    if _selects(found):
        columns.append(
            Column("selected", "Selected: N × images (s)", MEASURED, numeric=False),
        )
    if sampled_mean(found):
        columns.append(
            Column(
                "relative_improvement",
                "Relative improvement over random sampling (%), inherited",
                MEASURED,
            )
        )
    return columns


def further_values(variant: Variant, found: Comparable, confidence: float) -> list[Value]:
    """Return the cells of :func:`further_columns`."""
    base = sampled_mean(found)
    cells = [_selected(variant)] if _selects(found) else []
    if base:
        gain = seeds_value(
            relative(variant.by_seed("child_valid_acc"), base),
            variant.ids,
            confidence=confidence,
            failed_value=_above(variant.chance, base),
            failed=variant.failed_ids,
        )
        cells.append(gain)
    return cells


def _selects(found: Comparable) -> bool:
    return any(run["n_candidates"] for run in found.runs)


def _selected(variant: Variant) -> Value:
    runs = [run for run in variant.runs if run["n_candidates"]]
    if not runs:
        return text("nothing", runs=variant.ids)
    sizes = sorted({f"{run['n_candidates']} × {run['selection_images']}" for run in runs})
    mean = sum(float(run["selection_s"]) for run in runs) / len(runs)
    distinct = ", ".join(f"seed {run['seed']}: {run['n_distinct_candidates']}" for run in runs)
    words = f"{', '.join(sizes)} ({mean:.1f} s)"
    return text(words, runs=variant.ids, detail=f"different candidates, {distinct}")


def baseline_notes(found: Comparable) -> list[str]:
    """Return what is to be said about the baselines of a table, and what is missing."""
    notes = []
    command = f"-s {found.space} -p {found.preset}"
    if not any(is_random_search(variant) for variant in found.variants):
        notes.append(
            "There is no random-search row, so no estimator is shown to be better than chance: "
            f"nasbench run -e random {command}"
        )
    keys = {column.key for column in further_columns(found)}
    if "relative_improvement" in keys:
        notes.append(RELATIVE)
    else:
        notes.append(
            "There is no random-sampling row to measure improvements against: "
            f"nasbench run -e random-sampling {command}"
        )
    return [*notes, *([SELECTED] if "selected" in keys else [])]
