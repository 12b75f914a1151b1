"""Show resolved settings, their schema, or how two runs differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasbench_snas.cli import _options

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


@click.group(name="config")
def command() -> None:
    """Look at settings."""


@command.command()
@click.option("-e", "--estimator", default="snas", show_default=True)
@click.option("-s", "--space", default="darts-cnn", show_default=True)
@click.option("-p", "--preset", default="smoke", show_default=True)
@click.option("--constraint", default="none", show_default=True)
@_options.settings_file
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE")
@click.pass_obj
def show(
    session: Session,
    estimator: str,
    space: str,
    preset: str,
    constraint: str,
    file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Print all settings of a run as TOML, with the source of each value."""
    from nasbench_snas.search.plan import plan_run
    from nasbench_snas.settings.toml import to_toml

    plan = plan_run(
        session.registry(),
        estimator,
        space,
        preset=preset,
        constraint=constraint,
        file=file,
        assignments=assignments,
    )
    click.echo(f"# {plan.run_id}\n" + to_toml(plan.config, plan.sources), nl=False)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="The JSON schema.")
def schema(as_json: bool) -> None:
    """Describe every setting."""
    from nasbench_snas.settings.layers import flatten_fields
    from nasbench_snas.settings.run import RunConfig

    if as_json:
        click.echo(json.dumps(RunConfig.model_json_schema(), indent=1))
        return
    for key, description in flatten_fields(RunConfig).items():
        click.echo(f"{key:<32} {description}")


@command.command()
@click.argument("first")
@click.argument("second")
@click.pass_obj
def diff(session: Session, first: str, second: str) -> None:
    """Print the settings in which two runs (or TOML files) differ."""
    from nasbench_snas.runs.folder import find_run
    from nasbench_snas.settings.layers import flatten
    from nasbench_snas.settings.toml import read_toml

    def values(name: str) -> dict[str, object]:
        is_file = name.endswith(".toml") and Path(name).is_file()
        path = Path(name) if is_file else find_run(session.root, name).config_file
        return flatten(read_toml(path))

    a, b = values(first), values(second)
    different = [k for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)]
    for key in different:
        click.echo(f"{key}: {a.get(key, '(unset)')!r} | {b.get(key, '(unset)')!r}")
    if not different:
        click.echo("no difference")
