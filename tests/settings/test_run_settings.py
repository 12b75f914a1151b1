"""Settings: layers, sources, identity, errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.settings.presets import preset_names
from nasbench_snas.settings.run import from_toml, resolve
from nasbench_snas.settings.toml import to_toml


def test_later_layers_override_earlier_ones_and_every_value_knows_its_source(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[search]\nepochs = 7\nbatch_size = 16\n")
    config, sources = resolve("snas", "darts-cnn", file=file, assignments=["search.epochs=9"])
    assert (config.search.epochs, config.search.batch_size) == (9, 16)
    assert sources["search.epochs"] == "--set"
    assert sources["search.batch_size"] == "mine.toml"
    assert sources["data.dataset"] == "preset smoke"
    text = to_toml(config, sources)
    assert "epochs = 9  # --set" in text
    assert "eval_batch_size = 256  # default" in text


def test_the_written_toml_reads_back_as_the_same_settings() -> None:
    plan = plan_run(Registry(), "snas", "darts-cnn", assignments=["cost.target='params=2.8M'"])
    assert from_toml(to_toml(plan.config, plan.sources)) == plan.config


def test_the_paper_preset_has_the_settings_of_the_paper() -> None:
    plan = plan_run(Registry(), "snas", "darts-cnn", preset="paper")
    search, alpha = plan.config.search, plan.config.search.alpha
    assert (search.epochs, search.batch_size, search.level) == (150, 64, "joint")
    theta = search.theta
    assert (theta.lr, theta.lr_min, theta.momentum, theta.weight_decay) == (0.025, 0, 0.9, 3e-4)
    assert (alpha.optimizer, alpha.lr, alpha.betas, alpha.weight_decay) == (
        "adam",
        3e-4,
        (0.5, 0.999),
        1e-3,
    )
    assert plan.config.space.parameters["cells"] == 8
    assert plan.config.space.parameters["channels"] == 16
    assert plan.config.data.dataset == "cifar10"


def test_an_estimators_own_optimiser_beats_the_preset_but_not_the_user() -> None:
    own = plan_run(Registry(), "enas", "darts-cnn")
    assert own.config.search.alpha.lr == pytest.approx(0.0035)
    assert own.sources["search.alpha.lr"] == "estimator"
    user = plan_run(Registry(), "enas", "darts-cnn", assignments=["search.alpha.lr=0.02"])
    assert user.config.search.alpha.lr == 0.02


def test_the_identity_ignores_paths_and_workers_and_sees_everything_else() -> None:
    registry = Registry()
    base = plan_run(registry, "snas", "darts-cnn").run_id
    same = ["data.root='/elsewhere'", "data.workers=7", "checkpoint_seconds=1"]
    assert plan_run(registry, "snas", "darts-cnn", assignments=same).run_id == base
    for change in ("search.epochs=3", "estimator.tau_end=0.5", "space.cells=4", "cost.eta=1"):
        other = plan_run(registry, "snas", "darts-cnn", assignments=[change]).run_id
        assert other != base, change
    assert plan_run(registry, "snas", "darts-cnn", seed=1).run_id != base


def test_writing_a_default_out_does_not_change_the_identity() -> None:
    registry = Registry()
    base = plan_run(registry, "snas", "darts-cnn").run_id
    spelled = ["estimator.tau_start=1", "search.theta.momentum=0.9"]
    assert plan_run(registry, "snas", "darts-cnn", assignments=spelled).run_id == base


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["search.epoch=3"], "Did you mean 'search.epochs'"),
        (["search.epochs=many"], "search.epochs"),
        (["search.epochs=0"], "search.epochs"),
        (["epochs"], "not KEY=VALUE"),
        (["search=3"], "unknown setting 'search'"),
        (["seed.x=1"], "unknown setting 'seed.x'"),
        (["seed=1"], "it is an option: --seed|It is part of the run's name"),
        (["estimator.name=darts"], "--estimator"),
    ],
)
def test_wrong_settings_are_refused_with_their_place(assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve("snas", "darts-cnn", assignments=assignments)


def test_an_unknown_preset_and_an_uncalibrated_constraint_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'smoke'"):
        resolve("snas", "darts-cnn", preset="smok")
    with pytest.raises(ConfigError, match="is not calibrated"):
        resolve("snas", "nasbench201", constraint="mild")


def test_the_presets_are_listed_from_least_to_most_work() -> None:
    assert preset_names() == ["smoke", "small", "paper"]


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        resolve("snas", "snas-unit", assignments=["search.epochs=" + "[" * 3000])
