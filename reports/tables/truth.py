"""Searches of a space whose architectures are all known: accuracy, regret, the parent's ranking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from . import rules
from .baselines import relative
from .child_matrix import row_head
from .measure import failures_note, seeds_value
from .model import CONSTRUCTED, MEASURED, Column, Table, Value, text
from .selection import Comparable, Run, Variant

_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16_120": "ImageNet16-120"}
_COLUMNS = (
    ("accuracy", "Known accuracy of the child (%)"),
    ("regret", "Regret (points)"),
    ("percentile", "Percentile"),
    ("tau", "Kendall's tau of the parent"),
    ("spearman", "Spearman's rho"),
    ("overlap", "Overlap of the best tenth"),
)
_BRIEF = {"accuracy": "Known (%)", "regret": "Regret", "percentile": "Pct.", "tau": "Tau"}
_IN_TABLE_1 = ("accuracy", "regret", "percentile", "tau")
_AMONG = ("among_best", "Among the best that the table cannot tell apart (share of seeds)")
_EXACT = (
    ("loss", "Exact expected loss at the end (nats)"),
    ("gradient_norm", "Norm of its exact gradient"),
    ("cosine", "Cosine of 32 draws with it"),
    ("bias_sq", "Their squared bias, relative"),
)


def truth_of(run: Run) -> dict[str, Any]:
    """Return what a run says of its known space; empty where nothing is known."""
    found: dict[str, Any] = json.loads(run["truth"] or "null") or {}
    return found


def known_datasets(found: Comparable) -> list[str]:
    """Return the data sets that the accuracies of the space are known on, the main one first."""
    names: dict[str, None] = {}
    for run in found.runs:
        names |= dict.fromkeys(truth_of(run).get("datasets", {}))
    return sorted(names, key=lambda name: [*_NAMES, name].index(name))


def _values(variant: Variant, dataset: str, name: str) -> dict[int, float | None]:
    """Return seed to value; a run that failed, or did not measure it, has none.

    Args:
        variant: The row.
        dataset: Of the known accuracies; empty: what is exact of the search itself.
        name: Of the value.
    """
    values: dict[int, float | None] = {}
    for run in variant.runs:
        found = truth_of(run)
        part = found.get("datasets", {}).get(dataset, {}) if dataset else found.get("exact", {})
        value = part.get(name)
        values[int(run["seed"])] = None if value is None else float(value)
    for run in variant.failed:
        if run["seed"] is not None:
            values.setdefault(int(run["seed"]), None)
    return values


def _cell(variant: Variant, dataset: str, name: str, confidence: float) -> Value:
    values = _values(variant, dataset, name)
    if not any(value is not None for value in values.values()):
        return text("not measured", runs=variant.ids)
    return seeds_value(values, variant.ids, confidence=confidence, failed=variant.failed_ids)


def truth_columns(found: Comparable) -> list[Column]:
    """Return the columns of Table 1 on the main data set; none where nothing is known."""
    names = known_datasets(found)
    if not names:
        return []
    where = _NAMES.get(names[0], names[0])
    heads = dict(_COLUMNS)
    return [
        Column(f"truth_{key}", f"{heads[key]}, {where}", MEASURED, brief=_BRIEF[key])
        for key in _IN_TABLE_1
    ]


def truth_values(variant: Variant, found: Comparable, confidence: float) -> list[Value]:
    """Return the cells of :func:`truth_columns`."""
    names = known_datasets(found)
    return [_cell(variant, names[0], key, confidence) for key in _IN_TABLE_1] if names else []


def _column(key: str, head: str) -> Column:
    return Column(key, head, MEASURED, brief=_BRIEF.get(key, ""), core=key in _BRIEF)


def truth_table(found: Comparable, *, confidence: float = 0.95) -> Table | None:
    """Return the table ``truth``, a row for each estimator and data set; None without truth."""
    names = known_datasets(found)
    if not names:
        return None
    noisy, exact = _has_noise(found), [c for c in _EXACT if _is_exact(found)]
    columns = (
        Column("estimator", "Estimator", numeric=False),
        Column("level", "Level", numeric=False, core=False),
        Column("n", "n"),
        Column("dataset", "Known on", numeric=False, core=len(names) > 1),
        *(_column(key, head) for key, head in _COLUMNS),
        Column(
            "relative_improvement", "Relative improvement over random sampling (%), known", MEASURED
        ).minor(),
        *([Column(*_AMONG, MEASURED, core=False)] if noisy else []),
        *(Column(f"exact_{key}", head, MEASURED, core=False) for key, head in exact),
        Column("space_mean", "Mean of the space (%)", CONSTRUCTED, core=False),
    )
    rows = []
    for variant in found.variants:
        for name in names:
            mean = _space_mean(found, name)
            accuracies = _values(variant, name, "accuracy")
            body = [_cell(variant, name, key, confidence) for key, _ in _COLUMNS]
            gain = seeds_value(
                relative(accuracies, mean),
                variant.ids,
                confidence=confidence,
                failed=variant.failed_ids,
            )
            first = Value(f"{mean:.2f}", mean, numbers={"value": mean})
            label = text(_NAMES.get(name, name))
            further = [_cell(variant, name, _AMONG[0], confidence)] if noisy else []
            further += [_cell(variant, "", key, confidence) for key, _ in exact]
            rows.append((*row_head(variant, found), label, *body, gain, *further, first))
    return Table(
        key="truth",
        title="Against the known accuracies of the space",
        columns=columns,
        rows=tuple(rows),
        notes=(*truth_notes(found), *failures_note(found.variants), rules.CELL, rules.UNIT)
        + ((rules.APART,) if found.provisional else ()),
        subject=found.subject,
        provisional=found.provisional,
        slug=f"truth-{found.slug}",
    )


def _has_noise(found: Comparable) -> bool:
    """Whether the known accuracies come with their noise."""
    parts = (part for run in found.runs for part in truth_of(run).get("datasets", {}).values())
    return any("among_best" in part for part in parts)


def _is_exact(found: Comparable) -> bool:
    """Whether the searches' own expected losses are known exactly."""
    return any("exact" in truth_of(run) for run in found.runs)


def _space_mean(found: Comparable, dataset: str) -> float:
    runs = (truth_of(run).get("datasets", {}).get(dataset) for run in found.runs)
    return next(float(known["space_mean"]) for known in runs if known)


def truth_notes(found: Comparable) -> list[str]:
    """Return what must be read with known accuracies: source, other data, ranking, its cost."""
    runs = [run for run in found.runs if truth_of(run)]
    if not runs:
        return []
    names = known_datasets(found)
    sources = dict.fromkeys(str(truth_of(run)["source"]) for run in runs)
    notes = [
        f"Known: {'; '.join(sources)}. They are of the cell in that network, not of this search's.",
        "Relative improvement: 100 (a - a_r) / a_r with known accuracies, a_r the mean of the "
        "whole space, which is what a uniformly random architecture is worth.",
    ]
    if found.dataset not in names:
        shown = ", ".join(_NAMES.get(name, name) for name in names)
        notes.insert(0, f"The searches ran on other data: they saw {found.dataset}, not {shown}.")
    if _has_noise(found):
        notes.append(
            "Among the best: 1 where the known accuracies cannot tell the child from the best, by "
            "one-sided 95 % comparisons of all architectures with the best."
        )
    if _is_exact(found):
        notes.append(
            "Exact: by enumeration of all architectures with the parent's weights at the end, on "
            "the first training images without augmentation; the bias has the noise of the mean "
            "taken off."
        )
    notes.append(_ranking_note(runs))
    return notes


def _ranking_note(runs: Sequence[Run]) -> str:
    found = [truth_of(run) for run in runs]
    measured = [t for t in found if t.get("images")]
    if not measured:
        return "The parent's ranking was not measured: the searches ended before it was due."
    images = sorted({int(t["images"]) for t in measured})
    sizes = ", ".join(map(str, images))
    shares = [t["seconds"] / run["wall_s"] for t, run in zip(found, runs, strict=True)]
    percent = sorted(round(100 * share) for share in shares)
    return (
        f"Ranking: {measured[0]['sample']} architectures, stratified by known accuracy, validated "
        f"with the parent's weights and running batch-norm statistics on {sizes} reporting images; "
        "tau-b and rho of the last epoch. Chance gives an overlap of 0.1. It took "
        f"{percent[0]} % of the search's seconds"
        + (f" (at most {percent[-1]} %)" if percent[-1] != percent[0] else "")
        + ", which do not contain it."
    )
