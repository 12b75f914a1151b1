"""Run estimators on the published NAS-Bench-201 accuracies themselves: no network, exact truth."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.settings.seed_list import parse_seeds

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


@click.command(name="landscape")
@click.option("-e", "--estimators", metavar="A,B,…", help="[default: seventeen of every family]")
@click.option("--dataset", default="cifar10", show_default=True)
@click.option("--queries", type=int, default=1000, show_default=True, help="Look-ups of a seed.")
@click.option("--seeds", default="0-99", show_default=True, metavar="SPEC")
@click.option(
    "--count",
    type=click.Choice(["all", "distinct"]),
    default="all",
    show_default=True,
    help="Whether an architecture that is looked up again counts again.",
)
@click.option(
    "--cost", type=click.Choice(["none", "parameters", "latency"]), default="none", help="Added."
)
@click.option("--eta", type=float, default=0.0, help="Its weight, over its mean.")
@click.option("--tuning-seeds", default="10000-10019", show_default=True, metavar="SPEC")
@click.option("--rates", metavar="A,B,…", help="Learning rates to try. [default: 0.005 to 1, 8]")
@click.option(
    "--draws", type=int, default=2000, show_default=True, help="Gradient draws at a point; 0: none."
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Copy of the report.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(session: Session, /, **options: Any) -> None:
    """Compare estimators where every loss is known: E[published loss] over 15,625 architectures.

    Regret against look-ups, bias and variance against the exact gradient, and searches by simulated
    seconds. Learning rates are tuned on other seeds, with the same budget for every method.
    """
    from nasbench_snas.reports import landscape as landscape_report
    from nasbench_snas.runs.folder import write_json
    from nasbench_snas.runs.provenance import environment
    from nasbench_snas.truth.comparison import run_comparison

    settings = _settings(options)
    console = session.console(stderr=True)

    def told(name: str, seconds: float) -> None:
        if not session.quiet:
            console.print(f"{name}: {seconds:.0f} s of processor time", markup=False)

    plugins = (session.plugins, session.environment_plugins)
    result = run_comparison(settings, plugins, options["jobs"], told)
    known = environment("cpu")
    result["environment"] = {key: known[key] for key in ("git", "versions", "cpu") if key in known}
    text = json.dumps(result["settings"], sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    folder = session.root / "_landscape" / f"{settings.dataset}-{settings.queries}-{digest}"
    write_json(folder / "result.json", result)
    landscape_report.write(result, folder)
    if options["out"] is not None:
        landscape_report.write(result, options["out"])
    if options["as_json"]:
        click.echo(json.dumps(result))
        return
    landscape_report.show(session.console(), result)
    click.echo(f"done in {result['wall_seconds']:.0f} s -> {folder}")


def _settings(options: dict[str, Any]) -> Any:
    from nasbench_snas.errors import ConfigError
    from nasbench_snas.truth.landscape import LandscapeSettings

    given: dict[str, Any] = {}
    if options["estimators"]:
        names = [name.strip() for name in options["estimators"].split(",")]
        given["estimators"] = tuple(dict.fromkeys(names))
    if options["rates"]:
        try:
            given["rates"] = tuple(float(rate) for rate in options["rates"].split(","))
        except ValueError as error:
            raise ConfigError(
                f"--rates {options['rates']}: not numbers.", fix="Example: --rates 0.01,0.1"
            ) from error
    return LandscapeSettings(
        dataset=options["dataset"],
        queries=options["queries"],
        seeds=tuple(parse_seeds(options["seeds"])),
        repeats=options["count"] == "all",
        cost=options["cost"],
        eta=options["eta"],
        tuning_seeds=tuple(parse_seeds(options["tuning_seeds"])),
        draws=options["draws"],
        **given,
    )
