"""From run stores to a report: which runs, which tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasbench_snas import __version__
from nasbench_snas.errors import (
    ConfigError,
    DataError,
    ReportRefusedError,
    UnknownRunError,
    suggest,
)
from nasbench_snas.runs.results import load_rows
from nasbench_snas.runs.schema import COLUMNS
from nasbench_snas.settings.where import parse_where

from .tables.ablation import ablation_tables
from .tables.bench import bench_tables
from .tables.checklist import checklist
from .tables.columns import COMPACT, check_columns
from .tables.cost import constraint_tables, timing_table
from .tables.damage import with_damage
from .tables.disconnected import with_disconnected
from .tables.estimators import estimators_tables
from .tables.model import Table
from .tables.pareto import pareto_tables
from .tables.retrained import retrained_tables
from .tables.selection import Comparable, Exclusion, select
from .tables.studies import gradient_tables, tabular_table
from .tables.table1 import table1
from .tables.truth import truth_table

TABLES = (
    "1",
    "2",
    "3",
    "estimators",
    "gradients",
    "constraints",
    "timing",
    "tabular",
    "truth",
    "ablation",
    "darts-bench",
    "pareto",
    "checklist",
)
FORMATS = ("terminal", "md", "csv", "tex", "html", "parquet")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a report holds.

    Attributes:
        tables: Keys of tables, or ``all`` (all but the checklist).
        figures: Names of figures, ``all`` or ``none``.
        formats: Files to write, of :data:`FORMATS`.
        where: Selection of runs; see :mod:`nasbench_snas.settings.where`.
        confidence: Nominal coverage of intervals.
        min_seeds: Rows with fewer finished seeds are left out.
        include_truncated: Whether truncated runs are shown (in tables of their own).
        strict: Refuse runs that cannot stand in one table, or were made on different devices.
        published: Whether published numbers are shown.
        columns: What the terminal and LaTeX show: ``compact``, ``all`` or keys of columns.
    """

    tables: tuple[str, ...] = ("all",)
    figures: tuple[str, ...] = ("all",)
    formats: tuple[str, ...] = ("md", "csv")
    where: str = ""
    confidence: float = 0.95
    min_seeds: int = 1
    include_truncated: bool = False
    strict: bool = False
    published: bool = True
    columns: tuple[str, ...] = (COMPACT,)

    def __post_init__(self) -> None:
        """Check names and numbers."""
        for kind, given, known in (
            ("table", self.tables, (*TABLES, "all")),
            ("format", self.formats, FORMATS),
        ):
            for name in given:
                if name not in known:
                    raise ConfigError(f"unknown {kind} {name!r}.", suggest(name, known))
        if not 0 < self.confidence < 1 or self.min_seeds < 1:
            raise ConfigError(
                f"confidence {self.confidence}, min_seeds {self.min_seeds}",
                "expected a confidence between 0 and 1 and at least one seed",
            )

    def wants(self, table: str) -> bool:
        """Whether a table is asked for."""
        return table in self.tables or ("all" in self.tables and table != "checklist")


@dataclass(frozen=True)
class Report:
    """What was selected, and the tables made of it.

    Attributes:
        rows: Rows of the result schema that were selected.
        groups: Comparable searches.
        exclusions: Runs left out or failed, with the reason.
        tables: All tables, in order.
        options: What was asked for.
        roots: Run stores.
        runs: Names of runs that were asked for; none: all.
    """

    rows: list[dict[str, Any]]
    groups: list[Comparable]
    exclusions: list[Exclusion]
    tables: list[Table]
    options: ReportOptions
    roots: tuple[Path, ...] = ()
    runs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return tables, rows and exclusions as plain containers."""
        return {
            "suite_version": __version__,
            "tables": [_table_json(table) for table in self.tables],
            "runs": self.rows,
            "exclusions": [exclusion_json(e) for e in self.exclusions],
        }


def build_report(roots: Sequence[Path], options: ReportOptions, runs: Sequence[str] = ()) -> Report:
    """Select runs and make the tables.

    Args:
        roots: Run stores.
        options: What the report holds.
        runs: Run ids, beginnings of them, or folders; none: all. Retrainings of a selected search
            are selected, too.

    Raises:
        DataError: There is no run store, or nothing to report.
        UnknownRunError: There is no run of a given name.
        ReportRefusedError: ``strict``, and the runs cannot be compared.
    """
    rows = with_damage(_chosen(load_rows(roots), runs))
    keep = parse_where(options.where, COLUMNS)
    rows = [row for row in rows if keep(row)]
    groups, exclusions = select(
        rows, include_truncated=options.include_truncated, min_seeds=options.min_seeds
    )
    if options.strict:
        _refuse_mixed(groups)
    if not groups and not any(row["stage"] != "search" for row in rows):
        raise _nothing(roots, rows, options)
    tables = with_disconnected(_tables(rows, groups, options), rows)
    check_columns(options.columns, tables)
    tables.sort(key=lambda table: not table.runs)  # what is published alone stands last
    return Report(rows, groups, exclusions, tables, options, tuple(roots), tuple(runs))


def _tables(
    rows: Sequence[Mapping[str, Any]], groups: Sequence[Comparable], options: ReportOptions
) -> list[Table]:
    level, published = options.confidence, options.published
    tables: list[Table] = []
    if options.wants("1"):
        for index, group in enumerate(groups):
            tables += table1(
                group, confidence=level, published=published, published_rows=index == 0
            )
    for number in (2, 3):
        if options.wants(str(number)):
            tables += retrained_tables(
                number,
                rows,
                confidence=level,
                published=published,
                include_truncated=options.include_truncated,
            )
    if options.wants("estimators"):
        tables += estimators_tables(rows, groups, confidence=level)
    if options.wants("constraints"):
        tables += constraint_tables(groups, confidence=level)
    if options.wants("gradients"):
        tables += gradient_tables(rows)
    if options.wants("timing"):
        tables += [timing_table(group, confidence=level) for group in groups]
    if options.wants("tabular"):
        found = (tabular_table(group, confidence=level) for group in groups)
        tables += [table for table in found if table is not None]
    if options.wants("truth"):
        known = (truth_table(group, confidence=level) for group in groups)
        tables += [table for table in known if table is not None]
    if options.wants("ablation"):
        tables += ablation_tables(rows, confidence=level)
    if options.wants("darts-bench"):
        tables += bench_tables(rows, confidence=level)
    if options.wants("pareto"):
        tables += pareto_tables(groups, confidence=level)
    if options.wants("checklist"):
        tables += [checklist(rows, groups)]
    return tables


def _chosen(rows: list[dict[str, Any]], runs: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows that ``runs`` name.

    Raises:
        UnknownRunError: One of them names none.
    """
    if not runs:
        return rows
    chosen: list[dict[str, Any]] = []
    for name in runs:
        path = Path(name)
        if not name.strip():
            raise UnknownRunError(name, "the run stores")
        exact = [r for r in rows if r["run_id"] == name or _same_folder(r, path)]
        found = exact or [r for r in rows if str(r["run_id"]).startswith(path.name or name)]
        if not found:
            known = sorted({str(row["run_id"]) for row in rows})
            raise UnknownRunError(name, "the run stores", known)
        ids = {row["run_id"] for row in found}
        chosen += found + [row for row in rows if row["parent_id"] in ids]
    return [row for row in rows if any(row is other for other in chosen)]


def _same_folder(row: Mapping[str, Any], path: Path) -> bool:
    return path.is_dir() and Path(str(row["folder"])).resolve() == path.resolve()


def _refuse_mixed(groups: Sequence[Comparable]) -> None:
    if len(groups) > 1:
        subjects = "; ".join(group.subject for group in groups)
        raise ReportRefusedError(
            f"--strict: the runs were made with {len(groups)} different settings.",
            f"They are: {subjects}.",
            "Select one of them: --where 'setting=…', or leave --strict away for a table each.",
        )
    for group in groups:
        if len(group.devices) > 1:
            raise ReportRefusedError(
                f"--strict: the runs were made on different devices: {', '.join(group.devices)}.",
                "Their costs cannot be compared.",
                "Select one: --where 'device_name ~ \"…\"', or leave --strict away.",
            )


def _nothing(
    roots: Sequence[Path], rows: Sequence[Mapping[str, Any]], options: ReportOptions
) -> DataError:
    where = ", ".join(str(root) for root in roots)
    if not rows:
        selection = f" that matches {options.where!r}" if options.where else ""
        return DataError(
            f"there is no run in {where}{selection}.",
            fix="Make one: nasbench run -e snas -s darts-cnn",
        )
    counts: dict[str, int] = {}
    for row in rows:
        counts[str(row["status"])] = counts.get(str(row["status"]), 0) + 1
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return DataError(
        f"no run in {where} can be shown: {told}.",
        "Tables are made of finished runs.",
        "See `nasbench ls runs`; truncated runs need --include-truncated.",
    )


def exclusion_json(exclusion: Exclusion) -> dict[str, str]:
    """Return an exclusion as plain containers."""
    return {"run_id": exclusion.run_id, "status": exclusion.status, "why": exclusion.why}


def _table_json(table: Table) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        cells = {}
        for column, value in zip(table.columns, row, strict=True):
            cells[column.key] = {"text": value.text, **value.numbers, "runs": list(value.runs)}
        rows.append(cells)
    return {
        "table": table.key,
        "name": table.name,
        "title": table.title,
        "subject": table.subject,
        "provisional": table.provisional,
        "columns": [
            {"key": c.key, "head": c.head, "group": c.group or None} for c in table.columns
        ],
        "rows": rows,
        "notes": list(table.notes),
    }


def main_tables(report: Report) -> list[Table]:
    """Return what a terminal shows when no table was asked for: Table 1 without companions."""
    found = [table for table in report.tables if table.name.startswith("table1-")]
    companions = ("table1-best-", "table1-differences-", "table1-child-matrix-")
    return [t for t in found if not t.name.startswith(companions)] or report.tables
