"""``nasbench retrain``: runs, skips, takes over, refuses, and says what it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError, GenotypeError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder, write_atomic, write_json
from nasbench_snas.search.plan import plan_run
from nasbench_snas.settings.toml import to_toml

TINY = (
    "data.max_train_images=64",
    "network.channels=2",
    "training.epochs=1",
    "training.drop_path=0.2",
)


def call(root: Path, *arguments: str, tiny: bool = True) -> Result:
    settings = [part for value in TINY if tiny for part in ("--set", value)]
    return CliRunner().invoke(nasbench, ["--root", str(root), *arguments, *settings])


def search(root: Path, seed: int, accuracy: float, preset: str = "smoke") -> str:
    plan = plan_run(Registry(), "snas", "darts-cnn", seed=seed, preset=preset)
    folder = RunFolder(root / plan.run_id)
    write_atomic(folder.config_file, to_toml(plan.config, {}))
    write_atomic(folder.path / "genotype.json", zoo("snas-mild").to_json())
    result: dict[str, Any] = {
        "search_valid_acc": accuracy,
        "truncated": False,
        "estimator": "snas",
        "seed": seed,
        "preset": preset,
        "stage": "search",
    }
    write_json(folder.path / "result.json", result)
    folder.set_status("done")
    return plan.run_id


def results(root: Path) -> dict[str, dict[str, Any]]:
    files = sorted((root / "_retrain").glob("*/result.json"))
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def test_every_seed_is_trained_and_the_best_of_them_is_taken_over(tmp_path: Path) -> None:
    runs = [search(tmp_path, seed, accuracy) for seed, accuracy in enumerate((60.0, 70.0))]
    each = call(tmp_path, "retrain", *runs)
    assert each.exit_code == 0, each.output
    assert each.output.count("test error, last epoch") == 2
    best = call(tmp_path, "retrain", "--select", "snas/darts-cnn")
    assert best.exit_code == 0, best.output
    assert "chosen as best of 2 by search validation accuracy" in best.output
    assert "taken over from" in best.output
    found = results(tmp_path)
    kinds = [(r["selection"], r["parent_id"]) for r in found.values()]
    assert sorted(kinds) == [
        ("best of n", runs[1]),
        ("each seed", runs[0]),
        ("each seed", runs[1]),
    ]
    again = call(tmp_path, "retrain", runs[0])
    assert "finished before" in again.output and len(results(tmp_path)) == 3
    shown = call(tmp_path, "show", next(iter(found)), tiny=False)
    assert shown.exit_code == 0 and "test error, last epoch" in shown.output


def test_a_dry_run_writes_nothing_and_shows_where_each_value_comes_from(tmp_path: Path) -> None:
    run = search(tmp_path, 0, 60.0)
    shown = call(tmp_path, "retrain", run, "-p", "paper", "--seeds", "0-1", "--dry-run", tiny=False)
    assert shown.exit_code == 0, shown.output
    assert f'dataset = "digits"  # run {run}' in shown.output
    assert "epochs = 600  # preset paper" in shown.output
    assert shown.output.count(f"{run}-r") == 2
    assert not (tmp_path / "_retrain").exists()


def test_the_preset_is_the_searchs_unless_chosen(tmp_path: Path) -> None:
    run = search(tmp_path, 0, 60.0, preset="small")
    shown = call(tmp_path, "retrain", run, "--dry-run", tiny=False)
    assert "epochs = 20  # preset small" in shown.output
    zoo_cell = call(tmp_path, "retrain", "snas-mild", "--dry-run", tiny=False)
    assert "preset smoke" in zoo_cell.output
    named = call(tmp_path, "retrain", "snas-mild", "-p", "retrain-paper", "--dry-run", tiny=False)
    assert "epochs = 600  # preset paper" in named.output


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["retrain"], ConfigError, "nothing to retrain"),
        (["retrain", "snas-mile"], GenotypeError, "Did you mean 'snas-mild'"),
        (["retrain", "--select", "snas"], ConfigError, "is not ESTIMATOR/SPACE"),
        (["retrain", "snas-mild", "-p", "papper"], ConfigError, "Did you mean 'paper'"),
        (["retrain", "snas-mild", "--set", "training.epoch=1"], ConfigError, "training.epochs"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, arguments: list[str], error: type[Exception], words: str
) -> None:
    found = call(tmp_path, *arguments, tiny=False)
    assert isinstance(found.exception, error)
    assert words in str(found.exception)


def test_a_network_over_budget_is_refused_before_training_and_trained_when_allowed(
    tmp_path: Path,
) -> None:
    arguments = ("retrain", "snas-mild", "--set", "network.max_macs=1000")
    refused = call(tmp_path, *arguments)
    assert isinstance(refused.exception, ConfigError)
    assert "M multiply-adds" in str(refused.exception)
    assert not list(tmp_path.glob("_retrain/*/config.toml"))
    allowed = call(tmp_path, *arguments, "--allow-over-budget")
    assert allowed.exit_code == 0, allowed.output
    assert "above the limit on multiply-adds" in allowed.output
    (result,) = results(tmp_path).values()
    assert result["over_budget"]


def test_a_folder_with_quotes_in_its_name_arrives_as_it_is(tmp_path: Path) -> None:
    root = str(tmp_path / 'my"own"data')
    shown = call(tmp_path, "retrain", "snas-mild", "--data-root", root, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert f"root = {json.dumps(root)}" in shown.output.replace("\n", "")
