"""A short form of the campaign of kills, fuzzed inputs and damaged folders."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SIZES = {"fuzz": 120, "folders": 1, "data": 2, "kills": 3, "sweeps": 0}


@pytest.mark.slow
def test_nothing_is_wrong_or_unclear_in_a_short_campaign(tmp_path: Path) -> None:
    sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
    command = [sys.executable, str(HERE / "campaign.py"), str(tmp_path), "--seed", "7", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["mismatches"] == counts["unclear"] == 0
    assert counts["fuzzed inputs"] >= 100 and counts["kills"] >= 1
    assert (counts["damaged run folders"], counts["damaged data folders"]) == (1, 2)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def test_the_judge_sees_what_must_not_happen(parts: None) -> None:
    from campaign_judge import Ended, WrongError, judge

    from nasbench_snas.errors import ConfigError

    def refuse() -> None:
        raise ConfigError("no.")

    def wrong() -> None:
        raise WrongError("believed")

    def crash() -> None:
        raise KeyError("x")

    def spin() -> None:
        while True:
            pass

    assert judge(lambda: None).kind == "fine" and judge(refuse).kind == "refused"
    assert "accepted but wrong" in judge(wrong).why and "KeyError at" in judge(crash).why
    import campaign_judge

    seconds = campaign_judge.SECONDS
    campaign_judge.SECONDS = 0.1
    try:
        assert judge(spin).is_bad
    finally:
        campaign_judge.SECONDS = seconds
    assert Ended(1, "Error: no.", 0.1, False, 0).verdict().kind == "refused"
    for ended in (
        Ended(1, "", 0.1, False, 0),
        Ended(1, "Error: KeyError: 'x'\n  This was not expected; -vv", 0.1, False, 0),
        Ended(1, "Traceback (most recent call last):\nKeyError", 0.1, False, 0),
        Ended(0, "", 9.0, False, 0),
        Ended(0, "", 0.1, False, 2 << 30),
        Ended(-signal.SIGSEGV, "", 0.1, False, 0),
    ):
        assert ended.verdict().is_bad, ended


def test_a_moment_to_kill_at_comes_and_mutations_follow_from_their_seed(parts: None) -> None:
    from campaign_judge import forked
    from campaign_kills import killer
    from campaign_mutations import mutated_bytes, mutated_json, mutated_lines, mutated_text

    words = ["cost", "--tables"]
    assert forked(words, killer("random", 0, 0.01)).code == -signal.SIGPROF
    assert forked(words).code == 0
    text = '{"a": [1, 2, {"b": "c"}]}\n{"d": 1.5}\n'
    for make, base in (
        (mutated_text, text),
        (mutated_lines, text),
        (mutated_json, text.splitlines()[0]),
        (mutated_bytes, text.encode()),
    ):
        made = [make(random.Random(seed), base) for seed in range(50)]  # type: ignore[operator]
        assert made == [make(random.Random(seed), base) for seed in range(50)]  # type: ignore[operator]
        assert sum(one != base for one in made) > 35
