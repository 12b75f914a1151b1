"""Table 1: accuracy in search against accuracy of the derived child, without retraining.

Arranged as Table 1 of SNAS (arXiv:1812.09926, section 3.1), for every estimator found. The child
of a row is derived by the estimator's declared rule and inherits the parent's batch-norm statistics
(or has them recomputed: the column "recalibrated"); all other pairs stand in the child matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nasbench_snas.stats.bold import BoldRows, bold_rows

from . import rules
from .baselines import (
    RELATIVE,
    SELECTED,
    baseline_notes,
    further_columns,
    further_values,
)
from .child_matrix import child_matrix, row_head
from .context import changed_settings, paper_search
from .differences import differences
from .measure import (
    ACCURACIES,
    cost_brief,
    cost_columns,
    cost_value,
    failures_note,
    failures_value,
    variant_value,
)
from .model import (
    DELTA,
    EMPTY,
    MEASURED,
    PUBLISHED,
    Column,
    Table,
    Value,
    difference,
    footnotes,
    number,
    text,
)
from .published import Published, published_table
from .selection import Comparable, Variant
from .truth import truth_columns, truth_notes, truth_values

_PUBLISHED_OF = {("darts", "unrolled", "none"): "DARTS (2nd", ("snas", "joint", "mild"): "SNAS"}
_GPU = (
    "Published GPU-days: the paper says of its own experiments that they used NVIDIA TITAN Xp; of "
    "numbers that it takes from others it does not say on what they were measured."
)


def table1(
    found: Comparable,
    *,
    confidence: float = 0.95,
    published: bool = True,
    published_rows: bool = True,
) -> list[Table]:
    """Return Table 1 of comparable runs with its companions.

    Args:
        found: The runs.
        confidence: Nominal coverage of intervals.
        published: Whether published columns stand beside the measured ones.
        published_rows: Whether published rows that nothing here repeats are shown, too. They are in
            any case where the settings are the paper's.

    Returns:
        The table; the best of n seeds; differences from the random search paired on seeds; the
        matrix of child derivations; the published rows, where none of them is repeated here.
    """
    tables = [_main(found, confidence, published)]
    if any(len(variant.runs) > 1 for variant in found.variants):
        tables += [_best_of(found)]
    tables += [t for t in (differences(found, confidence), child_matrix(found, confidence)) if t]
    if published and published_rows and not is_paper(found):
        tables.append(_published_alone())
    return tables


def _main(found: Comparable, confidence: float, published: bool) -> Table:
    comparable = published and is_paper(found)
    rows_published = published_table(1) if comparable else ()
    bold = _bold(found)
    costs = cost_columns(found)
    further = [*further_columns(found), *truth_columns(found)]
    columns = _columns(found, comparable, further, costs)
    rows = []
    used: set[str] = set()
    for variant in found.variants:
        beside = _beside(variant, found.constraint, rows_published)
        used |= {beside.architecture} if beside else set()
        row = row_head(variant, found)
        row += _measured_cells(variant, confidence, bold=variant.label in bold.bold)
        row += [cost_value(variant, unit, device, confidence) for unit, device, _ in costs]
        row += [failures_value(variant), _derived_by(variant)]
        row += further_values(variant, found, confidence)
        row += truth_values(variant, found, confidence)
        if comparable:
            row += _delta_cells(variant, row, columns, beside if _is_paper_row(variant) else None)
            row += _published_cells(beside)
        rows.append(tuple(row))
    for beside in rows_published:
        if beside.architecture not in used:
            rows.append(_only_published(beside, columns))
    notes = _notes(found, bold, published, comparable)
    return Table(
        key="1",
        title="Table 1. Search accuracy and child accuracy without retraining",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=notes,
        subject=found.subject,
        provisional=found.provisional,
        slug=f"table1-{found.slug}",
        minor_notes=(*truth_notes(found), SELECTED, RELATIVE),
    )


def is_paper(found: Comparable) -> bool:
    """Whether differences from the published numbers have a meaning."""
    return any(_is_paper_row(variant) for variant in found.variants)


def _is_paper_row(variant: Variant) -> bool:
    return all(paper_search(run) for run in (*variant.runs, *variant.failed))


_PUBLISHED_COLUMNS = (
    Column("published_search", "Search acc. (%)", PUBLISHED, brief="Search (%)"),
    Column("published_child", "Child acc. (%)", PUBLISHED, brief="Child (%)"),
    Column("published_gap", "Gap (computed here)", PUBLISHED, brief="Gap"),
    Column("published_gpu_days", "GPU-days", PUBLISHED),
)


def _columns(
    found: Comparable,
    comparable: bool,
    further: Sequence[Column],
    costs: Sequence[tuple[str, str, str]],
) -> list[Column]:
    levels = {variant.level for variant in found.variants}
    columns = [
        Column("estimator", "Estimator", numeric=False),
        Column("level", "Level", numeric=False, core=len(levels) > 1),
        Column("n", "n"),
        Column("search_valid_acc", "Search acc. (%)", MEASURED, brief="Search (%)"),
        Column("child_valid_acc", "Child acc. (%), inherited", MEASURED, brief="Child (%)"),
        Column("child_gap", "Gap = search - child (inherited)", MEASURED, brief="Gap"),
        Column("child_valid_acc_recalibrated", "Child acc. (%), recalibrated", MEASURED).minor(
            "Recal. (%)"
        ),
    ]
    columns += [
        Column(f"cost_{i}", head, MEASURED, brief=cost_brief(unit), core=len(costs) == 1)
        for i, (unit, _, head) in enumerate(costs)
    ]
    columns += [Column("failed", "Failed", MEASURED, core=False)]
    columns += [Column("derived_by", "Derived by", MEASURED, numeric=False, core=False)]
    columns += [column.minor() for column in further]
    if comparable:
        columns += [
            Column("delta_search", "Search acc.", DELTA, brief="Search"),
            Column("delta_child", "Child acc.", DELTA, brief="Child"),
            Column("delta_gap", "Gap", DELTA),
            *_PUBLISHED_COLUMNS,
        ]
    return columns


def _published_cells(row: Published | None) -> list[Value]:
    if row is None:
        return [EMPTY] * 4
    search, child = row.value("search_valid_acc"), row.value("child_valid_acc")
    gap = None if search is None or child is None else search - child
    digits = [row.decimals("search_valid_acc"), row.decimals("child_valid_acc")]
    digits.append(min(digits))
    cells = [number(v, d) for v, d in zip((search, child, gap), digits, strict=True)]
    return [*cells, number(row.value("search_gpu_days"), 1)]


def _measured_cells(variant: Variant, confidence: float, *, bold: bool) -> list[Value]:
    search, child, recalibrated = (
        variant_value(variant, column, confidence=confidence, with_interval=True)
        for column in ("search_valid_acc", "child_valid_acc", "child_valid_acc_recalibrated")
    )
    gap = variant_value(
        variant,
        "child_gap",
        confidence=confidence,
        exactly=min(search.decimals, child.decimals),
        with_interval=True,
    )
    return [search, replace(child, bold=bold), gap, recalibrated]


def _derived_by(variant: Variant) -> Value:
    """Return which two views of the architecture are compared."""
    pairs = sorted({f"{run['search_view']} → {run['derive_rule']}" for run in variant.runs})
    return text(", ".join(pairs))


def _delta_cells(
    variant: Variant, row: Sequence[Value], columns: Sequence[Column], beside: Published | None
) -> list[Value]:
    """Return the differences from a published row; none where the settings are not the paper's."""
    if beside is None:
        return [EMPTY] * 3
    at = {column.key: index for index, column in enumerate(columns)}
    search, child = beside.value("search_valid_acc"), beside.value("child_valid_acc")
    gap = None if search is None or child is None else search - child
    decimals = beside.decimals("search_valid_acc"), beside.decimals("child_valid_acc")
    cells = []
    for column, printed, digits in (
        ("search_valid_acc", search, decimals[0]),
        ("child_valid_acc", child, decimals[1]),
        ("child_gap", gap, min(decimals)),
    ):
        chance = variant.chance if column in ACCURACIES else None
        seeds = [chance if v is None else v for v in variant.by_seed(column).values()]
        known = [v for v in seeds if v is not None]
        cells.append(difference(row[at[column]], printed, known, variant.ids, digits))
    return cells


def _only_published(row: Published, columns: Sequence[Column]) -> tuple[Value, ...]:
    cells = {
        "estimator": text(row.architecture, detail=row.footnote),
        "level": EMPTY,
        "n": Value("not run"),
    }
    names = [column.key for column in columns if column.group == PUBLISHED]
    cells |= dict(zip(names, _published_cells(row), strict=True))
    return tuple(cells.get(column.key, EMPTY) for column in columns)


def _published_alone() -> Table:
    """Return the published rows as a table of their own: nothing here repeats them."""
    columns = (Column("estimator", "Estimator", numeric=False), *_PUBLISHED_COLUMNS)
    found = published_table(1)
    return Table(
        key="1",
        title="Table 1, published. CIFAR-10 with the paper's settings",
        columns=columns,
        rows=tuple((text(r.architecture, detail=r.footnote), *_published_cells(r)) for r in found),
        notes=(*_published_notes(), rules.SEPARATE),
        slug="table1-published",
    )


def _published_notes() -> list[str]:
    return [*footnotes([(row.architecture, row.footnote) for row in published_table(1)]), _GPU]


def _beside(variant: Variant, constraint: str, rows: Sequence[Published]) -> Published | None:
    start = _PUBLISHED_OF.get((variant.estimator, variant.level, constraint))
    return next((r for r in rows if start and r.architecture.startswith(start)), None)


def _notes(found: Comparable, bold: BoldRows, published: bool, comparable: bool) -> tuple[str, ...]:
    notes = [*failures_note(found.variants)]
    if found.provisional:
        notes.append(rules.APART)
    changed = changed_settings(found)
    if changed:
        notes.append(f"Settings that differ from preset {found.preset}: {', '.join(changed)}.")
    notes += [*baseline_notes(found), *truth_notes(found)]
    if published and not comparable:
        notes.append(
            "Published numbers stand apart: they are of CIFAR-10 with the paper's settings, these "
            f"of {found.dataset} with preset {found.preset}, constraint {found.constraint}"
            + (" and the changed settings above." if changed else ".")
        )
    if comparable:
        notes += _published_notes()
    stale = [str(run["run_id"]) for run in found.runs if run["stale_source"]]
    if stale:
        words = ", ".join(stale[:3]) + (f" and {len(stale) - 3} more" if len(stale) > 3 else "")
        notes.append(f"The source of the estimator has changed since these runs: {words}.")
    notes += rules.bold_notes(bold, len(found.variants))
    protocols = sorted({str(run["protocol_note"]) for run in found.runs if run["protocol_note"]})
    notes += [f"Accuracies: {note}." for note in protocols]
    notes += rules.images_notes(found.runs)
    rest = (rules.CELL, rules.INTERVAL, rules.UNIT, rules.FAILURES, rules.BOLD, rules.COST)
    return (*notes, *rest, *((rules.SEPARATE,) if comparable else ()))


def _bold(found: Comparable) -> BoldRows:
    rows = {variant.label: variant.by_seed("child_valid_acc") for variant in found.variants}
    settings = {}
    for variant in found.variants:
        classes = {_device_class(str(run["device_name"])) for run in variant.runs}
        mixed = f"{variant.label}: {sorted(classes)}"
        settings[variant.label] = {
            "preset": found.preset,
            "space": found.space,
            "dataset": found.dataset,
            "device_class": classes.pop() if len(classes) == 1 else mixed,
        }
    chances = {variant.chance for variant in found.variants}
    return bold_rows(rows, settings, failed_value=chances.pop() if len(chances) == 1 else None)


def _device_class(name: str) -> str:
    return "cpu" if name.startswith("cpu") else name


def _best_of(found: Comparable) -> Table:
    columns = (
        Column("estimator", "Estimator", numeric=False),
        Column("level", "Level", numeric=False, core=False),
        Column("n", "best of n"),
        Column("seed", "Seed", MEASURED),
        Column("search_valid_acc", "Search acc. (%)", MEASURED, brief="Search (%)"),
        Column("child_valid_acc", "Child acc. (%), inherited", MEASURED, brief="Child (%)"),
        Column("child_gap", "Gap", MEASURED),
        Column("child_valid_acc_recalibrated", "Child acc. (%), recalibrated", MEASURED).minor(
            "Recal. (%)"
        ),
    )
    rows = []
    for variant in found.variants:
        if not variant.runs:
            rows.append((*row_head(variant, found), *[EMPTY] * (len(columns) - 3)))
            continue
        best = max(variant.runs, key=lambda run: (run["search_valid_acc"], -run["seed"]))
        ids = (str(best["run_id"]),)
        names = [column.key for column in columns[4:]]
        cells = [number(best[name], runs=ids) for name in names]
        seed = Value(str(best["seed"]), float(best["seed"]), ids)
        rows.append((*row_head(variant, found), seed, *cells))
    notes = (
        rules.SELECTION,
        *failures_note(found.variants),
        *((rules.APART,) if found.provisional else ()),
    )
    return Table(
        key="1",
        title="Table 1, selected. Best of n seeds by search validation accuracy",
        columns=columns,
        rows=tuple(rows),
        notes=notes,
        subject=found.subject,
        provisional=found.provisional,
        slug=f"table1-best-{found.slug}",
    )
