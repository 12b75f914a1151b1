"""Write the records of many runs to one small file, and put such a file's runs into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EXAMPLES = """\b
Examples:
  nasbench pack --out results.tar.xz          all runs of --root
  nasbench report results.tar.xz              read it as a run store
  nasbench --root runs pack --unpack results.tar.xz"""


@click.command("pack", epilog=EXAMPLES)
@click.argument("runs", nargs=-1, metavar="[RUN]…")
@click.option("--out", type=click.Path(path_type=Path), help="File to write, NAME.tar.xz.")
@click.option("--unpack", "pack_file", type=click.Path(path_type=Path), help="A pack to unpack.")
@click.pass_obj
def command(session: Any, runs: tuple[str, ...], out: Path | None, pack_file: Path | None) -> None:
    """Pack RUNS (default: all searches, retrainings and studies of --root) without checkpoints.

    A pack keeps settings, events, results and environments, some kB a run. Reports read it like a
    run store, and in a store that it is unpacked into its finished runs are finished.
    """
    from nasbench_snas.runs.pack import pack, unpack

    if pack_file is not None and out is None and not runs:
        written, there = unpack(pack_file, session.root)
        click.echo(f"{written} runs unpacked into {session.root}, {there} were there")
    elif out is not None and pack_file is None:
        count = pack(session.root, out, runs)
        click.echo(f"{count} runs in {out} ({out.stat().st_size / 1000:.0f} kB)")
    else:
        raise click.UsageError("give either --out FILE (and RUNS), or --unpack FILE.")
