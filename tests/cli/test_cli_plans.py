"""A dry run refuses what the run refuses, and what is refused leaves no folder."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nasbench_snas.cli._options import Seconds
from nasbench_snas.cli.main import main, nasbench

TINY = [
    *("--set", "data.dataset=fake", "--set", "data.fake.train_images=64"),
    *("--set", "search.epochs=1", "--set", "search.batch_size=16", "--set", "space.cells=1"),
    *("--set", "space.channels=2", "--set", "child.samples=1"),
    *("--set", "child.recalibration_images=16"),
]
SNAS = ["run", "-e", "snas", "-s", "darts-cnn", *TINY]
REFUSED = {
    "too many architectures": ["run", "-e", "exact", "-s", "darts-cnn", *TINY],
    "no images": [*SNAS[:5], "--dataset", "cifar10", "--data-root", "nowhere"],
    "too few pixels": [*SNAS, "--set", "space.cells=20", "--set", "data.resolution=2"],
    "no such backend": [*SNAS, "--kernels", "triton"],
    "no such device": [*SNAS, "--device", "cuda:63"],
    "a policy where one pass trains all": [*SNAS, "--theta-policy", "uniform"],
    "nothing to select by": [*SNAS, "--derive", "shapley", "--set", "child.selection_fraction=0"],
    "a batch above the images": [*SNAS, "--set", "search.batch_size=4096"],
    "above the budget": ["retrain", "snas-mild", "--set", "network.max_macs=1000"],
    "cells of no published network": ["retrain", "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"],
}


def code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


@pytest.mark.parametrize("name", REFUSED)
def test_a_dry_run_and_the_run_end_alike_and_leave_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--root", "runs", *(a.replace("{}", "nor_conv_5x5") for a in REFUSED[name])]
    dry = code([*arguments, "--dry-run"])
    said = capsys.readouterr().err
    assert dry in (2, 3) and "Error:" in said
    assert code(arguments) == dry
    assert capsys.readouterr().err.splitlines()[-1] == said.splitlines()[-1]
    assert not [p for p in tmp_path.rglob("*") if p.parent.name in ("runs", "_retrain")]


def test_a_dry_run_of_what_runs_says_so_and_writes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert code(["--root", str(root), *SNAS, "--dry-run"]) == 0
    assert not root.exists()


@pytest.mark.parametrize("dry", [True, False])
def test_a_sweep_with_one_impossible_run_starts_none(dry: bool, tmp_path: Path) -> None:
    names = ["--estimators", "snas,exact", "--seeds", "0-1"]
    command = ["-q", "--root", str(tmp_path), "sweep", *names, *TINY]
    assert code([*command, *(["--dry-run"] if dry else [])]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("15m", 900.0), ("1.5h", 5400.0), ("2d", 172_800.0)]
)
def test_a_time_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["m", "-1m", "infm", "1 year", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Seconds().convert(text, None, None)


@pytest.mark.parametrize("name", ["run", "sweep", "report", "gradients", "draw"])
def test_the_help_ends_with_three_examples_that_can_be_parsed(name: str) -> None:
    text = CliRunner().invoke(nasbench, [name, "--help"]).output
    examples = [line.strip() for line in text.partition("Examples:")[2].splitlines()]
    examples = [line for line in examples if line]
    assert len(examples) == 3 and all(line.startswith("nasbench ") for line in examples)
    command = nasbench.get_command(click.Context(nasbench), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts} | {"--root"}
    for line in examples:
        words = line.split()
        assert name in words
        assert {word for word in words if word.startswith("-")} <= known, line


def test_a_plug_in_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["--plugin", "nofile.py", "ls", "spaces"]) == 2
    assert "nofile.py: there is no such file" in capsys.readouterr().err


def test_a_measured_time_is_said_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    assert code(["--root", str(root), *SNAS, "--measure"]) == 0
    assert "measured: about" in capsys.readouterr().out
    assert not root.exists()
