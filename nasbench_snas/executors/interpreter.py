"""How another Python is started: never with the current folder first on its import path.

A stranger's file ``sklearn.py`` in the folder that one works in must not be run in place of the
package (``-P`` and ``PYTHONSAFEPATH``, Python 3.11).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nasbench_snas

SAFE = (sys.executable, "-P")
"""This interpreter, safe from files of the current folder."""


def safe_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return ``environment`` for a Python that leaves the current folder out of its path.

    A checkout that is not installed is found by its full path instead.
    """
    safe = {**environment, "PYTHONSAFEPATH": "1"}
    root = Path(nasbench_snas.__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file():
        given = environment.get("PYTHONPATH", "")
        safe["PYTHONPATH"] = f"{given}{os.pathsep}{root}" if given else str(root)
    return safe


@contextmanager
def safe_children() -> Iterator[None]:
    """Give what libraries start within the block (workers of Slurm) a safe environment, too."""
    before = dict(os.environ)
    os.environ.update(safe_environment())
    try:
        yield
    finally:
        for name in ("PYTHONSAFEPATH", "PYTHONPATH"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)
