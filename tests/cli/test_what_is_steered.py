"""Cost targets mean one thing, are said at the start, and do not silently beat a level."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nasbench_snas.cli.main import nasbench
from nasbench_snas.cost.settings import CostSettings, CostTarget
from nasbench_snas.errors import ConfigError, MissingDependencyError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import load_config, plan_run

SIZES = (
    "data.dataset=fake data.fake.channels=1 data.fake.train_images=32 search.epochs=1 "
    "search.batch_size=16 space.nodes=1 space.cells=1 space.channels=2 child.samples=1 "
    "child.recalibration_images=16"
).split()
RUN = ["run", "-e", "snas", "-s", "darts-cnn", *(w for s in SIZES for w in ("--set", s))]


def invoke(root: Path, *words: str) -> Result:
    return CliRunner().invoke(nasbench, ["--root", str(root), *words])


def test_mac_is_refused_with_both_readings_and_read_in_old_runs(tmp_path: Path) -> None:
    answer = invoke(tmp_path, *RUN, "--target-cost", "mac=600M", "--dry-run")
    assert isinstance(answer.exception, ConfigError)
    assert "access=600M" in str(answer.exception) and "macs=600M" in str(answer.exception)
    with pytest.raises(ConfigError, match="access=600M"):
        plan_run(Registry(), "snas", "darts-cnn", assignments=["cost.target=mac=600M"])
    plan = plan_run(Registry(), "snas", "darts-cnn", assignments=["cost.target=access=600M"])
    from nasbench_snas.settings.toml import to_toml

    (tmp_path / "config.toml").write_text(
        to_toml(plan.config, {}).replace("access=600M", "mac=600M")
    )
    old = load_config(tmp_path / "config.toml")
    assert CostTarget.parse(old.cost.target or "").criterion == "access"
    assert old.cost.target == "mac=600M", "its hash, and so its name, stays"


@pytest.mark.parametrize("target", ["params=1e999", "params=0", "params=x", "size=3"])
def test_impossible_targets(tmp_path: Path, target: str) -> None:
    answer = invoke(tmp_path, *RUN, "--target-cost", target, "--dry-run")
    assert isinstance(answer.exception, ConfigError)


@pytest.mark.parametrize(
    "target", [["--target-cost", "share=.5"], ["--set", "cost.target=share=.5"]]
)
def test_a_level_and_a_target_are_refused_together(tmp_path: Path, target: list[str]) -> None:
    answer = invoke(tmp_path, *RUN, "--constraint", "mild", *target, "--dry-run")
    assert isinstance(answer.exception, ConfigError)
    assert "mild" in answer.exception.what and "share=.5" in answer.exception.what


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": "macs=600M"}, "multiply-adds of the whole network to 600,000,000"),
        ({"target": "access=9M"}, "memory access (elements moved)"),
        ({"target": "params=2.8M"}, "parameters of the whole network to 2,800,000"),
        ({"target": "share=0.5"}, "penalty to 0.5"),
        ({"eta": 0.3}, "eta 0.3 times the expected cost"),
        ({}, ""),
    ],
)
def test_what_is_steered_in_words(given: dict[str, Any], said: str) -> None:
    words = CostSettings(**given).steered
    assert said in words and bool(words) == bool(said)


def test_the_start_says_what_is_steered_and_a_finished_run_looks_at_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = invoke(tmp_path, *RUN, "--target-cost", "macs=1k", "--kernels", "reference")
    assert answer.exit_code == 0, answer.output
    assert "eta is adapted to steer the expected multiply-adds" in answer.output
    (folder,) = (p for p in tmp_path.iterdir() if p.is_dir())
    again = [*RUN, "--target-cost", "macs=1k"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = invoke(tmp_path, *again, "--track", "wandb")
    assert isinstance(answer.exception, MissingDependencyError) and "wandb" in answer.exception.what
    monkeypatch.undo()
    answer = invoke(tmp_path, *again, "--kernels", "triton")
    assert isinstance(answer.exception, MissingDependencyError | ConfigError)
    assert "triton" in answer.exception.what
    answer = invoke(tmp_path, *again, "--kernels", "reference")
    assert answer.exit_code == 0 and "plays no part" in answer.output
    shutil.rmtree(folder)
