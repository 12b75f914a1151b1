"""Retraining settings: the paper's numbers, identities, budgets, choosing among seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.errors import CheckpointError, ConfigError, GenotypeError
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.network import check_budget, network_plan
from nasbench_snas.retrain.plan import Target, best_search, find_target, plan_retraining
from nasbench_snas.runs.folder import RunFolder, write_atomic, write_json
from nasbench_snas.search.plan import plan_run
from nasbench_snas.settings.presets import preset_names
from nasbench_snas.settings.retrain import (
    changed_settings,
    retrain_presets,
    retraining_from_toml,
)
from nasbench_snas.settings.toml import to_toml


def plan(preset: str, name: str = "darts-v2", *assignments: str) -> Any:
    return plan_retraining(
        Registry(), Target(name, zoo(name)), preset=preset, assignments=assignments
    ).config


def test_the_paper_preset_is_table_2_of_the_paper() -> None:
    config = plan("paper")
    training, network = config.training, config.network
    assert (network.skeleton, network.cells, network.channels) == ("cifar", 20, 36)
    assert (training.epochs, training.batch_size) == (600, 96)
    assert (training.lr, training.lr_min, training.schedule) == (0.025, 0.0, "cosine")
    assert (training.momentum, training.weight_decay, training.clip) == (0.9, 3e-4, 5.0)
    assert (training.drop_path, network.auxiliary) == (0.2, 0.4)
    assert training.label_smoothing == 0.0
    assert (config.data.dataset, config.data.augment.cutout) == ("cifar10", 16)
    assert config.stage == "retrain"


def test_the_imagenet_preset_is_table_3_of_the_paper() -> None:
    config = plan("imagenet")
    training, network = config.training, config.network
    assert (network.skeleton, network.cells) == ("imagenet", 14)
    assert (training.epochs, training.batch_size) == (250, 128)
    assert (training.lr, training.schedule, training.decay) == (0.1, "exponential", 0.97)
    assert (training.weight_decay, training.clip) == (3e-5, 5.0)
    assert (training.label_smoothing, network.auxiliary, training.drop_path) == (0.1, 0.4, 0.0)
    assert (config.data.dataset, config.data.lazy, config.data.resolution) == (
        "imagefolder",
        True,
        224,
    )
    assert network.max_macs == 600e6
    assert config.stage == "transfer"


def test_presets_of_retrainings_are_not_presets_of_searches() -> None:
    assert retrain_presets()[:4] == ["smoke", "small", "paper", "imagenet"]
    assert not [name for name in preset_names() if "retrain" in name]


@pytest.mark.parametrize(
    ("name", "channels", "parameters", "macs"),
    [("darts-v2", 48, 4.7188e6, 529.9e6), ("darts-v1", 50, 4.854e6, 547.5e6)],
)
def test_table_3_networks_are_within_the_mobile_limit_and_have_their_published_size(
    name: str, channels: int, parameters: float, macs: float
) -> None:
    config = plan("imagenet", name, f"network.channels={channels}")
    cost = check_budget(config, network_plan(config, (3, 224, 224), 1000, Registry()))
    assert cost.parameters == pytest.approx(parameters, rel=1e-3)
    assert cost.macs == pytest.approx(macs, rel=1e-3)


def test_a_network_above_the_budget_is_refused_with_its_number_unless_allowed() -> None:
    config = plan("imagenet", "darts-v2", "network.channels=60")
    built = network_plan(config, (3, 224, 224), 1000, Registry())
    with pytest.raises(ConfigError, match=r"needs 8\d\d\.\d M multiply-adds.*limit of 600 M"):
        check_budget(config, built)
    assert check_budget(config, built, allow=True).macs > 600e6


def test_settings_survive_their_file_and_a_misspelt_key_is_named() -> None:
    config = plan("small")
    assert retraining_from_toml(to_toml(config, {})) == config
    with pytest.raises(ConfigError, match="Did you mean 'training.epochs'"):
        plan("small", "darts-v2", "training.epoch=3")


def test_what_is_not_the_presets_is_listed_and_choices_are_not() -> None:
    assert changed_settings(plan("paper")) == []
    assert changed_settings(plan("paper", "snas-mild", "training.amp=bf16", "data.root=x")) == []
    assert changed_settings(plan("imagenet", "darts-v1", "network.channels=50")) == []
    changed = plan("paper", "darts-v2", "network.channels=4", "training.epochs=2")
    assert changed_settings(changed) == ["network.channels", "training.epochs"]
    narrow = plan("imagenet", "darts-v2", "data.resolution=32")
    assert changed_settings(narrow) == ["data.resolution"]


def test_speed_never_changes_the_identity_and_training_does(tiny: Any) -> None:
    base = tiny()
    assert tiny(**{"speed.channels_last": True, "speed.compile": "inductor"}).digest() == (
        base.digest()
    )
    assert tiny(**{"training.lr": 0.01}).digest() != base.digest()
    assert tiny(seed=1).run_id().startswith("snas-mild-r1-")
    assert tiny(seed=1).setting() == base.setting()
    assert tiny("darts-v2").setting() == base.setting()
    assert tiny("darts-v2").training_digest() != base.training_digest()


def test_the_way_of_choosing_changes_the_folder_but_not_the_training(tiny: Any) -> None:
    base = tiny()
    chosen = base.model_copy(update={"selection": "best of n", "candidates": ("a: 1", "b: 0")})
    assert chosen.run_id() != base.run_id()
    assert chosen.training_digest() == base.training_digest()


def test_a_target_is_a_zoo_name_a_file_a_text_or_a_run(tmp_path: Path) -> None:
    assert find_target(tmp_path, "SNAS_mild").genotype == zoo("snas-mild")
    file = tmp_path / "my cell.json"
    file.write_text(zoo("darts-v1").to_json())
    assert find_target(tmp_path, str(file)).genotype == zoo("darts-v1")
    assert find_target(tmp_path, zoo("darts-v1").to_json()).genotype == zoo("darts-v1")
    with pytest.raises(GenotypeError, match="neither a run"):
        find_target(tmp_path, "no-such-thing")


def search(
    root: Path, seed: int, accuracy: float | None, status: Any = "done", **more: Any
) -> RunFolder:
    """Write the folder of a search that never ran."""
    values = {"assignments": (), **more}
    planned = plan_run(Registry(), "snas", "darts-cnn", seed=seed, **values)
    folder = RunFolder(root / planned.run_id)
    write_atomic(folder.config_file, to_toml(planned.config, {}))
    folder.set_status(status)
    if accuracy is not None:
        write_atomic(folder.path / "genotype.json", zoo("snas-mild").to_json())
        truncated = status == "truncated"
        write_json(
            folder.path / "result.json",
            {"search_valid_acc": accuracy, "truncated": truncated, "seed": seed},
        )
    return folder


def test_the_best_of_n_is_chosen_by_search_accuracy_and_remembers_all_seeds(
    tmp_path: Path,
) -> None:
    folders = [search(tmp_path, seed, accuracy) for seed, accuracy in enumerate((70.0, 80.0, 80.0))]
    failed = search(tmp_path, 3, None, "diverged")
    search(tmp_path, 4, 99.0, "truncated")
    search(tmp_path, 5, None, "running")
    target = best_search(tmp_path, "snas", "darts-cnn")
    assert target.search == folders[1]
    assert target.candidates == (
        f"{folders[1].run_id}: 80.0000",
        f"{folders[2].run_id}: 80.0000",
        f"{folders[0].run_id}: 70.0000",
        f"{failed.run_id}: diverged",
    )
    config = plan_retraining(Registry(), target).config
    assert (config.selection, config.parent) == ("best of n", folders[1].run_id)
    assert config.data.dataset == "digits"
    named = plan_retraining(Registry(), find_target(tmp_path, folders[1].run_id)).config
    assert (named.selection, named.candidates) == ("each seed", ())


def test_searches_that_differ_in_more_than_the_seed_are_not_compared(tmp_path: Path) -> None:
    search(tmp_path, 0, 70.0)
    other = search(tmp_path, 1, 90.0, assignments=("search.epochs=7",))
    with pytest.raises(ConfigError, match="differ in more than the seed"):
        best_search(tmp_path, "snas", "darts-cnn")
    small = search(tmp_path, 1, 60.0, preset="small")
    found = best_search(tmp_path, "snas", "darts-cnn", preset="small")
    assert found.search == small
    assert other.run_id not in " ".join(found.candidates)
    with pytest.raises(ConfigError, match="no finished search"):
        best_search(tmp_path, "gdas", "darts-cnn")


def test_an_unfinished_search_cannot_be_retrained(tmp_path: Path) -> None:
    folder = search(tmp_path, 0, None, "interrupted")
    with pytest.raises(CheckpointError, match="has no genotype: it is interrupted"):
        find_target(tmp_path, folder.run_id)


def test_cells_of_another_kind_are_trained_in_their_search_space(tmp_path: Path) -> None:
    from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype

    planned = plan_run(Registry(), "snas", "nasbench201", seed=0)
    folder = RunFolder(tmp_path / planned.run_id)
    write_atomic(folder.config_file, to_toml(planned.config, {}))
    space = Registry().space("nasbench201")(**planned.config.space.parameters).build(1, 10, 8)
    cell = space.cells[0]
    operation = next(name for name in space.operations if name.startswith(("conv", "nor")))
    edges = tuple(Edge(operation, i, j) for i, j in cell.edges)
    nodes = cell.num_inputs + cell.num_nodes
    concat = tuple(range(nodes - cell.width, nodes))
    genotype = Genotype({cell.name: CellGenotype(cell.num_inputs, cell.num_nodes, edges, concat)})
    write_atomic(folder.path / "genotype.json", genotype.to_json())
    config = plan_retraining(
        Registry(), find_target(tmp_path, folder.run_id), assignments=["space.channels=16"]
    ).config
    assert config.network.skeleton == "space" and config.space is not None
    built = network_plan(config, (1, 8, 8), 10, Registry())
    assert {layer.channels for layer in built.cells} == {16, 32, 64}
