"""Prove what this machine's device computes, and measure it: equality, resuming, times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasbench_snas.cli import _options

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.prove.record import Row


@click.command(name="prove")
@_options.device
@click.option("--minutes", type=click.FloatRange(min=0), default=8.0, show_default=True)
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("prove"),
    show_default=True, help="Folder of prove.json and prove.md; given again, it is continued.",
)  # fmt: skip
@click.option("--short", is_flag=True, help="Few and small cases: about a minute on a CPU.")
@click.option(
    "--ranks", type=click.IntRange(1, 8), default=1, show_default=True,
    help="Also run a search on this many processes.",
)  # fmt: skip
@click.pass_obj
def command(
    session: Session, device: str, minutes: float, folder: Path, short: bool, ranks: int
) -> int:
    """Prove what this device computes: the most telling statements first, written as they come.

    Kernels, cells and parents are compared with plain PyTorch in float64; steps are repeated bit
    for bit; a search is killed and continued; retrainings run with every setting for speed; times,
    launches, waits of the host and compilations are counted. What fails is a row, not the end.
    Needs no compiler. Exit code 1 if a row failed.
    """
    from nasbench_snas.compute.device import resolve_device
    from nasbench_snas.prove.run import prove

    def tell(row: Row) -> None:
        if not session.quiet or row.status in ("failed", "error"):
            about = row.note or ", ".join(f"{k} {_short(v)}" for k, v in row.values.items())
            click.echo(f"{row.status:<9}{row.check}: {row.case}  {about[:160]}")

    record = prove(
        resolve_device(device), folder, session.registry(), minutes=minutes, short=short,
        ranks=ranks, tell=tell,
    )  # fmt: skip
    click.echo(f"{len(record.rows)} rows, {len(record.bad)} of them bad: {folder / 'prove.md'}")
    return 1 if record.bad else 0


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
