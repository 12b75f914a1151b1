"""Make tables and figures from finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


def _parts(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Return the parts of ``a,b,c``; nothing at all is refused."""
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if not parts and value != parameter.get_default(context):
        raise click.BadParameter(
            f"{value!r} names nothing. Leave the option out for its default.", context, parameter
        )
    return parts


_EXAMPLES = """\b
Examples:
  nasbench report
  nasbench report --table 1 --format tex,html
  nasbench --root runs report other-runs --format csv"""


@click.command(name="report", epilog=_EXAMPLES)
@click.argument("runs", nargs=-1)
@click.option(
    "--table",
    "tables",
    default="",
    callback=_parts,
    metavar="LIST",
    help="1, 2, 3, estimators, gradients, constraints, timing, tabular, truth, ablation, "
    "darts-bench, pareto, checklist or all (but the checklist), separated by commas. "
    "[default: all in files, Table 1 on the terminal]",
)
@click.option(
    "--figure",
    "figures",
    default="all",
    callback=_parts,
    metavar="LIST",
    help="Figures in files: names as in `figures/`, all or none.",
    show_default=True,
)
@click.option(
    "--format",
    "formats",
    default="terminal,md,csv,html",
    callback=_parts,
    metavar="LIST",
    help="terminal, md, csv, tex (figures as PDF, too), html, parquet.",
    show_default=True,
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the files. [default: ROOT/_reports/<UTC>]",
)
@click.option("--where", default="", help="Selection, such as 'space=darts-cnn and preset=paper'.")
@click.option("--ci", default=0.95, show_default=True, help="Nominal coverage of intervals.")
@click.option(
    "--min-seeds", default=1, show_default=True, help="Leave out rows with fewer finished seeds."
)
@click.option("--include-truncated", is_flag=True, help="Show runs that were stopped early.")
@click.option(
    "--checklist",
    is_flag=True,
    help="Only which of Lindauer and Hutter's rules the runs meet; short for --table checklist.",
)
@click.option("--strict", is_flag=True, help="Exit 5 if settings or devices are mixed.")
@click.option(
    "--published/--no-published", default=True, help="Published numbers beside the measured ones."
)
@click.option(
    "--columns",
    default="compact",
    callback=_parts,
    metavar="LIST",
    help="Of tables on the terminal and in LaTeX: compact, all, or names of columns.",
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Tables and runs as JSON; no files.")
@click.pass_obj
def command(session: Session, /, runs: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Report on RUNS: run ids, beginnings of them, run folders, stores or packs (default: all).

    Further stores, such as copies from other machines, are merged with --root's.
    """
    from nasbench_snas.reports.build import (
        ReportOptions,
        build_report,
        main_tables,
    )

    if given["checklist"]:
        given["tables"] = ("checklist",)
    only_terminal = set(given["formats"]) <= {"terminal"} and not as_json
    options = ReportOptions(
        tables=given["tables"] or (("1", "gradients") if only_terminal else ("all",)),
        figures=given["figures"],
        formats=given["formats"],
        where=given["where"],
        confidence=given["ci"],
        min_seeds=given["min_seeds"],
        include_truncated=given["include_truncated"],
        strict=given["strict"],
        published=given["published"],
        columns=given["columns"],
    )
    roots, names = _stores(session.source, runs)
    report = build_report(roots, options, names)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
        return
    if "terminal" in options.formats:
        from nasbench_snas.reports.render.terminal import show

        shown = report.tables if given["tables"] else main_tables(report)
        verbose = session.verbose > 0
        show(session.console(), shown, columns=options.columns, verbose=verbose)
        for line in _left_out(report):
            click.echo(line)
        if not verbose:
            click.echo("how these numbers are made: nasbench -v report")
    if set(options.formats) - {"terminal"}:
        from nasbench_snas.reports.write import point_latest, report_folder, write_report
        from nasbench_snas.runs.pack import store_of

        out = given["out"] or report_folder(store_of(roots[0]))
        files = write_report(report, out)
        latest = None if given["out"] else point_latest(out)
        page = out / "report.html"
        words = f"{len(files)} files in {out}"
        click.echo(words + (f"; open {(latest or out) / page.name}" if page in files else ""))


def _stores(root: Path, runs: tuple[str, ...]) -> tuple[list[Path], tuple[str, ...]]:
    """Return the run stores and packs, as they were named, and the names of runs."""
    from nasbench_snas.runs.folder import is_file
    from nasbench_snas.runs.pack import is_pack

    given = [Path(name) for name in runs if name.strip()]
    stores = [p for p in given if p.is_dir() and not (p / "config.toml").exists()]
    stores += [path for path in given if is_pack(path) and is_file(path)]
    names = tuple(name for name in runs if not name.strip() or Path(name) not in stores)
    folders = [p.resolve().parent for p in given if p.is_dir() and p not in stores]
    if root.exists() or not (stores or folders):
        stores = [root, *stores]
    known = {store.resolve() for store in stores}
    return stores + [f for f in dict.fromkeys(folders) if f not in known], names


def _left_out(report: Any) -> list[str]:
    counts: dict[str, int] = {}
    for exclusion in report.exclusions:
        counts[exclusion.why] = counts.get(exclusion.why, 0) + 1
    lines = [f"{count} run(s): {why}" for why, count in sorted(counts.items())]
    return lines[:8] + ([f"… and {len(lines) - 8} other reasons"] if len(lines) > 8 else [])
