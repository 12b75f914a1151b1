"""The campaign: kills, fuzzed inputs, damaged folders of runs and of images; counts as JSON.

``python tests/campaign/campaign.py OUT`` runs all of it, or goes on with what OUT holds; ``--only
fuzz``, ``--kills 10`` and so on run parts. Everything follows from ``--seed``. A case is *bad* if a
result is not bit-equal to that of the run that nobody disturbed (a mismatch), or where the answer
is unclear: a traceback, "not expected", more than 5 s of processor time for a question, more than
1 GB, a death by signal, or something accepted that is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from campaign_damage import damaged_data, damaged_run, make_images
from campaign_judge import WALL, Verdict, judge, limit_memory
from campaign_kills import Killing
from campaign_readers import readers
from campaign_store import make_store, preload, quiet_environment

import nasbench_snas

BATCH = 500
Case = tuple[str, Verdict]


class Ledger:
    """What has been judged, one line a case; a campaign that is started again goes on behind it.

    Args:
        file: Its file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.done = {(line["part"], line["number"]) for line in self.lines}

    def add(self, part: str, number: int, cases: list[Case], **more: Any) -> None:
        """Note the cases of one number of a part."""
        bad = [{"what": what, "kind": v.kind, "why": v.why} for what, v in cases if v.is_bad]
        kinds = Counter(verdict.kind for _, verdict in cases)
        line = {"part": part, "number": number, "kinds": kinds, "bad": bad, **more}
        self.lines.append(line)
        self.done.add((part, number))
        with self.file.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def counts(self) -> dict[str, Any]:
        """Return the counts of each part."""
        found: dict[str, Any] = {}
        for line in self.lines:
            part = found.setdefault(line["part"], Counter())
            part["cases"] += 1
            part["kills"] += line.get("kills", 0)
            for kind in ("mismatch", "unclear"):
                part[kind] += any(bad["kind"] == kind for bad in line["bad"])
        return {
            name: {k: v for k, v in part.items() if v or k != "kills"}
            for name, part in found.items()
        }


def fuzz(ledger: Ledger, store: Path, scratch: Path, seed: int, inputs: int) -> None:
    """Give every reader its share of ``inputs`` inputs, in forks that may die."""
    total = sum(reader.share for reader in readers(store, scratch))
    for index, reader in enumerate(readers(store, scratch)):
        wanted = max(1, round(reader.share * inputs / total))
        part = f"fuzz: {reader.name} ({index})"
        numbers = [n for n in range(wanted) if (part, n) not in ledger.done]
        while numbers:
            batch, numbers = numbers[:BATCH], numbers[BATCH:]
            judged = list(_batch(store, scratch, index, seed, batch))
            for number, verdict in judged:
                ledger.add(part, number, [(reader.name, verdict)])
            if len(judged) < len(batch):
                died = batch[len(judged)]
                ledger.add(part, died, [(reader.name, Verdict("unclear", "the process died"))])
                numbers = batch[len(judged) + 1 :] + numbers


def _batch(
    store: Path, scratch: Path, index: int, seed: int, numbers: list[int]
) -> Iterator[tuple[int, Verdict]]:
    """Judge inputs in one fork; fewer come back if it died."""
    log = scratch / "batch.jsonl"
    log.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            reader = readers(store, scratch)[index]
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 2)
            limit_memory()
            for number in numbers:
                given = reader.make(random.Random(f"{seed}/{reader.name}/{number}"))
                verdict = judge(lambda given=given: reader.read(given))  # type: ignore[misc]
                with log.open("a") as stream:
                    stream.write(json.dumps([number, verdict.kind, verdict.why]) + "\n")
        finally:
            os._exit(0)
    deadline = time.monotonic() + WALL + 10 * len(numbers)
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    for line in log.read_text().splitlines() if log.exists() else []:
        number, kind, why = json.loads(line)
        yield number, Verdict(kind, why)


def campaign(out: Path, seed: int, sizes: dict[str, int]) -> dict[str, Any]:
    """Run what is missing of a campaign in the folder ``out`` and return its counts."""
    out.mkdir(parents=True, exist_ok=True)
    quiet_environment(out.resolve())
    preload()
    ledger, store, scratch = Ledger(out / "ledger.jsonl"), out / "store", out / "scratch"
    store, scratch = store.resolve(), scratch.resolve()
    if not (out / "store.done").exists():
        make_store(store)
        (out / "store.done").touch()
    began = time.monotonic()
    if sizes["fuzz"]:
        fuzz(ledger, store, scratch, seed, sizes["fuzz"])
    for number in range(sizes["folders"]):
        if ("folders", number) not in ledger.done:
            chance = random.Random(f"{seed}/folders/{number}")
            ledger.add("folders", number, damaged_run(chance, store, scratch))
    if sizes["data"] and not (out / "images").exists():
        make_images(out / "images", random.Random(f"{seed}/images"))
    for number in range(sizes["data"]):
        if ("data", number) not in ledger.done:
            chance = random.Random(f"{seed}/data/{number}")
            ledger.add("data", number, damaged_data(number, chance, out / "images", scratch))
    killing, kills = Killing(scratch, store), sum(line.get("kills", 0) for line in ledger.lines)
    for part, case, limit in (
        ("sweeps", killing.sweep, sizes["sweeps"]),
        ("kills", killing.case, 10 * sizes["kills"] if sizes["kills"] else 0),
    ):
        for number in range(limit):
            if (part, number) in ledger.done:
                continue
            if part == "kills" and kills >= sizes["kills"]:
                break
            more, cases = case(number, random.Random(f"{seed}/{part}/{number}"))
            kills += more
            ledger.add(part, number, cases, kills=more)
    return summary(ledger, seed, time.monotonic() - began)


def summary(ledger: Ledger, seed: int, seconds: float) -> dict[str, Any]:
    """Return the counts of a campaign with what it ran on."""
    counts = ledger.counts()
    fuzzed = [part for name, part in counts.items() if name.startswith("fuzz: ")]
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return {
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "suite": nasbench_snas.__version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "seed": seed,
        "seconds": round(seconds),
        "fuzzed inputs": sum(part["cases"] for part in fuzzed),
        "damaged run folders": counts.get("folders", {}).get("cases", 0),
        "damaged data folders": counts.get("data", {}).get("cases", 0),
        "kills": sum(part.get("kills", 0) for part in counts.values()),
        "mismatches": sum(part["mismatch"] for part in counts.values()),
        "unclear": sum(part["unclear"] for part in counts.values()),
        "parts": counts,
        "bad": [line for line in ledger.lines if line["bad"]],
    }


def main() -> None:
    """Read the command line and run a campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    full = {"fuzz": 10_000, "folders": 100, "data": 50, "kills": 200, "sweeps": 12}
    for name, number in full.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--only", choices=full, action="append")
    given = vars(parser.parse_args())
    chosen = {k: given[k] if not given["only"] or k in given["only"] else 0 for k in full}
    counts = campaign(given["out"], given["seed"], chosen)
    (given["out"] / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")
    bad = counts.pop("bad")
    print(json.dumps(counts, indent=1))
    for line in bad[:200]:
        print(json.dumps(line))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
