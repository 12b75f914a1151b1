"""What a killed process was writing is removed by whoever holds the run's lock next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.index import read_index
from nasbench_snas.runs.provenance import host_id

KILLED = """
import os, signal, sys
from pathlib import Path
from nasbench_snas.runs import folder
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
folder.write_atomic(Path(sys.argv[1]), b"x" * 1000)
"""


def killed_while_writing(path: Path) -> Path:
    """Let a process die between writing ``path`` and naming it; return what it left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = set(path.parent.iterdir())
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -9
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_the_next_holder_of_the_lock_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    left = killed_while_writing(folder.checkpoint_file)
    assert left.stat().st_size == 1000
    with folder.locked():
        assert not left.exists()
    assert list(folder.checkpoint_file.parent.iterdir()) == []


def test_files_of_the_living_and_of_users_stay(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    living, mine = os.getppid(), os.getpid()
    stay = [f".a.{host_id()}.{living}.tmp", f".a.{living}.tmp", "a.tmp", ".notes.tmp"]
    stay.append(".a.00000000.1.tmp")  # of another machine, and young
    go = [f".a.{host_id()}.{mine}.tmp", ".a.999999999.tmp", ".last.pt.999999999.tmp"]
    go.append(".a.00000000.2.tmp")
    for name in (*stay, *go):
        (folder.path / name).write_text("")
    os.utime(folder.path / go[-1], (0, 0))
    with folder.locked():
        assert {p.name for p in folder.path.iterdir()} - {"lock", "lock.json"} == set(stay)


def test_a_listing_removes_its_own_dead_files_only(tmp_path: Path) -> None:
    beside = tmp_path / f".index.jsonl.{host_id()}.999999999.tmp"
    beside.write_text("")
    inside = tmp_path / "run" / f".status.json.{host_id()}.999999999.tmp"
    inside.parent.mkdir()
    inside.write_text("")
    read_index(tmp_path, rebuild=True)
    assert inside.exists(), "its folder is not locked"
    assert not beside.exists()
