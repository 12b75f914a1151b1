"""Find eta for a share of the expected cost, or for a penalty-to-loss ratio at the start."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from nasbench_snas.errors import ConfigError

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


@click.command(name="calibrate")
@click.option("-e", "--estimator", default="snas", show_default=True)
@click.option("-s", "--space", default="darts-cnn", show_default=True)
@click.option("-p", "--preset", default="smoke", show_default=True)
@click.option("--share", type=float, help="Share of the uniform expected cost left at the end.")
@click.option("--constraint", help="The share that defines this level: mild, moderate, aggressive.")
@click.option("--ratio", type=float, help="Penalty over cross-entropy at the start (no search).")
@click.option("--tolerance", type=float, default=0.1, show_default=True)
@click.option("--max-trials", type=int, default=8, show_default=True)
@click.option("--start", type=float, default=1.0, show_default=True, help="First eta.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def command(
    session: Session,
    estimator: str,
    space: str,
    preset: str,
    share: float | None,
    constraint: str | None,
    ratio: float | None,
    tolerance: float,
    max_trials: int,
    start: float,
    assignments: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run short searches until the expected cost ends at the wanted share; print eta."""
    from nasbench_snas.search.calibrate import LEVELS, calibrate, ratio_at_start

    registry = session.registry()
    given = [name for name in (share, constraint, ratio) if name is not None]
    if len(given) != 1:
        raise ConfigError("give exactly one of --share, --constraint and --ratio.")
    if ratio is not None:
        eta = ratio_at_start(
            registry, estimator, space, preset=preset, ratio=ratio, assignments=assignments
        )
        click.echo(json.dumps({"eta": eta}) if as_json else f"eta = {eta:.6g}")
        return 0
    if constraint is not None:
        if constraint not in LEVELS:
            raise ConfigError(f"unknown constraint {constraint!r}.", f"Known: {', '.join(LEVELS)}")
        share = LEVELS[constraint]
    found = calibrate(
        registry,
        estimator,
        space,
        preset=preset,
        share=share or 0.0,
        tolerance=tolerance,
        max_trials=max_trials,
        start=start,
        assignments=assignments,
        progress=lambda eta, value: click.echo(f"eta {eta:.6g} -> share {value:.3f}", err=True),
    )
    if as_json:
        row = {"eta": found.eta, "share": found.value, "target": share, "reached": found.reached}
        click.echo(json.dumps(row))
    else:
        click.echo(f"[{space}.{preset}.{constraint or 'custom'}]")
        click.echo(
            f"eta = {found.eta:.4g}  # {estimator}, {len(found.trials)} searches: "
            f"share {found.value:.3f} for a target of {share}"
        )
    return 0 if found.reached else 1
