"""List, prepare or verify data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasbench_snas.errors import DataError

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


@click.group(name="data")
def command() -> None:
    """Look after the images."""


@command.command(name="list")
@click.pass_obj
def list_command(session: Session) -> None:
    """List the data sets, those of plug-ins too."""
    for entry in session.registry().entries("dataset"):
        click.echo(f"{entry.name:<12} {entry.problem or entry.attributes.get('summary', '')}")


@command.command()
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Default: $NASBENCH_DATA or ./data.")
def prepare(name: str, root: Path | None) -> None:
    """Download the data set NAME (the only command that ever downloads)."""
    from nasbench_snas.data.catalogue import default_root
    from nasbench_snas.data.presence import prepare as fetch

    click.echo(fetch(name, root or default_root()))


@command.command()
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Default: $NASBENCH_DATA or ./data.")
@click.pass_obj
def verify(session: Session, name: str, root: Path | None) -> None:
    """Check that the data set NAME is complete and undamaged; exit 3 if not."""
    import pydantic

    from nasbench_snas.data.presence import verify as check
    from nasbench_snas.data.settings import DataSettings
    from nasbench_snas.settings.parameters import config_error
    from nasbench_snas.settings.sources import bound

    try:
        settings = DataSettings.model_validate({"dataset": name, "root": root})
    except pydantic.ValidationError as error:
        raise config_error(error, "data") from error
    report = check(bound(settings, session.registry()))
    for line in report.checks:
        click.echo(f"{'ok ' if line.ok else 'BAD'} {line.name}: {line.detail}")
    if not report.ok:
        raise DataError(f"data set {name!r} is not usable.", fix=report.fix)
