"""Show known accuracies (NAS-Bench-201, snas-unit): of an architecture or a run, the best."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.errors import ConfigError

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.truth.published import PublishedTable, Record


@click.command(name="truth")
@click.argument("names", nargs=-1, metavar="[ARCH|RUN]...")
@click.option(
    "--space",
    type=click.Choice(["nasbench201", "snas-unit"]),
    help="Whose architectures. [default: those of the runs named, else nasbench201]",
)
@click.option("--dataset", default="cifar10", show_default=True, metavar="NAME|all")
@click.option("--best", type=click.IntRange(min=1), metavar="N", help="Show the N best.")
@click.option(
    "--rank", "ranks", type=click.IntRange(1, 5**6), multiple=True, help="Show this place."
)
@click.option("--no-odd", is_flag=True, help="Leave out records of another network's size.")
@click.option("--errata", is_flag=True, help="Count the odd records, and what they shift.")
@click.option(
    "--nats",
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    help="Read the authors' NATS-Bench file (needs nats_bench); --dataset by its names.",
)
@click.option("--metric", default="test-accuracy", show_default=True, help="With --nats.")
@click.option("--epochs", type=click.Choice(["12", "200"]), default="200", help="With --nats.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(session: Session, /, names: tuple[str, ...], **options: Any) -> int:
    """Show published accuracies: no download, all 15,625 architectures, three data sets.

    ARCH is six digits (0 none, 1 skip, 2 conv 1x1, 3 conv 3x3, 4 average pooling, in the order of
    the architecture string), an architecture string, or a tuple "(4, 0, 3, 1, 4, 3)". RUN is a
    search on nasbench201.

    With --space snas-unit, or for a search on it: our own table of its 729 architectures on the
    digits. ARCH is then six digits (0 none, 1 skip, 2 conv 3x3).
    """
    unit = _unit_keys(session, names, options["space"])
    if unit is not None:
        from nasbench_snas.cli._unit_truth import show_unit

        show_unit(unit, options["best"] or 0, options["ranks"], as_json=options["as_json"])
        return 0
    from nasbench_snas.truth.published import DATASETS, check_dataset, published

    table = published()
    if options["errata"]:
        _errata(table, as_json=options["as_json"])
        return 0
    if not names and not options["best"] and not options["ranks"]:
        raise ConfigError(
            "which architecture?", fix="Examples: nasbench truth 333132 | --best 5 | --rank 100"
        )
    given = [_key(session, name) for name in names]
    if options["nats"]:
        _from_file(given, options)
        return 0
    chosen = options["dataset"]
    for dataset in DATASETS if chosen == "all" else (check_dataset(chosen),):
        keys, odd = list(given), not options["no_odd"]
        if options["best"] or options["ranks"]:
            ranked = table.ranked(dataset, odd=odd)
            keys += ranked[: options["best"] or 0]
            keys += [ranked[rank - 1] for rank in options["ranks"] if rank <= len(ranked)]
        _show((table.record(key, dataset, odd=odd) for key in keys), as_json=options["as_json"])
    return 0


def _unit_keys(session: Session, names: Iterable[str], space: str | None) -> list[str] | None:
    """Return the keys of ``names`` in snas-unit, or None if another space is meant."""
    from nasbench_snas.architecture.text import read_genotype
    from nasbench_snas.cli._unit_truth import is_unit, unit_key
    from nasbench_snas.runs.folder import find_run

    if space == "nasbench201" or (space is None and not names):
        return None
    keys: list[str] = []
    others: list[str] = []
    for name in names:
        if name.isdecimal():
            (keys if space else others).append(name)
            continue
        if name.startswith(("|", "(")):
            return None
        genotype = read_genotype(find_run(session.root, name).path / "genotype.json")
        if space is None and not is_unit(genotype):
            return None
        keys.append(unit_key(genotype))
    if others and keys:
        raise ConfigError(
            f"of which space is {others[0]}?", fix="Add --space snas-unit or --space nasbench201."
        )
    return None if others else keys


def _key(session: Session, name: str) -> str:
    """Return the key that ``name`` writes, or of the child of the run with this name."""
    from nasbench_snas.architecture.text import read_genotype
    from nasbench_snas.errors import GenotypeError
    from nasbench_snas.runs.folder import find_run
    from nasbench_snas.truth.keys import genotype_to_key, read_key

    try:
        return read_key(name)
    except GenotypeError:
        if name.startswith(("|", "(")) or name.isdecimal():
            raise
    return genotype_to_key(read_genotype(find_run(session.root, name).path / "genotype.json"))


def _from_file(keys: Iterable[str], options: dict[str, Any]) -> None:
    """Show what the authors' file says of architectures."""
    from dataclasses import asdict

    from nasbench_snas.truth.nats import TopologyBenchmark

    benchmark = TopologyBenchmark(options["nats"])
    dataset, metric, epochs = options["dataset"], options["metric"], int(options["epochs"])
    for key in keys:
        found = benchmark.measured(key, dataset, metric, epochs)
        if options["as_json"]:
            values = {"key": key, "dataset": dataset, "metric": metric, "epochs": epochs}
            click.echo(json.dumps({**values, **asdict(found)}))
            continue
        what = f"{dataset} {metric}, {epochs} epochs"
        click.echo(f"{key}  {what}: {found.mean:.4g} (n = {found.seeds})")


def _show(records: Iterable[Record], *, as_json: bool) -> None:
    for record in records:
        if as_json:
            click.echo(json.dumps(record.as_dict()))
            continue
        seeds = ", ".join(
            f"{value:.2f}{'*' if seed in record.odd_seeds else ''}"
            for seed, value in zip(record.seeds, record.accuracies, strict=True)
        )
        lines = [
            f"{record.key}  {record.string}",
            f"  {record.dataset} validation, {record.epochs} epochs: {record.accuracy:.3f} % "
            f"(n = {len(record.seeds)}: {seeds})",
            f"  rank {record.rank} · percentile {record.percentile:.2f} · regret "
            f"{record.regret:.3f} points",
            f"  {record.parameters:,} parameters · latency {record.latency_ms:.2f} ms · training "
            f"{record.train_seconds:.0f} s",
            f"  same function as {record.isomorphism_class} (with a learned shift: "
            f"{record.shifted_class})",
        ]
        if record.odd_seeds:
            without = record.accuracy_without_odd
            shown = "no other record" if without is None else f"without {without:.3f} %"
            lines.append(f"  * states the size of another network; {shown}")
        click.echo("\n".join(lines))


def _errata(table: PublishedTable, *, as_json: bool) -> None:
    from dataclasses import asdict

    from nasbench_snas.truth.errata import count, shifts

    counts, found = count(table), shifts(table)
    if as_json:
        click.echo(json.dumps({**asdict(counts), "shifts": [asdict(s) for s in found]}))
        return
    click.echo(
        f"{counts.odd} of {counts.records:,} records, of {counts.architectures} architectures, "
        f"state the parameters of another network."
    )
    for text, numbers in (("one too few", counts.missing), ("one too many", counts.extra)):
        shown = f"1x1 {numbers['2']}, 3x3 {numbers['3']}"
        click.echo(f"  {text}: {sum(numbers.values())} ({shown})")
    click.echo(f"  another difference: {counts.other}")
    click.echo("Validation accuracy of odd minus sound records of the same architecture, points:")
    for row in found:
        click.echo(
            f"  {row.dataset:<15} {row.stated:<8} n = {row.n:<4} {row.mean:+.3f} "
            f"[{row.low:+.3f}, {row.high:+.3f}]  p = {row.p:.2g}"
        )
