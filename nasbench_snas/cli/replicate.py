"""Repeat published experiments on gradient estimators, with a verdict for each."""

from __future__ import annotations

import click

from nasbench_snas.errors import ExitCode


@click.command("replicate")
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.option("--full", is_flag=True, help="The published sizes instead of smaller ones.")
@click.option("--list", "only_list", is_flag=True, help="List the experiments.")
@click.option("--format", "form", type=click.Choice(["text", "md"]), default="text")
@click.pass_obj
def command(
    session: object, names: tuple[str, ...], full: bool, only_list: bool, form: str
) -> None:
    """Repeat published experiments (all, or those named): ours beside what is published.

    Exit code 1 if one differs from what its rule expects.
    """
    from nasbench_snas.replicate import EXPERIMENTS, page, run_experiment

    if only_list:
        for experiment in EXPERIMENTS.values():
            click.echo(f"{experiment.name:<22}{experiment.source}")
        return
    results = [run_experiment(name, full) for name in names or EXPERIMENTS]
    if form == "md":
        click.echo(page(results, full), nl=False)
    else:
        for experiment, findings in results:
            click.echo(f"{experiment.name}: {experiment.source}")
            for f in findings:
                click.echo(f"  {f.verdict:<15}{f.quantity}: {f.ours}; published: {f.published}")
    if any(f.verdict == "differs" for _, findings in results for f in findings):
        raise SystemExit(ExitCode.FAILED)
