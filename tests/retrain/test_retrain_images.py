"""Retraining on trees of image files: the ImageNet path at 224x224, and a search before it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.compute.distributed import World
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.evaluate.images import split_batches
from nasbench_snas.evaluate.load import load_trained
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.accuracy import evaluate
from nasbench_snas.retrain.feed import make_feed
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.plan import Target, find_target, plan_retraining
from nasbench_snas.retrain.runner import retrain_folder, run_retraining
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.runner import run_search

MINI = Path(
    os.environ.get("NASBENCH_TEST_IMAGEFOLDER")
    or Path(__file__).parents[3] / "shared" / "data" / "cifar10-mini"
)
needs_mini = pytest.mark.skipif(
    not (MINI / "train").is_dir(),
    reason=f"no image tree at {MINI} (set NASBENCH_TEST_IMAGEFOLDER)",
)
CLASSES, TRAIN, TEST = 6, 2, 1


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of photographs that never were: 6 classes, 12 training and 6 validation images."""
    root = tmp_path_factory.mktemp("tree")
    generator = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("val", TEST)):
        for number in range(CLASSES):
            folder = root / part / f"n{number:08d}"
            folder.mkdir(parents=True)
            for index in range(count):
                coarse = generator.integers(0, 255, (5, 6, 3), dtype=np.uint8)
                image = Image.fromarray(coarse).resize((260 + 10 * index, 240))
                image.save(folder / f"{index}.jpg")
    return root


def imagenet(root: Path, **settings: Any) -> Any:
    values = {
        "data.workers": 0,
        "network.channels": 2,
        "network.cells": 3,
        "training.epochs": 1,
        "training.batch_size": 4,
        "training.eval_batch_size": 4,
        **settings,
    }
    assignments = [f'data.root="{root}"', *(f"{k}={v!r}".lower() for k, v in values.items())]
    target = Target("darts-v2", zoo("darts-v2"))
    return plan_retraining(Registry(), target, preset="imagenet", assignments=assignments).config


@pytest.mark.slow
def test_the_imagenet_path_trains_resumes_and_measures_top_1_and_top_5(
    tree: Path, tmp_path: Path
) -> None:
    config = imagenet(tree)
    folder = retrain_folder(tmp_path, config)

    def stop(event: dict[str, Any]) -> None:
        if event.get("kind") == "step" and event["step"] == 2:
            raise KeyboardInterrupt

    shortened = config.model_copy(update={"checkpoint_seconds": 0.0})
    with pytest.raises(KeyboardInterrupt):
        run_retraining(shortened, Registry(), folder, RunOptions(listeners=(stop,)))
    result = run_retraining(shortened, Registry(), folder, RunOptions())
    assert (result["stage"], result["dataset"]) == ("transfer", "imagefolder")
    assert result["test_images"] == CLASSES * TEST
    assert 0 <= result["test_err_top5"] <= result["test_err_top1"] <= 100
    straight = Retraining(config, Registry())
    for _ in range(3):
        straight.one_step()
    loaded = load_trained(str(folder.path))
    own = straight.network.state_dict()
    assert all(torch.equal(own[name], t) for name, t in loaded.network.state_dict().items())
    batches = split_batches(loaded, "test", 4, "cpu")
    found = evaluate(loaded.network, batches, loaded.num_classes)
    assert 100 - 100 * found.top1 / found.images == pytest.approx(result["test_err_top1"])
    assert loaded.shape == (3, 224, 224)


def test_reading_ahead_in_worker_processes_gives_the_same_batches_and_positions(
    tree: Path,
) -> None:
    def read(stop: int, **settings: Any) -> list[torch.Tensor]:
        feed = make_feed(imagenet(tree, **settings), torch.device("cpu"), World())
        images = [feed.train.next_batch()[0] for _ in range(stop)]
        again = make_feed(imagenet(tree, **settings), torch.device("cpu"), World())
        again.train.load_state_dict(feed.train.state_dict())
        return images + [again.train.next_batch()[0] for _ in range(4 - stop)]

    small = {"data.resolution": 32}
    reference = read(4, **small, **{"speed.prefetch": False})
    for stop in (2, 3):
        for one, other in zip(read(stop, **small), reference, strict=True):
            assert torch.equal(one, other)


def test_each_process_decodes_only_its_own_rows(tree: Path) -> None:
    config = imagenet(tree, **{"data.resolution": 32})
    whole = make_feed(config, torch.device("cpu"), World()).train.next_batch()
    parts = [
        make_feed(config, torch.device("cpu"), World(rank, 2)).train.next_batch()
        for rank in range(2)
    ]
    assert [len(labels) for _, labels in parts] == [2, 2]
    for index in range(2):
        assert torch.equal(torch.cat([part[index] for part in parts]), whole[index])


@pytest.mark.slow
@needs_mini
def test_photographs_of_32_pixels_are_trained_on_at_224(tmp_path: Path) -> None:
    for part, count in (("train", 1), ("test", 1)):
        for folder in sorted((MINI / part).iterdir()):
            (tmp_path / part / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copy(file, tmp_path / part / folder.name / file.name)
    config = imagenet(tmp_path, **{"training.batch_size": 5, "training.eval_batch_size": 5})
    result = run_retraining(config, Registry(), retrain_folder(tmp_path, config), RunOptions())
    assert result["steps"] == 2 and result["test_images"] == 10


@pytest.mark.slow
@needs_mini
def test_a_search_on_photographs_is_retrained_and_both_are_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nasbench_snas

    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "cache"))
    small = tmp_path / "images"
    for part, count in (("train", 12), ("test", 4)):
        for folder in sorted((MINI / part).iterdir()):
            (small / part / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copy(file, small / part / folder.name / file.name)
    root = tmp_path / "runs"
    plan = plan_run(
        Registry(),
        "snas",
        "darts-cnn",
        assignments=[
            'data.dataset="imagefolder"',
            f'data.root="{small}"',
            "search.epochs=1",
            "child.samples=1",
            "space.channels=2",
        ],
    )
    run_search(plan.config, Registry(), RunFolder(root / plan.run_id), RunOptions())
    planned = plan_retraining(
        Registry(),
        find_target(root, plan.run_id),
        preset="small",
        assignments=["network.channels=2", "network.cells=3", "training.epochs=2"],
    )
    assert planned.config.data.content is not None  # the pixels are part of what a retraining is
    assert planned.config.data == DataSettings(
        dataset="imagefolder",
        root=small,
        max_train_images=10000,
        content=planned.config.data.content,
        augment=planned.config.data.augment,
    )
    folder = retrain_folder(root, planned.config)
    run_retraining(planned.config, Registry(), folder, RunOptions(), parent=planned.parent)
    rows = {row["stage"]: row for _, row in nasbench_snas.load_results(root).iterrows()}
    assert rows["search"]["run_id"] == plan.run_id
    retrained = rows["retrain"]
    assert retrained["parent_id"] == plan.run_id
    assert (retrained["estimator"], retrained["preset"]) == ("snas", "small")
    assert 0 <= retrained["test_err_top1"] <= 100 and retrained["params"] > 0
