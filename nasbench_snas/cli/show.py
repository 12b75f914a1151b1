"""Show one run: status, settings, metrics, cell, and how to reproduce it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.runs.folder import RunFolder


@click.command(name="show")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="The result and the status as JSON.")
@click.pass_obj
def command(session: Session, run: str, as_json: bool) -> None:
    """Show RUN (a search or a retraining): a folder, its name, or an unambiguous beginning."""
    from nasbench_snas.reports.tables.damage import with_damage
    from nasbench_snas.runs.folder import locate_any_run
    from nasbench_snas.runs.index import index_row
    from nasbench_snas.runs.rows import RowLoader

    folder = locate_any_run(session.root, run)
    status = index_row(folder)
    result = None if status["status"] == "damaged" else folder.result()
    if result is not None:
        kind = "search" if status["stage"] == "search" else "retrain"
        (row,) = with_damage(RowLoader().rows(kind, folder))
        if row["status"] == "damaged":
            status |= {"status": "damaged", "note": row["reason"]}
            result = None
    if as_json:
        click.echo(json.dumps({"status": status, "result": result}, indent=1))
        return
    click.echo(f"{folder.run_id}   {status['status']}   {status['reason']}".rstrip())
    if status["note"]:
        click.echo(f"  {status['note']}")
    if result and result["stage"] == "search":
        _result(result)
    elif result:
        from nasbench_snas.cli._retrain_display import show_retraining

        show_retraining(session, folder, result)
    _reproduce(folder)


def _result(result: dict[str, Any]) -> None:
    from nasbench_snas.runs.schema import rule_in_words

    click.echo(
        f"search {result['search_valid_acc']:.2f} % ({result['search_view']})   "
        f"child {result['child_valid_acc']:.2f} % ({rule_in_words(result)})   "
        f"gap {result['child_gap']:+z.2f}"
    )
    click.echo(f"{result['protocol_note']}")
    click.echo(f"images: {result.get('images', 'images not recorded')}")
    click.echo("\nview      statistics     accuracy    std  samples")
    for cell in result["child_matrix"]:
        click.echo(
            f"{cell['view']:<9} {cell['statistics']:<13} {cell['accuracy']:9.2f} "
            f"{cell['std']:6.2f} {cell['samples']:8d}"
        )
    click.echo(
        f"\nparams {result['params'] / 1e6:.4f} M   madds {result['macs'] / 1e6:.2f} M   "
        f"edges {result['n_edges_kept']}/{result['n_edges']}   "
        f"wall {result['wall_s']:.1f} s on {result['device_name']}"
    )
    for name, cell in result["genotype"]["cells"].items():
        edges = "  ".join(f"{i}->{j} {operation}" for operation, i, j in cell["edges"])
        click.echo(f"{name}: {edges or '(no edges)'}   concat {cell['concat']}")


def _reproduce(folder: RunFolder) -> None:
    from nasbench_snas.errors import CheckpointError
    from nasbench_snas.registry import BUILT_IN
    from nasbench_snas.runs.plugins import recorded_plugins

    try:
        starts = folder.starts()
        last = starts[-1] if starts else {}
        git = str(last["git"]["sha"] or "no checkout")[:12] if last else ""
        dirty = "+dirty" if last and last["git"].get("dirty") else ""
        versions = "  ".join(f"{k} {v}" for k, v in last["versions"].items()) if last else ""
        words = " ".join(last["command"]) if last else ""
    except (CheckpointError, LookupError, TypeError, AttributeError) as error:
        click.echo(f"\nenv.json is damaged, so how to reproduce it is not known: {error}")
    else:
        if last:
            click.echo(f"\ngit {git}{dirty}   {versions}")
            for used in recorded_plugins(folder):
                if used.get("origin", BUILT_IN) != BUILT_IN:
                    shown = f"{used['kind']} {used['name']}, version {used.get('version')}"
                    click.echo(f"plug-in: {shown}, digest {used.get('digest')}, {used['origin']}")
            click.echo(f"command: {words}")
    click.echo(f"settings: {folder.config_file}")
