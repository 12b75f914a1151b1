"""``nasbench ls runs``: filters, narrow terminals, watching; what a run shows off a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from nasbench_snas.cli import _run_display, _runs_listing
from nasbench_snas.cli._hook import run_hook
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.plan import plan_run

CONFIG = """preset = "smoke"
constraint = "none"
seed = {seed}
[estimator]
name = "{estimator}"
[space]
name = "darts-cnn"
[data]
dataset = "digits"
[search]
epochs = 20
level = "joint"
"""


def run(root: Path, estimator: str, seed: int, status: Any, reason: str = "") -> RunFolder:
    folder = RunFolder(root / f"{estimator}-darts-cnn-smoke-s{seed}")
    folder.path.mkdir(parents=True)
    folder.config_file.write_text(CONFIG.format(estimator=estimator, seed=seed))
    folder.set_status(status, reason)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    run(tmp_path, "snas", 0, "interrupted")
    run(tmp_path, "snas", 1, "failed", "a reason that is much longer than a narrow terminal " * 3)
    run(tmp_path, "darts", 0, "interrupted")
    return tmp_path


def listed(root: Path, *words: str) -> list[str]:
    result = CliRunner().invoke(nasbench, ["--root", str(root), "ls", "runs", "--json", *words])
    assert result.exit_code == 0, result.output
    return sorted(row["run_id"] for row in json.loads(result.output or "[]"))


def test_runs_are_filtered_by_what_they_are(store: Path) -> None:
    assert len(listed(store)) == 3
    assert [r[:5] for r in listed(store, "-e", "darts")] == ["darts"]
    assert len(listed(store, "--status", "interrupted,failed", "-s", "darts-cnn")) == 3
    assert len(listed(store, "--status", "failed", "--dataset", "digits")) == 1
    assert len(listed(store, "--seed", "1", "-e", "snas,darts")) == 1
    assert len(listed(store, "--name", "darts-darts")) == 1
    assert listed(store, "--dataset", "cifar10") == []
    result = CliRunner().invoke(nasbench, ["--root", str(store), "ls", "--dataset", "cifar10"])
    assert "with dataset cifar10" in result.output


def test_a_status_that_there_is_not_and_a_filter_of_other_things_are_refused(store: Path) -> None:
    session: Any = SimpleNamespace(root=store)
    with pytest.raises(ConfigError, match="unknown status 'fail'"):
        _runs_listing.rows(session, {"status": ("fail",)})
    result = CliRunner().invoke(nasbench, ["ls", "spaces", "-e", "snas"])
    assert isinstance(result.exception, ConfigError)


@pytest.mark.parametrize("width", [120, 80, 50, 30])
def test_a_listing_is_as_wide_as_the_terminal_and_cuts_no_name(store: Path, width: int) -> None:
    session: Any = SimpleNamespace(root=store)
    found = _runs_listing.rows(session, {})
    lines = _runs_listing.fitted([_runs_listing._shown(row) for row in found], width)
    names = [row["run_id"] for row in found]
    assert all(len(line) <= max(width, max(map(len, names)) + 2) for line in lines)
    assert all(any(name in line for line in lines) for name in names)
    assert "failed" in " ".join(lines)
    short = _runs_listing.frame(found, {}, width, 4)
    assert len(short) == 4 and "more lines" in short[-1]


def test_a_living_run_shows_the_part_of_its_epoch_and_the_time_left(tmp_path: Path) -> None:
    folder = run(tmp_path, "snas", 0, "running")
    (folder.path / "lock.json").write_text('{"host": "elsewhere"}')
    session: Any = SimpleNamespace(root=tmp_path)
    for step, epochs in ((27, "6/20"), (6, "4/20")):  # of 90; an old record shows no fewer epochs
        told = {"step": step, "total_steps": 90, "left_s": 7200.0}
        (folder.path / "progress.json").write_text(json.dumps(told))
        (row,) = _runs_listing.rows(session, {})
        shown = _runs_listing._shown(row)
        assert (shown["status"], shown["epoch"], shown["left"]) == ("running", epochs, "2.0 h")
        folder.append_event({"kind": "epoch", "epoch": 4})


def test_watching_tells_every_change_once(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(seconds: float) -> None:
        RunFolder(store / "darts-darts-cnn-smoke-s0").set_status("failed", "no disk")

    session: Any = SimpleNamespace(root=store)
    _runs_listing.watch(session, {"estimator": ("darts",)}, looks=3, pause=change)
    first, second = capsys.readouterr().out.splitlines()
    assert "interrupted" in first and "failed" in second and "no disk" in second


def test_the_banner_says_what_this_run_is() -> None:
    plan = plan_run(Registry(), "snas", "darts-cnn", assignments=["data.dataset=fake"])
    told = _run_display._in_words(plan, 5, 900.0)
    for part in ("snas on darts-cnn", "4 channels", "fake (8x8, 3 channels)", "5 of 20 epochs"):
        assert part in told
    assert "at most 15.0 min" in told


def test_a_long_epoch_tells_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    console = SimpleNamespace(print=lines.append)
    session: Any = SimpleNamespace(quiet=False, console=lambda: console)
    plan: Any = SimpleNamespace()
    display = _run_display.RunDisplay(session, plan, RunFolder(tmp_path), "cpu")
    step = {"kind": "step", "epoch": 3, "step": 30, "total_steps": 90, "left_s": 7200.0}
    display.event(step)
    assert lines == [], "not after every step"
    monkeypatch.setattr(_run_display, "_EVERY_SECONDS", 0.0)
    display.event(step)
    assert lines == ["  in epoch 3: step 30/90  about 2.0 h left"]


def test_the_hook_is_told_what_became_of_a_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    hook = f'cat > {out}; echo "$NASBENCH_FINISHED $NASBENCH_FAILED $NASBENCH_EXIT_CODE" >> {out}'
    run_hook(hook, root="runs", finished=3, failed=1, code=4)
    assert out.read_text() == "sweep in runs: 3 finished, 1 failed, exit code 4\n3 1 4\n"
    run_hook("exit 7", root="runs", finished=0, failed=0, code=0)
    assert "--on-finish ended with code 7" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [None, KeyboardInterrupt()])
def test_a_sweep_runs_its_hook_also_when_it_is_stopped(
    stop: BaseException | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(executor: Any, tasks: Any, *, report: Any, **options: Any) -> None:
        report.succeeded.append("a")
        if stop is not None:
            raise stop

    monkeypatch.setattr("nasbench_snas.executors.sweep.execute", execute)
    monkeypatch.setattr("nasbench_snas.executors.sweep.check_sweep", lambda *a, **k: ())
    out = tmp_path / "out"
    words = ["--root", str(tmp_path), "sweep", "--estimators", "snas", "--on-finish"]
    CliRunner().invoke(nasbench, [*words, f'echo "$NASBENCH_EXIT_CODE" > {out}'])
    assert out.read_text() == ("0\n" if stop is None else "130\n")


def test_filters_take_ranges_of_seeds_and_spaces_and_refuse_what_is_empty(store: Path) -> None:
    assert len(listed(store, "--seed", "0-1")) == 3
    assert len(listed(store, "-e", "snas, darts")) == 3
    for words in (["--seed", "x"], ["--name", "darts,"], ["--status", ""], ["-e", ","]):
        result = CliRunner().invoke(nasbench, ["--root", str(store), "ls", "runs", *words])
        assert isinstance(result.exception, ConfigError), words
