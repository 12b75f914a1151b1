"""Train every architecture of a small space into a table, or compare runs with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.errors import ConfigError, ExitCode
from nasbench_snas.settings.seed_list import parse_seeds

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.executors import Task


@click.command(name="tabulate")
@click.argument("runs", nargs=-1)
@click.option("-s", "--space", help="Space to tabulate.")
@click.option("-p", "--preset", default="smoke", show_default=True, help="Training settings.")
@click.option("--seeds", default="0", show_default=True, metavar="SPEC", help="Training seeds.")
@click.option("--sample", type=click.IntRange(min=1), help="Number of architectures; default: all.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE")
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Parts of the work, each a task of the executor.",
)
@click.option("--shard", type=int, help="Make this part only, here.")
@click.option("--executor", default="local", show_default=True, metavar="local|print|slurm|ray")
@click.option("--executor-config", type=click.Path(exists=True, path_type=Path), metavar="FILE")
@click.option("--jobs", type=int, default=0, help="Parts at the same time.")
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--together",
    type=click.IntRange(min=1),
    default=48,
    show_default=True,
    help="Architectures trained side by side where the space allows it; equal to rounding.",
)
@click.option(
    "--plateau",
    type=click.IntRange(min=2),
    metavar="N",
    help="Only train N random architectures, and show what the last fifth of the epochs gains.",
)
@click.option("--table", type=click.Path(exists=True, path_type=Path), help="Compare RUNS with it.")
@click.pass_obj
def command(session: Session, /, runs: tuple[str, ...], **options: Any) -> int:
    """Tabulate a space (continues where it was stopped), or compare RUNS with --table.

    Architectures that are the same function but for the names of their weights are trained once.
    The table is one file, ROOT/_tabular/NAME/table.csv. A comparison is written to tabular.json in
    the run's folder, and shown by `nasbench report`.
    """
    if runs:
        return _compare(session, runs, options["table"])
    if not options["space"]:
        raise ConfigError("which space?", fix="Example: nasbench tabulate --space snas-unit")
    return _tabulate(session, options)


def _tabulate(session: Session, options: dict[str, Any]) -> int:
    from nasbench_snas.executors import make_executor
    from nasbench_snas.executors.sweep import execute
    from nasbench_snas.search.plan import plan_run
    from nasbench_snas.settings.toml import read_toml
    from nasbench_snas.truth.own import TablePlan, enumerated, make_shard, merge, plateau

    registry = session.registry()
    planned = plan_run(
        registry,
        "random",
        options["space"],
        preset=options["preset"],
        assignments=options["assignments"],
    )
    seeds = tuple(parse_seeds(options["seeds"]))
    plan = TablePlan(planned.config, seeds, options["sample"], options["shards"])
    folder = plan.folder(session.root)
    if options["plateau"] is not None:
        gain, error, count = plateau(plan, registry, options["plateau"], options["together"])
        click.echo(
            f"{plan.config.search.epochs} epochs: the last fifth gains {gain:+.3f} points on the "
            f"held-out images (standard error {error:.3f}, n = {count} architectures, "
            f"{len(seeds)} seeds each)"
        )
        return 0
    if options["shard"] is not None:
        shard, device = options["shard"], options["device"]
        make_shard(plan, registry, folder, shard, device, options["together"])
        return 0
    _, choices, functions = enumerated(plan, registry)
    click.echo(
        f"{len(choices):,} architectures are {len(set(functions)):,} functions: one of each is "
        "trained",
        err=True,
    )
    chosen = options["executor_config"]
    executor = make_executor(
        options["executor"],
        jobs=options["jobs"],
        gpus_per_run=1,
        options=read_toml(chosen) if chosen else {},
    )
    report = execute(
        executor,
        _tasks(session, options, folder),
        progress=lambda outcome, state: click.echo(f"{state}: {outcome.task.name}", err=True),
    )
    if report.failed:
        for outcome in report.failed:
            click.echo(f"failed: {outcome.task.name}: {outcome.message}", err=True)
        return ExitCode.SOME_FAILED
    if options["executor"] != "print":
        click.echo(f"table -> {merge(plan, registry, folder)}")
    return 0


def _tasks(session: Session, options: dict[str, Any], folder: Path) -> list[Task]:
    """Return the shards as commands."""
    from nasbench_snas.executors import Task
    from nasbench_snas.truth.own import shard_lock

    words = ["-q", *(word for plugin in session.plugins for word in ("--plugin", plugin))]
    words += ["--root", str(session.root.resolve()), "tabulate"]
    for name in ("space", "preset", "seeds", "shards", "device", "sample", "together"):
        if options[name] is not None:
            words += [f"--{name}", str(options[name])]
    for assignment in options["assignments"]:
        words += ["--set", assignment]
    return [
        Task(
            f"shard {i}", shard_lock(folder, i, options["shards"]).path, (*words, "--shard", str(i))
        )
        for i in range(options["shards"])
    ]


def _compare(session: Session, runs: tuple[str, ...], table_file: Path | None) -> int:
    from nasbench_snas.runs.folder import find_run, write_json
    from nasbench_snas.search.load import load_search
    from nasbench_snas.truth.table import Table, compare

    if table_file is None:
        raise ConfigError("compare with which table?", fix="Add --table FILE.")
    table = Table.read(table_file)
    for name in runs:
        folder = find_run(session.root, name)
        values = compare(load_search(folder, session.registry()), table)
        write_json(folder.path / "tabular.json", {"table": str(table_file), **values})
        click.echo(f"{folder.run_id} {json.dumps(values)}")
    return 0
