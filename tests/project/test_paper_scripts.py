"""The scripts of the paper's tables give the commands of the page, no more and no fewer."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reproducing-the-paper.md"
_NASBENCH = '#!/bin/sh\nfor word; do printf "%s " "$word"; done >> "$CALLS"\necho >> "$CALLS"\n'


def of_page(table: str) -> set[tuple[str, ...]]:
    """Return the commands of a table's rows, each a search of one kind or a retraining."""
    found = set()
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = line.strip("|").split("|")
        if len(cells) == 3 and cells[0].strip() == table:
            for command in re.findall(r"`nasbench ([^`]+)`", cells[2]):
                found.add(kind(shlex.split(command)))
    return found


def kind(words: list[str]) -> tuple[str, ...]:
    """Return what tells a command of the page: without seeds, and levels written out."""
    command, *rest = words
    given = {a: b for a, b in itertools.pairwise(rest) if a.startswith("-")}
    given.pop("--seeds", None)
    if command == "run":
        level, constraint = given.get("--level", "joint"), given.get("--constraint", "none")
        return ("run", given["-e"], level, constraint)
    cell = () if rest[0].startswith("-") else (rest[0],)
    return ("retrain", *cell, *(f"{a}={b}" for a, b in sorted(given.items())))


def of_script(table: str, tmp_path: Path) -> tuple[set[tuple[str, ...]], list[str]]:
    """Return what a script gives to ``nasbench``, and its last command."""
    tool, calls = tmp_path / "nasbench", tmp_path / "calls"
    tool.write_text(_NASBENCH)
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls)}
    script = ROOT / "examples" / "paper" / f"table{table}.sh"
    subprocess.run(["bash", str(script)], env=environment, check=True)
    found = set()
    lines = [shlex.split(line) for line in calls.read_text().splitlines()]
    for command, *rest in lines[:-1]:
        if command == "retrain":
            found.add(kind([command, *rest]))
            continue
        given = dict(itertools.pairwise(rest))
        level = given.get("--level", "joint")
        names, levels = given["--estimators"], given.get("--constraints", "none")
        found |= {
            ("run", name, level, constraint)
            for name in names.split(",")
            for constraint in levels.split(",")
        }
    return found, lines[-1]


@pytest.mark.parametrize("table", ["1", "2", "3"])
def test_a_script_gives_the_commands_of_its_table(table: str, tmp_path: Path) -> None:
    found, last = of_script(table, tmp_path)
    chance = {("run", name, "joint", "none") for name in ("random", "random-sampling")}
    assert found - chance == of_page(table) and len(found) >= 4
    assert last[:3] == ["report", "--table", table]


def test_a_dry_run_only_asks_the_sweeps(tmp_path: Path) -> None:
    tool, calls = tmp_path / "nasbench", tmp_path / "calls"
    tool.write_text(_NASBENCH + "exit 4\n")
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls)}
    script = ROOT / "examples" / "paper" / "table2.sh"
    subprocess.run(["bash", str(script), "--dry-run"], env=environment, check=True)
    lines = calls.read_text().splitlines()
    assert len(lines) == 4 and all("sweep" in x and "--dry-run" in x for x in lines)


@pytest.mark.parametrize("launch", ["", "env"])
@pytest.mark.parametrize(("code", "ends"), [(1, 0), (2, 2), (3, 3), (130, 130)])
def test_a_refused_retraining_ends_the_script_and_a_failed_one_does_not(
    code: int, ends: int, launch: str, tmp_path: Path
) -> None:
    tool, calls = tmp_path / "nasbench", tmp_path / "calls"
    tool.write_text(_NASBENCH + f'[ "$1" != retrain ] || exit {code}\n')
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls)}
    script = ROOT / "examples" / "paper" / "table3.sh"
    found = subprocess.run(["bash", str(script)], env=environment | {"LAUNCH": launch})
    assert found.returncode == ends
    assert ("report" in calls.read_text()) == (ends == 0)
