"""Show one run: status, settings, metrics, cell, and how to reproduce it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


@click.command(name="show")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="The result and the status as JSON.")
@click.pass_obj
def command(session: Session, run: str, as_json: bool) -> None:
    """Show RUN (a search or a retraining): a folder, its name, or an unambiguous beginning."""
    from nasbench_snas.runs.folder import find_any_run
    from nasbench_snas.runs.index import index_row

    folder = find_any_run(session.root, run)
    status, result = index_row(folder), folder.result()
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
    from nasbench_snas.cli._run_display import rule_in_words

    click.echo(
        f"search {result['search_valid_acc']:.2f} % ({result['search_view']})   "
        f"child {result['child_valid_acc']:.2f} % ({rule_in_words(result)})   "
        f"gap {result['child_gap']:+.2f}"
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


def _reproduce(folder: Any) -> None:
    from nasbench_snas.runs.folder import read_json

    starts = read_json(folder.path / "env.json") if (folder.path / "env.json").exists() else []
    if starts:
        last = starts[-1]
        git = (last["git"]["sha"] or "no checkout")[:12]
        dirty = "+dirty" if last["git"].get("dirty") else ""
        versions = "  ".join(f"{k} {v}" for k, v in last["versions"].items())
        click.echo(f"\ngit {git}{dirty}   {versions}")
        click.echo("command: " + " ".join(last["command"]))
    click.echo(f"settings: {folder.config_file}")
