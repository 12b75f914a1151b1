"""Bias, variance and cost of gradient estimators at fixed architecture points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.cli import _options
from nasbench_snas.cli.main import Session
from nasbench_snas.errors import ConfigError

if TYPE_CHECKING:
    from nasbench_snas.registry import Registry

_EXAMPLES = """\b
Examples:
  nasbench gradients -s snas-unit
  nasbench gradients -s snas-unit -e snas -e reinforce --samples 1000
  nasbench gradients -s nasbench201 --max-time 15m"""


@click.command(name="gradients", epilog=_EXAMPLES)
@click.option(
    "-e",
    "--estimator",
    "estimators",
    multiple=True,
    metavar="SPEC",
    help="NAME, NAME:key=value,… or all; repeatable. [default: all]",
)
@click.option("-s", "--space", metavar="NAME", help="The space. [default: snas-unit]")
@click.option("-c", "--config", "file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--dataset", help="Data set; see `nasbench ls datasets`.")
@_options.data_root
@_options.assignments
@click.option("--seed", type=int, help="Seed of weights, batches and noise. [default: 0]")
@click.option("--points", metavar="LIST", help="init,mid,late, a fraction, or a run's id.")
@click.option("--temperatures", metavar="LIST", help="For estimators that anneal one.")
@click.option("--samples", type=int, help="Draws of each estimator at most. [default: 2048]")
@click.option("--until-se", type=float, help="Stop at this relative standard error.")
@click.option(
    "--max-time", type=_options.Seconds(), metavar="TIME", help="Stop after so long: 90, 15m, 2h."
)
@click.option("--reference", metavar="exact|mc:N", help="What is compared with. [default: exact]")
@click.option("--claims", is_flag=True, default=None, help="Measure the paper's own claims too.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Copy of figures.")
@click.option("--figures/--no-figures", default=True, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.pass_obj
def command(session: Session, /, **options: Any) -> None:
    """Measure bias, variance and cost of gradient estimators at fixed points.

    Everything is frozen: theta, architecture parameters, minibatch. Draws are compared with the
    exact gradient, by enumeration of all architectures. The study is a folder under
    ROOT/_gradients; the same command continues one that was stopped, with more --samples too.
    """
    from nasbench_snas.reports import gradients as gradient_report
    from nasbench_snas.study.study import run_study, study_folder

    registry = session.registry()
    settings = _settings(registry, options)
    folder = study_folder(settings, session.root)
    with _progress(session, settings) as report:
        result = run_study(settings, registry, session.root, report)
    written = gradient_report.write(result, folder.path / "report", figures=options["figures"])
    if options["out"] is not None:
        gradient_report.write(result, options["out"], figures=options["figures"])
    if options["as_json"]:
        import json

        click.echo(json.dumps(result["rows"]))
        return
    console = session.console()
    gradient_report.show(console, result)
    for name, why in result["skipped"].items():
        console.print(f"left out: {name} ({why.rstrip('.')})")
    if result["truncated"]:
        console.print("time is up: the same command continues the study")
    console.print(f"done in {result['seconds']:.0f} s -> {folder.path}")
    console.print(f"tables and figures: {written}")


def _settings(registry: Registry, options: dict[str, Any]) -> Any:
    """Return the study's settings from file, --set and options, the later ones stronger."""
    from nasbench_snas.study.plan import plan_study

    values: dict[str, Any] = {}
    lists = {"points": str, "temperatures": float}
    for key, kind in lists.items():
        if options[key] is not None:
            values[key] = [_number(kind, part, key) for part in options[key].split(",")]
    for key in ("seed", "samples", "until_se", "max_time", "reference", "claims"):
        if options[key] is not None:
            values[key] = options[key]
    if options["estimators"]:
        values["estimators"] = list(options["estimators"])
    shortcuts = {"dataset": "data.dataset", "data_root": "data.root"}
    assignments = [*_options.given(options, shortcuts), *options["assignments"]]
    return plan_study(registry, options["space"], options["file"], assignments, values)


def _number(kind: type, text: str, option: str) -> Any:
    try:
        return kind(text.strip())
    except ValueError as error:
        raise ConfigError(f"--{option}: {text!r} is not a number.") from error


@contextmanager
def _progress(session: Session, settings: Any) -> Iterator[Any]:
    """Show a bar on a terminal, one line for each point elsewhere; both on stderr."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = session.console(stderr=True)
    if not console.is_terminal or session.quiet:

        def line(event: dict[str, Any]) -> None:
            if event["kind"] != "cell" and event["kind"] != "once" and not session.quiet:
                console.print(f"{event['kind']} {event['point']}")

        yield line
        return
    columns: Sequence[Any] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} draws"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("theta and alpha", total=settings.samples)

        def bar(event: dict[str, Any]) -> None:
            text = f"{event['point']}  {event.get('estimator', event['kind'])}"
            progress.update(task, description=text, completed=event.get("draws", 0))

        yield bar
