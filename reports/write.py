"""Writes a report: tables, figures, the HTML page, the data, and a manifest of all of them."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from nasbench_snas import __version__
from nasbench_snas.errors import DataError
from nasbench_snas.runs.folder import write_atomic, write_json
from nasbench_snas.runs.results import export_results
from nasbench_snas.runs.temporaries import remove_dead

from .build import Report, ReportOptions, exclusion_json
from .render.latex import document, latex
from .render.text import csv_text, markdown
from .tables.model import Table

_DEFAULT = ReportOptions()


def report_folder(root: Path) -> Path:
    """Return ``root/_reports/<UTC>``, a folder that is not there yet."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = root / "_reports" / stamp
    for number in range(1, 1000):
        if not folder.exists():
            return folder
        folder = root / "_reports" / f"{stamp}-{number}"
    raise DataError(f"cannot find a free name beside {folder}.")


def point_latest(folder: Path) -> Path | None:
    """Make ``latest`` beside a report's folder a link to it, and return the link.

    Returns:
        None where the file system has no links, or a file or folder of that name is no link.
    """
    latest = folder.parent / "latest"
    if latest.exists() and not latest.is_symlink():
        return None
    new = folder.parent / f".latest-{os.getpid()}"
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(folder.name, target_is_directory=True)
        new.replace(latest)
    except OSError:
        new.unlink(missing_ok=True)
        return None
    return latest


def write_report(report: Report, out: Path) -> list[Path]:
    """Write the files of a report and its manifest; return their paths.

    Equal runs and options give equal bytes.

    Args:
        report: The report.
        out: Its folder; files there are overwritten, others left alone.
    """
    formats = report.options.formats
    for place in (out, out / "tables", out / "figures"):
        remove_dead(place, locked=False)  # of a report that was killed
    files: dict[Path, str] = {}
    tex = partial(latex, columns=report.options.columns)
    for table in report.tables:
        base = out / "tables" / table.name
        for suffix, render in (("md", _markdown), ("csv", csv_text), ("tex", tex)):
            if suffix in formats:
                files[base.with_name(f"{base.name}.{suffix}")] = render(table)
    if "tex" in formats and report.tables:
        files[out / "tables.tex"] = document(report.tables, report.options.columns)
    written: list[Path] = []
    if {"html", "tex", "md"} & set(formats):
        written, page = _draw(report, out)
        files |= page
    for path, content in files.items():
        write_atomic(path, content)
    written += files
    for suffix in ("csv", "parquet"):
        if suffix in formats:
            written.append(out / f"results.{suffix}")
            export_results(report.rows, written[-1])
    if written:
        written.append(_manifest(report, out, written))
    return written


def _markdown(table: Table) -> str:
    return markdown([table])


def _draw(report: Report, out: Path) -> tuple[list[Path], dict[Path, str]]:
    """Write the figures; return their files, and the HTML page if it is asked for."""
    from .figures.files import drawings, write_drawing

    made = drawings(report.groups, report.rows, report.options.figures)
    pdf = "tex" in report.options.formats
    files = [write_drawing(drawing, out / "figures", pdf=pdf) for drawing in made]
    page = {}
    if "html" in report.options.formats:
        from .render.html import Page, html

        svgs = [paths[0].read_text(encoding="utf-8") for paths in files]
        content = Page(
            report.rows,
            report.groups,
            report.tables,
            list(zip(made, svgs, strict=True)),
            report.exclusions,
            report_command(report),
        )
        page = {out / "report.html": html(content)}
    return [path for paths in files for path in paths], page


def report_command(report: Report) -> str:
    """Return the command that makes this report."""
    options = report.options
    words = ["nasbench", "--root", str(report.roots[0]), "report", *report.runs]
    words[4:4] = [str(root) for root in report.roots[1:]]
    lists = (
        ("table", options.tables, _DEFAULT.tables),
        ("figure", options.figures, _DEFAULT.figures),
        ("format", options.formats, ()),
        ("columns", options.columns, _DEFAULT.columns),
    )
    for name, given, default in lists:
        words += [f"--{name}", ",".join(given)] if given != default else []
    if options.where:
        words += ["--where", options.where]
    if options.confidence != _DEFAULT.confidence:
        words += ["--ci", f"{options.confidence:g}"]
    if options.min_seeds != _DEFAULT.min_seeds:
        words += ["--min-seeds", str(options.min_seeds)]
    words += ["--include-truncated"] if options.include_truncated else []
    words += ["--strict"] if options.strict else []
    words += [] if options.published else ["--no-published"]
    return shlex.join(words)


def _manifest(report: Report, out: Path, written: Sequence[Path]) -> Path:
    """Write which runs are in the report and a hash of every file."""
    hashes = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(written)
    }
    content = {
        "suite_version": __version__,
        "command": report_command(report),
        "options": asdict(report.options),
        "runs": sorted({str(row["run_id"]) for row in report.rows}),
        "tables": {table.name: list(table.runs) for table in report.tables},
        "exclusions": [exclusion_json(e) for e in report.exclusions],
        "files_sha256": hashes,
    }
    write_json(out / "manifest.json", content)
    return out / "manifest.json"
