"""What a file of a run names is a name beside it: paths in it are not followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasbench_snas.errors import CheckpointError, ConfigError
from nasbench_snas.evaluate.load import locate
from nasbench_snas.retrain.plan import stored_retraining
from nasbench_snas.runs.named import named_in
from nasbench_snas.settings.run import Choice, validate

OUTSIDE = ["../elsewhere", "..", "/etc", "a/../../elsewhere", ".", "", "a\0b", "a/b"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_is_refused_and_a_name_is_taken(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not followed"):
        named_in(tmp_path, name)
    assert named_in(tmp_path, "snas-x-s0-12345678").path.parent == tmp_path


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp/elsewhere"])
def test_the_twin_of_a_retraining_lies_beside_it(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "_retrain" / "x"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("name = 'x'\n")
    (folder / "result.json").write_text(json.dumps({"taken_from": name}))
    with pytest.raises(CheckpointError, match="not followed"):
        locate(tmp_path / "runs", "x")


def test_the_search_of_a_retraining_lies_in_the_store(tmp_path: Path) -> None:
    from nasbench_snas.architecture.text import load_genotype
    from nasbench_snas.registry import Registry
    from nasbench_snas.retrain.plan import Target, plan_retraining
    from nasbench_snas.settings.toml import to_toml

    target = Target("x", load_genotype("snas-mild"))
    plan = plan_retraining(Registry(), target, preset="smoke")
    config = plan.config.model_copy(update={"parent": "../outside"})
    folder = tmp_path / "runs" / "_retrain" / "x"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(config, {}))
    with pytest.raises(CheckpointError, match="not followed"):
        stored_retraining(tmp_path / "runs", "x")


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a\x1b[2Jb"])
def test_a_name_in_settings_cannot_lead_to_another_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="part of a folder's name"):
        validate({"estimator": {"name": name}, "space": {"name": "snas-unit"}})
    with pytest.raises(ConfigError, match="part of a folder's name"):
        validate({"estimator": {"name": "snas"}, "space": {"name": "snas-unit"}, "preset": name})
    assert Choice(name="stochastic-softmax.2").name
