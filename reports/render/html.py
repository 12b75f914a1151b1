"""The report as one HTML file: no other file, no network, every text escaped.

Sections: headline, tables, figures, gradient study, timing, failures and exclusions, methods,
reproduce, citations. The page forbids itself every request and every script but its own (content
security policy with the script's hash).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from nasbench_snas import __version__
from nasbench_snas.bibliography import bibliography, resolve_reference
from nasbench_snas.errors import NasbenchError
from nasbench_snas.registry import Registry

from ..figures.files import inline_svg
from ..figures.style import Drawing
from ..tables import rules
from ..tables.columns import blocks, chosen, labels
from ..tables.measure import mean_of, variant_value
from ..tables.model import Table, spans
from ..tables.selection import Comparable, Exclusion, Run

_COMPANIONS = ("table1-best-", "table1-differences-", "table1-child-matrix-")
_NARROW = ("4", "gap", "pareto", "constraints", "profile", "improvement", "cells")
_PAGE, _PADDING, _CHARACTER, _LABEL, _WORDS = 1186.0, 22.0, 7.2, 192.0, 24
"""Pixels: a table on a window of 1280, padding, a character, first column; characters of words."""
_BOLD = 1.13
"""How much wider a bold letter is."""
_SECTIONS = (
    ("tables", "Tables"),
    ("figures", "Figures"),
    ("gradients", "Gradient study"),
    ("timing", "Timing"),
    ("failures", "Failures"),
    ("methods", "Methods"),
    ("reproduce", "Reproduce"),
    ("citations", "Citations"),
)
_HEADLINES = 6
_PAPER = "xie2019snas"


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        rows: Rows of the result schema.
        groups: Comparable searches.
        tables: All tables.
        drawings: All figures, each with the content of its SVG file.
        exclusions: Runs left out or failed.
        command: The command that made the report.
    """

    rows: Sequence[Run]
    groups: Sequence[Comparable]
    tables: Sequence[Table]
    drawings: Sequence[tuple[Drawing, str]]
    exclusions: Sequence[Exclusion]
    command: str


def html(page: Page) -> str:
    """Return the page; equal input gives equal text."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(_asset("report.html.j2"))
    script = _asset("report.js")
    digest = hashlib.sha256(script.encode()).digest()
    other = [t for t in page.tables if t.key not in ("gradients", "timing")]
    shown = [_drawing(d, svg, i) for i, (d, svg) in enumerate(page.drawings)]
    return template.render(
        title=_title(page.groups),
        version=__version__,
        style=Markup(_asset("report.css")),  # our own file
        script=Markup(script),  # our own file
        script_hash=base64.b64encode(digest).decode(),
        provisional=_provisional(page),
        facts=_facts(page),
        headline=[_headline(group) for group in page.groups[:_HEADLINES]],
        sections=_SECTIONS,
        tables=[_table(t) for t in other],
        gradient_tables=[_table(t) for t in page.tables if t.key == "gradients"],
        timing_tables=[_table(t) for t in page.tables if t.key == "timing"],
        figures=[d for d in shown if d["kind"] != "6"],
        gradient_figures=[d for d in shown if d["kind"] == "6"],
        exclusions=page.exclusions,
        rules=rules.ALL,
        report_command=page.command,
        environments=_environments(page.rows),
        commands=_commands(page.rows),
        citations=_citations(page.rows),
    )


def _asset(name: str) -> str:
    return (files("nasbench_snas.reports") / "templates" / name).read_text(encoding="utf-8")


def _title(groups: Sequence[Comparable]) -> str:
    spaces = list(dict.fromkeys(group.space for group in groups))
    data = list(dict.fromkeys(group.dataset for group in groups))
    if not groups:
        return "Gradient estimators for architecture search"
    return f"Estimators on {', '.join(spaces)} with {', '.join(data)}"


def _provisional(page: Page) -> str:
    marked = [group for group in page.groups if group.provisional]
    if not marked:
        return ""
    presets = ", ".join(dict.fromkeys(group.preset for group in marked))
    kinds = f"preset {presets}" + (", truncated" if any(g.truncated for g in marked) else "")
    return f"Holds runs that are not comparable with the paper ({kinds}). They stand apart."


def _facts(page: Page) -> list[tuple[str, str]]:
    runs = [row for row in page.rows if row["status"] == "done"]
    shas = dict.fromkeys(_commit(row) for row in page.rows if row["git_sha"])
    seeds = [len(v.runs) for group in page.groups for v in group.variants if v.runs]
    spread = "" if not seeds else str(min(seeds))
    if seeds and max(seeds) > min(seeds):
        spread += f" to {max(seeds)}"
    failed = sum(1 for row in page.rows if row["status"] in ("failed", "diverged", "damaged"))
    facts = [
        ("Runs", str(len({row["run_id"] for row in runs}))),
        ("Failed", str(failed)),
        ("Estimators", str(len({row["estimator"] for row in runs if row["estimator"]}))),
        ("Seeds a row", spread),
        ("Presets", _list(row["preset"] for row in runs)),
        ("Devices", _list(row["device_name"] for row in runs)),
        ("Commits", ", ".join(shas) if len(shas) <= 2 else f"{len(shas)}, see Reproduce"),
        ("Constraints", _list(row["constraint"] for row in runs)),
    ]
    return [(name, value or "—") for name, value in facts]


def _list(values: Any) -> str:
    return ", ".join(sorted({str(value) for value in values if value}))


def _commit(row: Run) -> str:
    return str(row["git_sha"])[:8] + ("+dirty" if row["dirty"] else "")


def _headline(group: Comparable) -> dict[str, str]:
    """Return one sentence on a group: the gap of every estimator, the smallest first."""
    gaps = []
    for variant in group.variants:
        gap = mean_of(variant.by_seed("child_gap"))
        if gap is not None:
            parts = (variant_value(variant, f"{part}_valid_acc") for part in ("search", "child"))
            told = f"{gap:+z.{min(1, *(part.decimals for part in parts))}f}"
            lost = f", {len(variant.failed)} failed" if variant.failed else ""
            gaps.append((abs(gap), f"{variant.label} {told} (n = {len(variant.runs)}{lost})"))
    told = "; ".join(words for _, words in sorted(gaps))
    dagger = " †" if group.provisional else ""
    place = [group.space, group.dataset, f"preset {group.preset}"]
    place += [] if group.constraint == "none" else [f"constraint {group.constraint}"]
    words = f"{', '.join(place)}{dagger}: search accuracy minus child accuracy in points: {told}."
    return {"text": words, "title": ", ".join(str(run["run_id"]) for run in group.runs)}


def _table(table: Table) -> dict[str, Any]:
    shown = chosen(table, ("all",))
    parts = [shown]
    if not _fits(table, shown):
        first = labels(table)
        core = [i for i in shown if i in first or table.columns[i].core]
        rest = [i for i in shown if i in first or not table.columns[i].core]
        halves = (core, rest) if len(rest) > len(first) else (core,)
        parts = [b for half in halves for b in blocks(table, half, lambda p: _fits(table, p))]
    return {
        "name": table.name,
        "title": table.title,
        "subject": table.subject,
        "parts": [_part(table, part) for part in parts],
        "rows": table.rows,
        "notes": table.notes,
        "runs": table.runs,
        "companion": table.name.startswith(_COMPANIONS) or not table.runs,
    }


def _part(table: Table, shown: Sequence[int]) -> dict[str, Any]:
    columns = [table.columns[i] for i in shown]
    return {
        "columns": columns,
        "rows": [[(row[i], pieces(row[i].text)) for i in shown] for row in table.rows],
        "spans": spans(columns),
        "grouped": any(column.group for column in columns),
    }


def _fits(table: Table, part: Sequence[int]) -> bool:
    return sum(_pixels(table, i) for i in part) <= _PAGE


def _pixels(table: Table, index: int) -> float:
    """Return about how wide a column is: its longest piece, or its title in two or three lines."""
    column = table.columns[index]
    head = max(max(map(len, column.head.split()), default=1), len(column.head) / 3)
    values = [row[index] for row in table.rows]
    if column.numeric:
        pairs = [(value, piece) for value in values for piece in pieces(value.text)]
        body = max((len(p) * (_BOLD if v.bold else 1) for v, p in pairs), default=1)
    else:
        body = min(max((len(value.text) for value in values), default=1), _WORDS)
    return max(_PADDING + _CHARACTER * max(head + 2, body), 0 if index else _LABEL)


def pieces(text: str) -> list[str]:
    """Return the parts of a cell between which a line may end: never within brackets."""
    return re.split(r"(?<=[,;]) (?![^\[]*\])", text)


def _drawing(drawing: Drawing, svg: str, number: int) -> dict[str, Any]:
    return {
        "name": drawing.name,
        "kind": drawing.kind,
        "title": drawing.title,
        "caption": drawing.caption,
        "runs": drawing.runs,
        "provisional": drawing.provisional,
        "adaptive": drawing.adaptive,
        "half": drawing.kind in _NARROW,
        "svg": Markup(inline_svg(svg, number)),  # matplotlib escapes its texts
    }


def _environments(rows: Sequence[Run]) -> list[tuple[str, ...]]:
    names = ("suite_version", "git_sha", "torch", "cuda", "device_name", "precision", "host_id")
    counts: Counter[tuple[str, ...]] = Counter()
    for run in {str(row["run_id"]): row for row in rows}.values():
        key = [_commit(run) if n == "git_sha" and run[n] else str(run[n] or "—") for n in names]
        counts[tuple(key)] += 1
    return [(*key, str(count)) for key, count in sorted(counts.items())]


def _commands(rows: Sequence[Run]) -> list[tuple[str, ...]]:
    runs = {str(row["run_id"]): row for row in rows}
    names = ("config_hash", "setting", "command")
    return [(run_id, *(str(run[n] or "—") for n in names)) for run_id, run in sorted(runs.items())]


def _citations(rows: Sequence[Run]) -> str:
    """Return BibTeX of the suite's paper and of every estimator and space used."""
    known, registry = bibliography(), Registry()
    entries = {e.name: e for e in (*registry.spaces(), *registry.estimators())}
    used = sorted({str(row[n]) for row in rows for n in ("estimator", "space") if row[n]})
    found = {_PAPER: known[_PAPER]} if _PAPER in known else {}
    for name in used:
        reference = str(entries[name].attributes.get("reference", "")) if name in entries else ""
        try:
            found |= resolve_reference(name, reference, known)
        except NasbenchError:
            continue  # a plug-in without a reference has nothing to cite
    return "\n\n".join(found.values())
