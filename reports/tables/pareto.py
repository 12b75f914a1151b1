"""Error against cost over the settings of the resource term: Pareto fronts and their hypervolume.

Searches are of one family if they differ in the resource term alone: levels of constraint, eta,
targets. Each seed has a front of its own, over the settings, and a hypervolume; the mean over seeds
has the bootstrap's interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from nasbench_snas.errors import NasbenchError
from nasbench_snas.settings.run import from_toml
from nasbench_snas.stats.pareto import Point, bootstrap_mean, hypervolume, pareto_front

from . import rules
from .measure import failures_note, interval_text
from .model import EMPTY, MEASURED, Column, Table, Value, number, slug, text
from .selection import Comparable, Run, Variant

COSTS = (("params", "parameters (thousand)", 1e3), ("macs", "multiply-adds (million)", 1e6))
"""Columns of the cost, in words, and their units."""
FEWEST = 3
"""Seeds from which on an interval is shown."""


@dataclass
class Front:
    """The searches of one estimator over the settings of the resource term.

    Attributes:
        label: The estimator's row.
        cost: Column of the cost.
        points: Setting to seed to (cost, error in percent); None: it failed.
        variants: The rows that they come from.
    """

    label: str
    cost: str
    points: dict[str, dict[int, Point | None]] = field(default_factory=dict)
    variants: list[Variant] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Seeds that every setting has."""
        sets = [set(own) for own in self.points.values()]
        return sorted(set.intersection(*sets)) if sets else []

    @property
    def centres(self) -> dict[str, Point]:
        """Means of cost and error of each setting over its finished seeds."""
        known = {
            name: [point for point in own.values() if point is not None]
            for name, own in self.points.items()
        }
        return {
            name: (math.fsum(x) / len(x), math.fsum(y) / len(y))
            for name, own in known.items()
            if own
            for x, y in [tuple(zip(*own, strict=True))]
        }

    def volumes(self, reference: Point) -> dict[int, float]:
        """Return the share of the box below ``reference`` that each seed's front dominates."""
        box = reference[0] * reference[1]
        return {
            seed: hypervolume(
                [p for own in self.points.values() if (p := own[seed]) is not None], reference
            )
            / box
            for seed in self.seeds
        }


def families(groups: Sequence[Comparable]) -> list[list[Comparable]]:
    """Return the sets of searches that differ in the resource term, those with several settings."""
    found: dict[tuple[str, ...], list[Comparable]] = {}
    for group in groups:
        names = (group.preset, group.space, group.dataset, group.unconstrained)
        found.setdefault((*names, str(group.truncated)), []).append(group)
    return [members for members in found.values() if len({resource(g) for g in members}) > 1]


def resource(group: Comparable) -> str:
    """Return the resource term of a group's searches, in words."""
    runs = [run for v in group.variants for run in (*v.runs, *v.failed)]
    for run in runs:
        words = _resource(str(run["folder"]))
        if words:
            level = "" if group.constraint == "none" else f"{group.constraint}: "
            return level + words
    return group.constraint


@cache
def _resource(folder: str) -> str:
    try:
        config = from_toml((Path(folder) / "config.toml").read_text(encoding="utf-8"))
    except (NasbenchError, OSError, UnicodeDecodeError):
        return ""
    return config.cost.steered or "no resource term"


def fronts(members: Sequence[Comparable], cost: str, unit: float) -> list[Front]:
    """Return the fronts of one family, by estimator.

    Args:
        members: The family.
        cost: Column of the cost.
        unit: What it is divided by.
    """
    found: dict[str, Front] = {}
    for group in members:
        for variant in group.variants:
            own = found.setdefault(variant.label, Front(variant.label, cost))
            points = {int(run["seed"]): _point(run, cost, unit) for run in variant.runs}
            lost = {int(r["seed"]): None for r in variant.failed if r["seed"] is not None}
            own.points.setdefault(resource(group), {}).update({**lost, **points})
            own.variants.append(variant)
    return [front for _, front in sorted(found.items()) if len(front.points) > 1]


def _point(run: Run, cost: str, unit: float) -> Point | None:
    if run[cost] is None or run["child_valid_acc"] is None:
        return None
    return float(run[cost]) / unit, 100.0 - float(run["child_valid_acc"])


def reference_point(members: Sequence[Comparable], made: Sequence[Front]) -> Point | None:
    """Return the largest cost of any search of the family, and the error of guessing.

    It is the same for all estimators, so that their hypervolumes compare; None: nothing is known.
    """
    costs = [p[0] for f in made for own in f.points.values() for p in own.values() if p is not None]
    chances = [v.chance for g in members for v in g.variants if v.chance is not None]
    if not costs or not chances or max(costs) <= 0:
        return None
    return max(costs), 100.0 - chances[0]


def pareto_tables(groups: Sequence[Comparable], *, confidence: float = 0.95) -> list[Table]:
    """Return a table for each family of searches with several settings of the resource term."""
    made = (_table(members, confidence) for members in families(groups))
    return [table for table in made if table is not None]


def _table(members: Sequence[Comparable], confidence: float) -> Table | None:
    rows, first = [], members[0]
    dagger = " †" if first.provisional else ""
    for cost, words, unit in COSTS:
        made = fronts(members, cost, unit)
        reference = reference_point(members, made)
        for front in made:
            if reference is not None:
                rows.append(_row(front, words, reference, confidence, dagger))
    if not rows:
        return None
    subject = [first.space, first.dataset, f"preset {first.preset}"]
    subject += ["truncated"] if first.truncated else []
    return Table(
        key="pareto",
        title="Pareto fronts over the resource term: error of the derived child against its cost",
        columns=(
            Column("estimator", "Estimator", numeric=False),
            Column("cost", "Cost", numeric=False),
            Column("settings", "Settings of the resource term", brief="Settings"),
            Column("n", "n (seeds that all settings have)", brief="n"),
            Column("front", "On the front of the means", numeric=False, core=False),
            Column("reference", "Reference point (cost, error %)", numeric=False, core=False),
            Column("hypervolume", "Hypervolume (share of the box)", MEASURED, brief="HV"),
            Column("interval", f"{100 * confidence:g} % bootstrap interval", MEASURED),
        ),
        rows=tuple(rows),
        notes=(
            "Error: 100 minus the accuracy of the derived child with inherited weights. Each seed "
            "has a front over the settings and a hypervolume; the mean over seeds is shown, as a "
            "share of the box between the origin and the reference point: the largest cost of any "
            "search here, and the error of guessing. A failed run adds no point.",
            f"Interval: percentile bootstrap of that mean over seeds, from {FEWEST} seeds on. With "
            "few seeds it covers less than it says: read it as a scale, not as a test.",
            *failures_note([v for group in members for v in group.variants]),
            *((rules.APART,) if dagger else ()),
        ),
        subject=" · ".join(subject),
        provisional=first.provisional,
        slug=slug("pareto-" + "-".join([*subject, first.unconstrained])),
    )


def _row(
    front: Front, words: str, reference: Point, confidence: float, dagger: str
) -> tuple[Value, ...]:
    ids = tuple(dict.fromkeys(i for variant in front.variants for i in variant.ids))
    volumes, interval = list(front.volumes(reference).values()), EMPTY
    mean = math.fsum(volumes) / len(volumes) if volumes else None
    if len(volumes) >= FEWEST:
        found = bootstrap_mean(volumes, confidence)
        numbers = {"low": found.low, "high": found.high}
        interval = Value(interval_text(found, 3), found.low, ids, numbers=numbers)
    return (
        text(front.label + dagger, runs=ids),
        text(words),
        Value(str(len(front.points)), float(len(front.points)), ids),
        Value(str(len(volumes)), float(len(volumes)), ids),
        text("; ".join(_on_front(front.centres)), runs=ids),
        text(f"{reference[0]:.4g}, {reference[1]:.4g}"),
        number(mean, 3, runs=ids),
        interval,
    )


def _on_front(centres: Mapping[str, Point]) -> list[str]:
    """Return the settings whose means nothing dominates, the cheapest first."""
    names = list(centres)
    return [names[place] for place in pareto_front([centres[name] for name in names])]
