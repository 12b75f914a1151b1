"""How long retrainings will take: from finished ones near them on this device, or unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Make

from nasbench_snas.registry import Registry
from nasbench_snas.retrain.estimate import RetrainTimes, steps_of, work_of
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.runner import retrain_folder
from nasbench_snas.runs.folder import SCHEMA_VERSION
from nasbench_snas.settings.retrain import RetrainConfig
from nasbench_snas.settings.toml import to_toml


def finished(root: Path, config: RetrainConfig, seconds_a_step: float, **other: object) -> None:
    """A retraining that has finished, as far as estimates look at it."""
    folder, steps = retrain_folder(root, config), steps_of(config)
    folder.path.mkdir(parents=True)
    folder.config_file.write_text(to_toml(config, {}))
    work = work_of(Registry(), config)
    assert steps is not None and work is not None
    result = {
        "steps": steps,
        "wall_s": seconds_a_step * steps,
        "device_name": "cpu",
        "macs": work / config.training.batch_size,
        **other,
    }
    folder.write_result({"schema_version": SCHEMA_VERSION, **result}, "done")


def test_steps_and_work_are_those_of_the_training(tiny: Make) -> None:
    config = tiny(**{"data.max_train_images": 40})
    work = Retraining(config, Registry())
    assert steps_of(config) == work.steps_per_epoch * work.epochs
    assert work_of(Registry(), config) == work.cost.macs * 16


def test_a_retraining_is_estimated_from_finished_ones_near_it(tmp_path: Path, tiny: Make) -> None:
    def seconds(config: RetrainConfig) -> float | None:
        found = RetrainTimes(Registry(), tmp_path, "cpu").expected(config)
        return None if found is None else found.seconds

    small, large = tiny(), tiny(**{"network.channels": 4})
    far = tiny(**{"network.channels": 16})
    assert seconds(small) is None
    finished(tmp_path, small, 0.5)
    works = [work_of(Registry(), config) or 0.0 for config in (small, large, far)]
    assert works[1] < 4 * works[0] < works[2]
    steps = steps_of(small) or 0
    assert seconds(small) == pytest.approx(0.5 * steps)
    assert seconds(tiny(seed=1, **{"training.epochs": 4})) == pytest.approx(steps)
    assert seconds(large) == pytest.approx(0.5 * (works[1] / works[0]) ** 0.5 * steps)
    assert seconds(far) is None, "too far to be scaled"
    assert seconds(tiny(**{"training.amp": "bf16"})) is None, "another precision"
    assert RetrainTimes(Registry(), tmp_path, "another device").expected(small) is None
    told = RetrainTimes(Registry(), tmp_path, "cpu").told(small)
    assert told == "about 3 s (from 1 finished run on cpu)"


def test_what_several_processes_took_together_says_nothing_of_one(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path, tiny(), 0.5, n_devices=4)
    assert RetrainTimes(Registry(), tmp_path, "cpu").expected(tiny()) is None
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert RetrainTimes(Registry(), tmp_path, "cpu").expected(tiny()) is not None


def test_a_damaged_retraining_is_left_out(tmp_path: Path, tiny: Make) -> None:
    finished(tmp_path, tiny(), 0.5)
    finished(tmp_path, tiny(seed=1), 0.5, macs=None)
    folder = retrain_folder(tmp_path, tiny(seed=2))
    folder.path.mkdir()
    folder.config_file.touch()
    (folder.path / "result.json").write_text("torn")
    assert len(RetrainTimes(Registry(), tmp_path, "cpu").measured) == 1
