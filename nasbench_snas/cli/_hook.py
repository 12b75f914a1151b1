"""A command of the user's own when a sweep has ended."""

from __future__ import annotations

import os
import subprocess

import click


def run_hook(command: str, *, root: str, finished: int, failed: int, code: int) -> None:
    """Run ``command`` in a shell, with what became of a sweep in its environment.

    ``NASBENCH_FINISHED``, ``NASBENCH_FAILED`` (numbers of runs), ``NASBENCH_EXIT_CODE`` and
    ``NASBENCH_ROOT`` say it; the same in one line is its standard input. A command that fails is
    told and changes nothing else.

    Args:
        command: For the shell.
        root: The run store.
        finished: Runs that finished now.
        failed: Runs that failed.
        code: The sweep's exit code.
    """
    environment = {
        **os.environ,
        "NASBENCH_FINISHED": str(finished),
        "NASBENCH_FAILED": str(failed),
        "NASBENCH_EXIT_CODE": str(code),
        "NASBENCH_ROOT": root,
    }
    text = f"sweep in {root}: {finished} finished, {failed} failed, exit code {code}\n"
    try:
        ended = subprocess.run(command, shell=True, env=environment, input=text.encode())
    except OSError as error:
        click.echo(f"note: --on-finish could not be run: {error}", err=True)
        return
    if ended.returncode:
        click.echo(f"note: --on-finish ended with code {ended.returncode}", err=True)
