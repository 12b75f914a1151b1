"""The suite darts-bench: its plan, totals, what it refuses, and that it goes on."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from nasbench_snas.cli.main import main
from nasbench_snas.errors import ConfigError
from nasbench_snas.executors.suite import (
    LEARNING_RATES,
    SPACES,
    WEIGHT_DECAYS,
    Suite,
    check_suite,
    plan_retrainings,
    plan_suite,
    search_tasks,
)
from nasbench_snas.executors.sweep import SweepRun, SweepSettings
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.plan import best_of
from nasbench_snas.settings.retrain import retraining_from_toml

TWO = ("darts-bench-wide-all-skip", "darts-bench-deep")
FAKE = ("data.dataset=fake", "data.fake.train_images=64")


def planned(root: Path, cells: Any = "best", **changes: Any) -> Suite:
    settings = SweepSettings(
        **{"estimators": ("snas",), "spaces": TWO, "seeds": (0, 1), "set": FAKE, **changes}
    )
    return plan_suite(Registry(), settings, root, cells=cells)


def finish(run: SweepRun, accuracy: float) -> None:
    """Leave the folder of a search as if it had finished."""
    from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
    from nasbench_snas.settings.toml import to_toml

    config, folder = run.plan.config, run.folder
    folder.path.mkdir(parents=True)
    folder.config_file.write_text(to_toml(config, run.plan.sources))
    (folder.path / "status.json").write_text(json.dumps({"status": "done", "updated": 1.0}))
    cell = CellGenotype(2, 1, (Edge("sep_conv_3x3", 0, 2), Edge("skip_connect", 1, 2)), (2,))
    space = {"name": config.space.name, "settings": config.space.parameters}
    if config.space.name.endswith("all-skip"):
        space["auxiliary_skip"] = True
    genotype = Genotype({"normal": cell, "reduce": cell}, run.plan.run_id, space)
    (folder.path / "genotype.json").write_text(genotype.to_json())
    result = {"schema_version": 3, "search_valid_acc": accuracy, "truncated": False}
    (folder.path / "result.json").write_text(json.dumps({**result, "stage": "search"}))


def test_searches_have_the_suites_settings_unless_the_user_gives_others(tmp_path: Path) -> None:
    suite = planned(tmp_path)
    assert [run.plan.config.space.name for run in suite.runs] == [TWO[0]] * 2 + [TWO[1]] * 2
    config = suite.runs[0].plan.config
    assert (config.search.level, config.child.rule, config.search.epochs) == ("bilevel", "top2", 5)
    other = planned(tmp_path, set=(*FAKE, "search.level=joint", "search.epochs=2"))
    config = other.runs[0].plan.config
    assert (config.search.level, config.search.epochs, config.child.rule) == ("joint", 2, "top2")
    paper = planned(tmp_path, preset="paper").runs
    assert [run.plan.config.search.batch_size for run in paper] == [96, 96, 64, 64]
    assert {run.plan.config.search.epochs for run in paper} == {100}
    sizes = [run.plan.config.space.parameters for run in paper[::2]]
    assert [(s["channels"], s["cells"], s["nodes"]) for s in sizes] == [(18, 4, 4), (7, 18, 4)]
    assert (suite.num_retrainings, planned(tmp_path, "each").num_retrainings) == (18, 36)
    whole = planned(tmp_path, spaces=SPACES, estimators=("snas", "darts"), seeds=(0, 1, 2))
    assert (len(whole.runs), whole.num_retrainings) == (54, 162)


def test_the_best_seeds_cell_is_retrained_nine_times_in_its_own_network(tmp_path: Path) -> None:
    suite = planned(tmp_path)
    assert len(search_tasks(suite, tmp_path, (), ())) == 4
    found, without = plan_retrainings(Registry(), suite, tmp_path)
    assert not found and len(without) == 2
    finish(suite.runs[0], 40.0)
    assert not plan_retrainings(Registry(), suite, tmp_path)[0], "a seed is missing"
    finish(suite.runs[1], 60.0)
    found, without = plan_retrainings(Registry(), planned(tmp_path), tmp_path)
    assert len(found) == 9 and without == [
        "snas in darts-bench-deep: 2 of 2 searches are not finished"
    ]
    assert len(search_tasks(planned(tmp_path), tmp_path, (), ())) == 2
    best = suite.runs[1].plan.run_id
    assert all(one.name.startswith(f"{best}-r0-") and one.status == "new" for one in found)
    lines = [" ".join(one.task.arguments) for one in found]
    sizes = suite.runs[0].plan.config.space.parameters
    for line, (rate, decay) in zip(lines, product(LEARNING_RATES, WEIGHT_DECAYS), strict=True):
        assert f"training.lr={rate} --set training.weight_decay={decay}" in line
        assert f"network.channels={sizes['channels']} --set network.cells={sizes['cells']}" in line
        assert "network.auxiliary=0.0" in line
        assert f"--best-of {suite.runs[0].plan.run_id},{best}" in line
    each, _ = plan_retrainings(Registry(), planned(tmp_path, "each"), tmp_path)
    assert len(each) == 18


def test_the_commands_make_the_planned_runs_with_auxiliary_skips_and_are_not_repeated(
    tmp_path: Path,
) -> None:
    suite = planned(tmp_path)
    for run, accuracy in zip(suite.runs[:2], (60.0, 40.0), strict=True):
        finish(run, accuracy)
    suite = plan_suite(
        Registry(),
        SweepSettings(estimators=("snas",), spaces=TWO[:1], seeds=(0, 1), set=FAKE),
        tmp_path,
        assignments=("training.epochs=1", "training.batch_size=64"),
    )
    found, _ = plan_retrainings(Registry(), suite, tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(list(found[0].task.arguments))
    assert ended.value.code == 0
    again, _ = plan_retrainings(Registry(), suite, tmp_path)
    assert [one.name for one in again] == [one.name for one in found]
    assert [one.is_done for one in again] == [True] + [False] * 8
    config = retraining_from_toml(found[0].folder.config_file.read_text())
    assert config.network.auxiliary_skip and config.selection == "best of n"
    assert config.candidates == (
        f"{suite.runs[0].plan.run_id}: 60.0000",
        f"{suite.runs[1].plan.run_id}: 40.0000",
    )


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'darts-bench'"):
        check_suite("dart-bench", "smoke", ())
    with pytest.raises(ConfigError, match="is not of the suite"):
        check_suite("darts-bench", "smoke", ("darts-cnn",))
    with pytest.raises(ConfigError, match="has no retraining"):
        check_suite("darts-bench", "mine", ())
    suite = planned(tmp_path)
    for run in suite.runs:
        finish(run, 50.0)
    with pytest.raises(ConfigError, match="differ in more than the seed"):
        best_of(run.folder for run in suite.runs)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--cells", "each", "--estimators", "snas"])
    assert ended.value.code == 2
