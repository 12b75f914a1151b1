"""Parameters, multiply-adds and memory access of genotypes, runs and spaces."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.cli import _options
from nasbench_snas.cli._latency import measure, options, refuse_without_timing

if TYPE_CHECKING:
    from nasbench_snas.architecture.space import Space
    from nasbench_snas.cost.listing import Report
    from nasbench_snas.supernet.child.plan import ChildSettings

_DATASETS = {"cifar10": (3, 10, 32), "cifar100": (3, 100, 32), "digits": (1, 10, 8)}
_DATASETS |= {"imagenet": (3, 1000, 224)}


@click.command("cost")
@click.argument("targets", nargs=-1, metavar="[TARGET]…")
@click.option("--channels", type=click.IntRange(1), help="Channels of the first cell.")
@click.option("--layers", type=click.IntRange(1), help="Cells of the network.")
@click.option(
    "--dataset",
    type=click.Choice(sorted(_DATASETS)),
    help="Images and classes; imagenet builds Table 3's network.",
)
@click.option("--pool-norm", is_flag=True, help="Batch norm behind pooling (released SNAS code).")
@click.option("--auxiliary", is_flag=True, help="Count the auxiliary head of training, too.")
@click.option("--tables", is_flag=True, help="Every row of the published Tables 2 and 3.")
@click.option("--detail", is_flag=True, help="Cost per cell type and operation.")
@click.option(
    "--convention",
    default="sound",
    show_default=True,
    metavar="NAME",
    help="How operations are counted: sound, released or paper for spaces; the name of a public "
    "counter (thop, fvcore, ptflops, torchinfo, nats …, or all) for genotypes.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["terminal", "md"]),
    default="terminal",
    show_default=True,
    help="A table for the terminal, or in Markdown.",
)
@options
@_options.as_json
@click.pass_obj
def command(
    session: Any,
    /,
    targets: tuple[str, ...],
    channels: int | None,
    layers: int | None,
    dataset: str | None,
    pool_norm: bool,
    auxiliary: bool,
    tables: bool,
    detail: bool,
    convention: str,
    style: str,
    as_json: bool,
    **timing: Any,
) -> None:
    """Count parameters, multiply-adds and memory access, beside the published figure.

    A TARGET is a genotype (a name of the zoo, FILE, FILE:NAME, - for standard input, or the text),
    `zoo` for all of them, a run (a folder, or its name in --root), or a search space. Without size
    options a genotype is built as the published tables build it, or in the space that its file
    says; other genotypes as in Table 2 (36 channels, 20 cells). Parameters exclude
    the auxiliary head unless --auxiliary; multiply-adds are those of convolutions and linear
    layers, counted once.

    With --measure-latency the operations of one space are timed on this device, at the size that a
    search with the same --preset and --set has; --out writes a table that the criterion `table`
    reads.
    """
    if timing["measure_latency"]:
        if len(targets) != 1 or channels or layers or dataset:
            raise click.UsageError(
                "--measure-latency takes one space, and its size from --preset and --set."
            )
        measure(session, targets[0], style=style, as_json=as_json, show=_table, **timing)
        return
    refuse_without_timing()
    if not targets and not tables:
        raise click.UsageError("give a TARGET, or --tables.")
    counters = _counters(convention)
    if auxiliary and counters:
        raise click.UsageError("public counters count networks without an auxiliary head.")
    settings = _settings(channels, layers, dataset, pool_norm, auxiliary)
    reports: list[Report] = []
    spaces: list[tuple[str, Space]] = []
    if tables:
        from nasbench_snas.cost.listing import table_reports

        reports += table_reports()
    for target in targets:
        found = _resolve(session, target, settings)
        if isinstance(found, list):
            reports += found
        else:
            spaces.append((target, _sized(session, found, dataset, channels, layers)))
    if counters and spaces:
        raise _no_counter_of_spaces(convention)
    if as_json:
        click.echo(json.dumps(_plain(reports, spaces, convention, counters), indent=1))
        return
    if counters:
        _print_counters(session, reports, counters, style)
        return
    _print_reports(session, reports, style, detail or (len(reports) == 1 and not tables))
    for name, space in spaces:
        _print_space(session, name, space, convention, style)


def _counters(convention: str) -> tuple[str, ...]:
    """Return the public counters that ``convention`` names; none for a convention of spaces."""
    from nasbench_snas.cost.conventions import COUNTERS
    from nasbench_snas.cost.table import CONVENTIONS
    from nasbench_snas.errors import ConfigError, suggest

    if convention in CONVENTIONS:
        return ()
    if convention == "all":
        return tuple(COUNTERS)
    if convention not in COUNTERS:
        known = (*CONVENTIONS, *COUNTERS, "all")
        raise ConfigError(f"unknown cost convention {convention!r}.", suggest(convention, known))
    return (convention,)


def _no_counter_of_spaces(convention: str) -> Exception:
    from nasbench_snas.errors import ConfigError

    return ConfigError(
        f"the counter {convention!r} counts networks, not the edges of a search space.",
        "For a space: sound, released or paper.",
        "Give a genotype or a run instead, or leave --convention out.",
    )


def _settings(
    channels: int | None,
    layers: int | None,
    dataset: str | None,
    pool_norm: bool,
    auxiliary: bool,
) -> ChildSettings | None:
    from nasbench_snas.supernet.child.plan import ChildSettings

    if channels is None and layers is None and dataset is None and not (pool_norm or auxiliary):
        return None
    values: dict[str, Any] = {"pool_norm": pool_norm, "auxiliary": auxiliary}
    if dataset == "imagenet":
        values |= {"recipe": "imagenet", "channels": 48, "layers": 14}
    if dataset is not None:
        values |= zip(("in_channels", "num_classes", "resolution"), _DATASETS[dataset], strict=True)
    values |= {} if channels is None else {"channels": channels}
    values |= {} if layers is None else {"layers": layers}
    return ChildSettings(**values)


def _resolve(session: Any, target: str, settings: ChildSettings | None) -> list[Report] | str:
    """Return the reports of a genotype or run, or the name of a space.

    A run's child is counted at its own size, and as a published network if it has such cells.
    """
    from nasbench_snas.architecture.zoo import zoo, zoo_key, zoo_names
    from nasbench_snas.cost.listing import genotype_reports, plan_report
    from nasbench_snas.errors import GenotypeError, suggest
    from nasbench_snas.evaluate.genotypes import find_genotype
    from nasbench_snas.supernet.child.plan import plan_in_space

    if zoo_key(target) == "zoo":
        return [r for name in zoo_names() for r in genotype_reports(zoo(name), name, settings)]
    found = find_genotype(target, session.root)
    if found is None:
        names = [entry.name for entry in session.registry().spaces()]
        if target in names:
            return target
        raise GenotypeError(
            f"{target!r} is neither a genotype, a file, a run nor a space.",
            suggest(target, [*zoo_names(), *names]),
        )
    genotype = found.genotype
    _options.say_notes(genotype)
    genotype.warn_disconnected()
    name = target if found.folder is not None else genotype.name or "(text)"
    reports = []
    space = found.space(session.registry()) if settings is None else None
    if space is not None:
        reports.append(plan_report(plan_in_space(genotype, space), name, f"in {space.name}"))
    if space is None or {"normal", "reduce"} <= set(genotype.cells):
        reports += genotype_reports(genotype, name, settings)
    return reports


def _sized(
    session: Any, name: str, dataset: str | None, channels: int | None, layers: int | None
) -> Space:
    """Return the space ``name`` at the wanted size, as far as it has such settings."""
    import dataclasses

    from nasbench_snas.errors import ConfigError

    cls = session.registry().space(name)
    known = {field.name for field in dataclasses.fields(cls)}
    values = {}
    for option, field, value in (("channels", "channels", channels), ("layers", "cells", layers)):
        if value is not None and field not in known:
            raise ConfigError(
                f"space {name!r} has no setting {field!r}, so --{option} does not apply.",
                f"Its settings: {', '.join(sorted(known))}",
            )
        if value is not None:
            values[field] = value
    space: Space = cls(**values).build(*_DATASETS[dataset or "cifar10"])
    return space


def _plain(
    reports: list[Report],
    spaces: list[tuple[str, Space]],
    convention: str,
    counters: tuple[str, ...],
) -> dict[str, Any]:
    from nasbench_snas.cost.listing import space_lines, space_summary

    kind: Any = convention
    found = [
        {
            "target": name,
            "summary": space_summary(space, kind),
            "lines": space_lines(space, kind),
        }
        for name, space in spaces
    ]
    genotypes = [
        report.as_dict() | {"counters": {name: report.counted(name) for name in counters}}
        for report in reports
    ]
    return {"genotypes": genotypes, "spaces": found}


def _print_counters(
    session: Any, reports: list[Report], counters: tuple[str, ...], style: str
) -> None:
    """Print what each counter says of each network, and what its rule is."""
    from nasbench_snas.cost.conventions import counter

    titles = ["target", "network", "counter", "figure", "unit", "more than multiply-adds by"]
    rows = []
    for report in reports:
        for name in counters:
            figure = report.counted(name)
            if figure is not None and report.macs is not None:
                base = report.macs * counter(name).weights["convolution"]
                network = report.network.removeprefix(f"{report.target} ") or "-"
                more = f"{figure - base:,}"
                rows.append(
                    [_short(report.target), network, name, f"{figure:,}", counter(name).unit, more]
                )
    _table(session, "Figures of public counters, for one image", titles, rows, style)
    for name in counters:
        click.echo(f"{name}: {counter(name).remark} ({counter(name).package}).")


def _print_reports(session: Any, reports: list[Report], style: str, detail: bool) -> None:
    if not reports:
        return
    titles = ["target", "network", "params M", "published", "diff", "status", "madds M"]
    titles += ["madds publ.", "madds diff", "note"]
    rows = []
    for report in reports:
        data = report.as_dict()
        rows.append(
            [
                _short(report.target),
                report.network.removeprefix(f"{report.target} ") or "-",
                _million(report.parameters, 6),
                _million(report.published_parameters, 1),
                _difference(data["parameters_difference"], report.published_parameters),
                report.status if report.status != "unpublished" else "-",
                _million(report.macs, 1),
                _million(report.published_macs, 0),
                _difference(data["macs_difference"], report.published_macs),
                report.note,
            ]
        )
    _table(session, "Cost of derived networks", titles, rows, style)
    if detail:
        for report in reports:
            _print_lines(session, report, style)


def _print_lines(session: Any, report: Report, style: str) -> None:
    if not report.lines:
        return
    titles = ["part", "operation", "count", "params", "madds", "pooling ops", "access"]
    rows = [
        [line.kind, line.what, *(f"{v:,}" for v in (line.count, line.parameters, line.macs))]
        + [f"{line.pooling:,}", f"{line.access:,}"]
        for line in report.lines
    ]
    _table(session, f"{report.target}: {report.network}", titles, rows, style)
    if report.outside_parameters is not None and report.outside_macs is not None:
        click.echo(
            f"outside the search (stem, preprocessing, head): {report.outside_parameters:,} "
            f"parameters, {report.outside_macs:,} multiply-adds"
        )


def _print_space(session: Any, name: str, space: Space, convention: str, style: str) -> None:
    from nasbench_snas.cost.listing import space_lines, space_summary

    kind: Any = convention
    titles = ["part", "operation", "params", "flops", "access"]
    rows = [
        [line["kind"], line["what"], *(f"{line[c]:,}" for c in ("parameters", "flops", "access"))]
        for line in space_lines(space, kind)
    ]
    title = f"{name}: cost of an operation on all edges of a cell type ({convention})"
    _table(session, title, titles, rows, style)
    rows = [
        [label, *(f"{v:,}" for v in values.values())]
        for label, values in space_summary(space, kind).items()
    ]
    _table(session, f"{name}: whole network", ["choice", *titles[2:]], rows, style)


def _table(session: Any, title: str, titles: list[str], rows: list[list[str]], style: str) -> None:
    keep = [i for i in range(len(titles)) if any(row[i] not in ("", "-") for row in rows)]
    titles, rows = [titles[i] for i in keep], [[row[i] for i in keep] for row in rows]
    if style == "md":
        click.echo(f"{title}\n")
        click.echo("| " + " | ".join(titles) + " |")
        click.echo("|" + "---|" * len(titles))
        for row in rows:
            click.echo("| " + " | ".join(row) + " |")
        click.echo("")
        return
    from nasbench_snas.reports.render.terminal import show
    from nasbench_snas.reports.tables.model import Column, Table, Value

    notes: list[str] = []
    if titles[-1] == "note":
        notes = list(dict.fromkeys(row[-1] for row in rows if row[-1]))
        marks = {note: f"[{number}]" for number, note in enumerate(notes, 1)}
        rows = [[*row[:-1], marks.get(row[-1], "")] for row in rows]
    columns = tuple(
        Column(f"{name} {i}", name, numeric=i > 0 and all(_is_number(row[i]) for row in rows))
        for i, name in enumerate(titles)
    )
    body = tuple(tuple(Value(cell) for cell in row) for row in rows)
    told = tuple(f"[{number}] {note}" for number, note in enumerate(notes, 1))
    legend = "; ".join(dict.fromkeys(_MEANING[name] for name in titles if name in _MEANING))
    notes = [*([legend] if legend else []), *told]
    show(session.console(), [Table("cost", title, columns, body, tuple(notes))])


_MEANING = {
    "madds M": "madds: multiply-adds of convolutions and linear layers, in millions",
    "madds": "madds: multiply-adds of convolutions and linear layers",
    "access": "access: values read and written",
    "diff": "diff: ours minus published",
}
"""What titles stand for, in one line under a table."""


def _short(target: str) -> str:
    """Return a published row's name without its citation."""
    return re.sub(r"\s*\([^()]* et al\.[^()]*\)", "", target)


def _is_number(text: str) -> bool:
    return text in ("", "-") or text.lstrip("+-")[:1].isdigit()


def _million(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value / 1e6:.{digits}f}"


def _difference(value: float | None, published: float | None) -> str:
    if value is None or not published:
        return "-"
    return f"{100 * value / published:+.1f} %"
