"""The command line: errors with their mend, exit codes, listings, settings, plain output."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from nasbench_snas.cli._run_display import RunDisplay
from nasbench_snas.cli.main import Session, main, nasbench
from nasbench_snas.errors import EXIT_MEANINGS, ConfigError
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.schema import COLUMNS
from nasbench_snas.settings.seed_list import parse_seeds

TINY = [
    "data.dataset=fake",
    "data.fake.train_images=64",
    "search.epochs=1",
    "search.batch_size=16",
    "space.nodes=1",
    "space.cells=1",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=16",
]


def settings() -> list[str]:
    return [word for setting in TINY for word in ("--set", setting)]


def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nasbench_snas", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NASBENCH_KERNELS": "reference"},
        check=False,
    )


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(nasbench, arguments)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", [0]), ("0,3,7", [0, 3, 7]), ("0-3", [0, 1, 2, 3]), ("5,0-2,1", [5, 0, 1, 2])],
)
def test_seeds_are_read_in_every_documented_form(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1,,2"])
def test_unreadable_seeds_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot read seeds"):
        parse_seeds(text)


def test_one_run_from_the_command_line_to_its_listing(tmp_path: Path) -> None:
    root = ["--root", str(tmp_path)]
    result = call(*root, "run", "-e", "snas", "-s", "darts-cnn", *settings())
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout  # no colour and no cursor control in a pipe
    assert "child  argmax:" in result.stdout
    assert "next: nasbench report" in result.stdout
    (folder,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    names = {p.name for p in folder.iterdir()}
    assert {
        "config.toml",
        "env.json",
        "env.freeze.txt",
        "events.jsonl",
        "result.json",
        "status.json",
        "genotype.json",
        "alpha.npz",
        "run.log",
        "checkpoints",
    } <= names
    (row,) = json.loads(invoke(*root, "ls", "runs", "--json").output)
    assert (row["run_id"], row["stage"], row["status"]) == (folder.name, "search", "done")
    assert (row["epochs_done"], row["epochs_planned"]) == (1, 1)
    assert set(row) <= set(COLUMNS) | {"updated", "note", "left_s"}
    header, line = invoke(*root, "ls", "runs").output.splitlines()
    assert header.split()[:4] == ["RUN", "STAGE", "STATUS", "EPOCH"]
    assert line.split()[:4] == [folder.name, "search", "done", "1/1"]
    log = (folder / "run.log").read_text()
    assert "INFO parent:" in log  # whatever the terminal shows
    shown = invoke(*root, "show", folder.name)
    assert shown.exit_code == 0
    for word in ("soft", "hard", "mean", "argmax", "top2", "inherited", "recalibrated", "command:"):
        assert word in shown.output
    assert "no difference" in invoke(*root, "config", "diff", folder.name, folder.name).output


def test_a_quiet_run_prints_its_result_only(tmp_path: Path) -> None:
    root = ["-q", "--root", str(tmp_path)]
    result = call(*root, "run", "-e", "random", "-s", "darts-cnn", *settings())
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.strip().splitlines()) == 2


def test_a_finished_run_does_not_answer_for_another_folder_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "cache"))
    for tree, classes in (("one", "ab"), ("other", "xy")):
        for name in classes:
            folder = tmp_path / tree / "train" / name
            folder.mkdir(parents=True)
            for number in range(20):
                Image.new("RGB", (8, 8), (number * 12, 0, 0)).save(folder / f"{number}.png")
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    words = ["-q", "--root", str(tmp_path / "runs"), "run", "-e", "random", "-s", "darts-cnn"]
    words += [
        *settings(),
        "--set",
        "data.dataset=imagefolder",
        "--kernels",
        "reference",
        "--data-root",
    ]
    for tree, code in (("one", 0), ("moved", 0), ("other", 0)):
        with pytest.raises(SystemExit) as stop:
            main([*words, str(tmp_path / tree)])
        assert stop.value.code == code, capsys.readouterr().err
    runs = list((tmp_path / "runs").glob("random-*"))
    assert len(runs) == 2, "a moved tree is the same images, another tree is not"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    result = invoke("--root", str(root), "run", "-e", "snas", "-s", "darts-cnn", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "new" in result.output
    assert "epochs = 20  # preset smoke" in result.output
    assert not root.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["rn"], 2, "Did you mean 'run'"),
        (["run", "-e", "snass", "-s", "darts-cnn"], 2, "Did you mean 'snas'"),
        (["run", "-e", "snas", "-s", "darts"], 2, "Did you mean 'darts-cnn'"),
        (["run", "-s", "darts-cnn"], 2, "--estimator is missing"),
        (["run", "-e", "snas", "-s", "darts-cnn", "-p", "smok"], 2, "Did you mean 'smoke'"),
        (
            ["run", "-e", "snas", "-s", "darts-cnn", "--set", "search.epoch=1"],
            2,
            "Did you mean 'search.epochs'",
        ),
        (
            ["run", "-e", "snas", "-s", "darts-cnn", "--set", "estimator.tau=1"],
            2,
            "unknown setting estimator.tau",
        ),
        (
            ["run", "-e", "snas", "-s", "darts-cnn", "--set", "space.operations=['pool']"],
            2,
            "unknown operation 'pool'",
        ),
        (["run", "-e", "snas", "-s", "darts-cnn", "--device", "tpu"], 2, "device"),
        (["run", "-e", "snas", "-s", "darts-cnn", "--device", "cuda:99"], 3, "no device"),
        (
            ["run", "-e", "snas", "-s", "darts-cnn", "--dataset", "cifar10"],
            3,
            "nasbench data prepare cifar10",
        ),
        (["run", "--resume", "nothing"], 2, "matches no run"),
        (["run", "--resume", "nothing", "--set", "search.epochs=9"], 2, "--set cannot be given"),
        (["run", "-e", "snas", "-s", "darts-cnn", "--max-epochs", "0"], 2, "--max-epochs"),
        (["--root", "/dev/null/runs", "run", "-e", "random", "-s", "darts-cnn"], 1, "cannot write"),
        (["show", "nothing"], 2, "matches no run"),
        (["data", "verify", "cifar10"], 3, "nasbench data prepare cifar10"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_say_what_is_wrong_and_how_to_mend_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["--root", str(tmp_path / "runs"), *arguments])
    assert stop.value.code == code
    text = capsys.readouterr().err
    assert message in text
    assert "Traceback" not in text


def test_vv_shows_the_traceback_of_an_error(tmp_path: Path) -> None:
    result = call("-vv", "run", "-e", "snass", "-s", "darts-cnn", cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" in result.stderr


def test_an_unexpected_error_is_one_too_and_vv_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of a kind")

    monkeypatch.setattr("nasbench_snas.settings.presets.preset_names", fail)
    for option, traceback in (("-v", False), ("-vv", True)):
        with pytest.raises(SystemExit) as stop:
            main([option, "ls", "presets"])
        assert stop.value.code == 1
        text = capsys.readouterr().err
        assert "Error: ZeroDivisionError: of a kind" in text
        assert ("Traceback" in text) == traceback


def test_json_logs_are_one_object_a_line_whatever_the_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--log-format", "json", "ls", "presets"])
    capsys.readouterr()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("nasbench_snas").warning('a "quoted" word', exc_info=True)
    values = json.loads(capsys.readouterr().err)
    assert values["message"] == 'a "quoted" word'
    assert "two" in values["traceback"]


def test_the_bar_shows_accuracy_entropy_and_temperature(tmp_path: Path) -> None:
    display = RunDisplay(Session(tmp_path, 0, 0, (), ()), None, RunFolder(tmp_path), "cpu")  # type: ignore[arg-type]
    shown: list[str] = []
    display._progress = SimpleNamespace(update=lambda task, *, now, **_: shown.append(now))
    display._latest = {"search_acc": 31.25, "entropy": 2.0}
    step = {"kind": "step", "step": 3, "total_steps": 9, "train_loss": 1.5, "temperature": 0.5}
    display.event(step)
    assert shown == ["acc 31.25  entropy 2.000  temp 0.500"]


def test_the_exit_codes_are_in_the_help_text() -> None:
    text = " ".join(invoke("--help").output.split())
    for code, meaning in EXIT_MEANINGS.items():
        assert f"{code.value} {meaning}" in text


def test_every_command_has_a_line_of_help() -> None:
    for name in nasbench.list_commands(None):  # type: ignore[arg-type]
        result = invoke(name, "--help")
        assert result.exit_code == 0, name
        assert len(result.output.splitlines()) > 3


def test_the_schema_describes_every_setting() -> None:
    lines = invoke("config", "schema").output.splitlines()
    assert len(lines) > 40
    assert not [line for line in lines if len(line.split(None, 1)) < 2]
