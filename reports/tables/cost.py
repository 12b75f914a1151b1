"""What a constraint costs and saves, and what a search takes: two tables of searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import rules
from .measure import ACCURACIES, count_value, failures_note, seeds_value
from .model import EMPTY, MEASURED, Column, Table, Value, slug, text
from .selection import Comparable, Run, Variant

LEVELS = ("none", "mild", "moderate", "aggressive")


def constraint_tables(groups: Sequence[Comparable], *, confidence: float = 0.95) -> list[Table]:
    """Return a table for each set of searches that differ in nothing but the constraint level.

    Sets with a single level are left out: there is nothing to compare.
    """
    families: dict[tuple[str, ...], list[Comparable]] = {}
    for group in groups:
        key = (group.preset, group.space, group.dataset, group.unconstrained)
        families.setdefault((*key, str(group.truncated)), []).append(group)
    tables = []
    for members in families.values():
        if len({group.constraint for group in members}) > 1:
            tables.append(_constraints(members, confidence))
    return tables


def _none_edges(run: Run) -> float | None:
    """Edges that chose none; a rule that never keeps none says nothing about them."""
    edges = (run["n_edges"], run["n_edges_kept"])
    if run["derive_rule"] not in ("argmax", "sample", "best-of-N") or None in edges:
        return None
    return float(run["n_edges"] - run["n_edges_kept"])


_CONSTRAINT_COLUMNS: tuple[tuple[str, str, int, Callable[[Run], float | None]], ...] = (
    ("child_cost", "Child cost (normalised)", 3, lambda run: run["child_cost"]),
    (
        "params",
        "Child params (thousand)",
        1,
        lambda run: None if run["params"] is None else run["params"] / 1e3,
    ),
    (
        "macs",
        "Child ×+ (M)",
        2,
        lambda run: None if run["macs"] is None else run["macs"] / 1e6,
    ),
    (
        "mac_bytes",
        "Memory access (MB)",
        2,
        lambda run: None if run["mac_bytes"] is None else run["mac_bytes"] / 1e6,
    ),
    ("n_edges_kept", "Edges kept", 1, lambda run: run["n_edges_kept"]),
    ("none_edges", "Edges with none", 1, _none_edges),
    ("n_nodes_dropped", "Nodes dropped", 1, lambda run: run["n_nodes_dropped"]),
    ("search_valid_acc", "Search acc. (%)", 2, lambda run: run["search_valid_acc"]),
    ("child_valid_acc", "Child acc. (%), inherited", 2, lambda run: run["child_valid_acc"]),
)


def _constraints(groups: Sequence[Comparable], confidence: float) -> Table:
    columns = [
        Column("estimator", "Estimator", numeric=False),
        Column("constraint", "Constraint", numeric=False),
        Column("n", "n"),
        *_measured(_CONSTRAINT_COLUMNS),
    ]
    entries = [(v, group) for group in groups for v in group.variants]
    entries.sort(key=lambda e: (e[0].label, _level(e[1].constraint)))
    rows = []
    for variant, group in entries:
        dagger = " †" if group.provisional else ""
        row = [
            text(variant.label + dagger, runs=variant.ids),
            Value(group.constraint, float(_level(group.constraint)), variant.ids),
            count_value(variant),
        ]
        for column, _, decimals, read in _CONSTRAINT_COLUMNS:
            row.append(_cell(variant, read, column, confidence, decimals))
        rows.append(tuple(row))
    first = groups[0]
    words = [first.space, first.dataset, f"preset {first.preset}"]
    words += ["truncated"] if first.truncated else []
    notes = (
        "Costs are of the derived child in the search network; cost 1 is that of an average choice "
        "on every edge unless the settings say otherwise. Edges with none are counted where the "
        "child is the strongest operation of every edge; DARTS' rule never keeps none.",
        *failures_note([variant for variant, _ in entries]),
        rules.CELL,
        rules.UNIT,
        *((rules.APART,) if first.provisional else ()),
    )
    return Table(
        key="constraints",
        title="Constraint strength: cost and accuracy of the derived child",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=notes,
        subject=" · ".join(words),
        provisional=first.provisional,
        slug=slug("constraints-" + "-".join([*words, first.unconstrained])),
    )


_BRIEF = {
    "child_cost": "Cost",
    "params": "Params (k)",
    "search_valid_acc": "Search (%)",
    "child_valid_acc": "Child (%)",
    "wall_s": "Time (s)",
    "ms_per_step": "ms/step",
    "imgs_per_s": "Images/s",
    "peak_mem_bytes": "MB",
}
"""Heads where room is short, of the columns that are shown there."""


def _measured(columns: Sequence[tuple[str, str, int, object]]) -> list[Column]:
    return [
        Column(key, head, MEASURED, brief=_BRIEF.get(key, ""), core=key in _BRIEF)
        for key, head, _, _ in columns
    ]


def _level(constraint: str) -> int:
    return LEVELS.index(constraint) if constraint in LEVELS else len(LEVELS)


def _cell(
    variant: Variant,
    read: Callable[[Run], float | None],
    column: str,
    confidence: float,
    decimals: int,
) -> Value:
    """Return one cell; what no finished run knows is missing, a failed run is counted."""
    values = {int(run["seed"]): read(run) for run in variant.runs}
    known: dict[int, float | None] = {s: v for s, v in values.items() if v is not None}
    if not known and not variant.failed:
        return EMPTY
    for run in variant.failed:
        if run["seed"] is not None:
            known.setdefault(int(run["seed"]), None)
    return seeds_value(
        known,
        variant.ids,
        confidence=confidence,
        decimals=decimals,
        failed_value=variant.chance if column in ACCURACIES else None,
        failed=variant.failed_ids,
    )


_TIMING_COLUMNS: tuple[tuple[str, str, int, Callable[[Run], float | None]], ...] = (
    ("wall_s", "Search, wall clock (s)", 2, lambda run: run["wall_s"]),
    (
        "ms_per_step",
        "ms per step, validation included",
        2,
        lambda run: 1e3 * run["wall_s"] / run["steps"] if run["steps"] and run["wall_s"] else None,
    ),
    ("imgs_per_s", "Images per s (last epoch)", 1, lambda run: run["imgs_per_s"]),
    (
        "peak_mem_bytes",
        "Peak memory (MB)",
        0,
        lambda run: None if run["peak_mem_bytes"] is None else run["peak_mem_bytes"] / 1e6,
    ),
)


def timing_table(group: Comparable, *, confidence: float = 0.95) -> Table:
    """Return what the searches of comparable runs took, one row an estimator and device."""
    columns = (
        Column("estimator", "Estimator", numeric=False),
        Column("device", "Device", numeric=False, core=len(group.devices) > 1),
        Column("n", "n"),
        *_measured(_TIMING_COLUMNS),
    )
    rows = []
    for variant in group.variants:
        for device in sorted({str(r["device_name"]) for r in (*variant.runs, *variant.failed)}):
            runs = tuple(run for run in variant.runs if str(run["device_name"]) == device)
            lost = tuple(run for run in variant.failed if str(run["device_name"]) == device)
            part = Variant(variant.label, variant.level, runs, lost)
            cells = [text(variant.label + (" †" if group.provisional else ""), runs=part.ids)]
            cells += [text(device), count_value(part)]
            for column, _, decimals, read in _TIMING_COLUMNS:
                cells.append(_cell(part, read, column, confidence, decimals))
            rows.append(tuple(cells))
    notes = (
        "Times of one machine under whatever else it did; peak memory is the process's on a CPU "
        "and the allocator's on a GPU. Compare rows of one device only.",
        *failures_note(group.variants),
        rules.COST,
        rules.CELL,
        *((rules.APART,) if group.provisional else ()),
    )
    return Table(
        key="timing",
        title="Timing: what a search takes",
        columns=columns,
        rows=tuple(rows),
        notes=notes,
        subject=group.subject,
        provisional=group.provisional,
        slug=f"timing-{group.slug}",
    )
