"""Kills: a command is killed at a chosen or a random moment, given again, and must end equal."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from campaign_judge import Ended, Verdict, forked
from campaign_store import (
    TINY,
    fingerprint,
    report_words,
    retrain_words,
    run_words,
    settings,
    study_words,
    table_words,
)

MOMENTS = ("replace", "fsync", "save", "load", "random")


@dataclass(frozen=True)
class Work:
    """A command to be killed.

    Attributes:
        name: For the counts.
        words: The command, given the store.
        begins: What the store holds before: ``nothing`` or ``searches``.
    """

    name: str
    words: Callable[[Path], list[str]]
    begins: str = "nothing"


WORKS = (
    Work("run", lambda root: run_words(0)),
    Work("retrain", lambda root: retrain_words(), "searches"),
    Work("gradients", study_words),
    Work("tabulate", lambda root: table_words(0)),
    Work("report", lambda root: report_words(root / "reports" / "x"), "searches"),
)


def killer(moment: str, count: int, seconds: float) -> Callable[[], None]:
    """Return what lets the process kill itself.

    Args:
        moment: ``replace``, ``fsync``, ``save`` or ``load``: before or after the ``count``-th call
            of it; ``random``: after ``seconds`` of processor time.
        count: Which call; odd numbers: before it, even ones: after it.
        seconds: Processor time.
    """

    def prepare() -> None:
        if moment == "random":
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, max(seconds, 0.001))
            return
        where: tuple[Any, str] = {
            "replace": (os, "replace"),
            "fsync": (os, "fsync"),
            "save": (torch, "save"),
            "load": (torch, "load"),
        }[moment]
        whole, calls = getattr(*where), [0]

        def killing(*arguments: Any, **more: Any) -> Any:
            calls[0] += 1
            last = calls[0] == (count + 1) // 2
            if last and count % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            value = whole(*arguments, **more)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        setattr(*where, killing)

    return prepare


class Killing:
    """Kills commands in a folder of its own and compares with what they give alone.

    Args:
        scratch: Its folder.
        store: A store with the searches that a retraining and a report need.
    """

    def __init__(self, scratch: Path, store: Path) -> None:
        self.scratch, self.store = scratch, store
        self._whole: dict[str, tuple[dict[str, str], float]] = {}

    def _begin(self, work: Work) -> Path:
        root = self.scratch / "killed"
        shutil.rmtree(root, ignore_errors=True)
        if work.begins == "searches":
            shutil.copytree(self.store, root)
            shutil.rmtree(root / "_retrain", ignore_errors=True)
        return root

    def whole(self, work: Work) -> tuple[dict[str, str], float]:
        """Return the results of a command that nobody kills, and its processor time."""
        if work.name not in self._whole:
            root = self._begin(work)
            ended = forked(["--root", str(root), *work.words(root)])
            assert ended.code == 0, ended.text
            self._whole[work.name] = fingerprint(root), ended.seconds
        return self._whole[work.name]

    def case(self, number: int, chance: random.Random) -> tuple[int, list[tuple[str, Verdict]]]:
        """Kill one command up to three times, let it end, and return kills and verdicts."""
        work = WORKS[number % len(WORKS)]
        moment = MOMENTS[number // len(WORKS) % len(MOMENTS)]
        wanted, seconds = self.whole(work)
        root, kills = self._begin(work), 0
        words = ["--root", str(root), *work.words(root)]
        for _ in range(chance.choice((1, 2, 3))):
            count, at = chance.randrange(1, 25), chance.random() * seconds
            ended = forked(words, killer(moment, count, at))
            kills += ended.code in (-signal.SIGKILL, -signal.SIGPROF)
            if chance.random() < 0.3:
                listed = forked(["--root", str(root), "ls"]).verdict()
                if listed.is_bad:
                    return kills, [(f"{work.name} killed at {moment}: ls", listed)]
        ended = forked(words)
        what = f"{work.name} killed at {moment}"
        return kills, [(what, ended.verdict(long=True)), (what, self._compare(ended, root, wanted))]

    @staticmethod
    def _compare(ended: Ended, root: Path, wanted: dict[str, str]) -> Verdict:
        if ended.code != 0:
            return Verdict("mismatch", f"it does not go on: {ended.text[-300:]}")
        found = fingerprint(root)
        other = sorted(k for k in {*wanted, *found} if wanted.get(k) != found.get(k))
        return Verdict("mismatch", f"other {', '.join(other[:4])}") if other else Verdict("fine")

    def sweep(self, number: int, chance: random.Random) -> tuple[int, list[tuple[str, Verdict]]]:
        """Kill a sweep, a table, its workers or both, and compare with the runs made alone."""
        names = [n for n in EXECUTORS if n == "local" or importlib.util.find_spec(EXECUTORS[n])]
        executor = names[number % len(names)]
        root, out = self.scratch / "swept", self.scratch / "executor.toml"
        shutil.rmtree(root, ignore_errors=True)
        options = []
        if executor == "slurm":
            out.write_text(
                f'cluster = "local"\nfolder = "{self.scratch / "logs"}"\npoll_seconds = 0.2\n'
            )
            options = ["--executor-config", str(out)]
        words = ["sweep", "--estimators", "snas", "--spaces", "snas-unit", "--seeds", "0,1"]
        words += [*settings(TINY), "--executor", executor, *options]
        if number % 4 == 3:
            words = [*table_words(), "--executor", executor, *options]
        who = chance.choice(("all", "master", "workers"))
        kills, ended = 0, None
        for attempt in range(4):
            token = f"campaign-{os.getpid()}-{number}-{attempt}"
            at = None if attempt == 3 else 4 + 20 * chance.random()
            ended, killed = _kill_group(["--root", str(root), *words], token, who, at)
            kills += killed
            if not killed:
                break
        assert ended is not None
        what = f"{words[0]} with {executor}, {who} killed"
        if ended.code != 0:
            verdict = Verdict("mismatch", f"it does not go on: {ended.text[-300:]}")
            return kills, [(what, verdict)]
        kept = ("snas-", "_tabular")
        wanted = {k: v for k, v in fingerprint(self.store).items() if k.startswith(kept)}
        found = {k: v for k, v in fingerprint(root).items() if k.startswith(kept)}
        other = sorted(k for k, v in found.items() if k in wanted and wanted[k] != v)
        missing = not found or (words[0] == "sweep" and len(list(root.glob("snas-*"))) < 2)
        bad = ["missing"] if missing else other
        compared = Verdict("mismatch", f"other {bad[:4]}") if bad else Verdict("fine")
        return kills, [(what, ended.verdict(long=True)), (what, compared)]


EXECUTORS = {"local": "nasbench_snas", "slurm": "submitit", "ray": "ray"}


def _kill_group(words: list[str], token: str, who: str, after: float | None) -> tuple[Ended, int]:
    """Run a command; kill it, its workers or both ``after`` seconds; return kills, too."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "nasbench_snas", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "NASBENCH_CAMPAIGN": token},
        start_new_session=True,
    )
    kills = 0
    if after is not None:
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < after:
            time.sleep(0.1)
        if process.poll() is None:
            pids = [pid for pid in _with_token(token) if pid != process.pid]
            chosen = {"all": [process.pid, *pids], "master": [process.pid], "workers": pids}[who]
            for pid in chosen:
                try:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    continue
    output, _ = process.communicate(timeout=900)
    return Ended(process.returncode, output.decode(errors="replace"), 0.0, False, 0), kills


def _with_token(token: str) -> list[int]:
    """Return the processes that this campaign started with ``token`` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"NASBENCH_CAMPAIGN={token}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
