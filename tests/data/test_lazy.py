from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasbench_snas.data.lazy import (
    LazyStream,
    evaluation_transform,
    lazy_evaluation_batches,
    load_lazy,
    training_transform,
)
from nasbench_snas.data.registry import load_part
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import CheckpointError, ConfigError, DataError

Maker = Callable[..., Path]
Batch = tuple[Tensor, Tensor]


def settings(root: Path, **changes: Any) -> DataSettings:
    return DataSettings.model_validate(
        {"dataset": "imagefolder", "root": root, "lazy": True, "resolution": 16, **changes}
    )


def stream(root: Path, seed: int = 0, workers: int = 0, **options: Any) -> LazyStream:
    images = load_lazy(settings(root), "train")
    generator = torch.Generator().manual_seed(seed)
    return LazyStream(images, 3, generator, workers=workers, **options)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True)
    )


def test_images_do_not_depend_on_the_number_of_workers(tree: Maker, still_generators: None) -> None:
    root = tree(size=(20, 24))
    alone = [list(stream(root).epoch_batches(1))]
    helped = [list(stream(root, workers=2).epoch_batches(1))]
    assert same(alone[0], helped[0]) and len(alone[0]) == 2
    assert alone[0][0][0].shape == (3, 3, 16, 16) and alone[0][0][0].dtype == torch.float32
    assert not same(alone[0], list(stream(root, seed=1).epoch_batches(1)))


def test_epochs_differ_and_visit_every_image_once(tree: Maker) -> None:
    lazy = stream(tree(), drop_last=False)
    first, second = list(lazy.epoch_batches(1)), list(lazy.epoch_batches(2))
    assert len(first) == len(lazy) == 3 and not same(first, second)
    for epoch in (first, second):
        labels = torch.cat([y for _, y in epoch])
        assert labels.sort().values.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4])
def test_a_lazy_epoch_resumes_bit_for_bit(tree: Maker, stop: int) -> None:
    root = tree()
    lazy, whole, states = stream(root), [], [stream(root).state_dict()]
    for epoch in (1, 2):
        for batch in lazy.epoch_batches(epoch):
            whole.append(batch)
            states.append(lazy.state_dict())
    file = io.BytesIO()
    torch.save(states[stop], file)
    file.seek(0)
    resumed = stream(root, seed=9)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    start = max(1, resumed.epoch)
    rest = [batch for epoch in range(start, 3) for batch in resumed.epoch_batches(epoch)]
    assert same(rest, whole[stop:])


def test_resuming_does_not_decode_what_was_handed_out_before(
    tree: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree()
    lazy = stream(root)
    next(lazy.epoch_batches(1))
    resumed, read = stream(root), []
    resumed.load_state_dict(lazy.state_dict())
    images = resumed._images
    monkeypatch.setattr(
        type(images), "__getitem__", lambda self, item: read.append(item) or (torch.zeros(1), 0)
    )
    list(resumed.epoch_batches(1))
    assert len(read) == 3


def test_evaluation_is_in_order_complete_and_the_same_every_time(
    tree: Maker, still_generators: None
) -> None:
    images = load_lazy(settings(tree()), "test")
    first, second = (list(lazy_evaluation_batches(images, 3)) for _ in range(2))
    assert same(first, second) and [len(y) for _, y in first] == [3, 3, 2]
    assert torch.cat([y for _, y in first]).tolist() == [0] * 4 + [1] * 4


def test_the_recipe_is_that_of_darts_on_imagenet(tree: Maker) -> None:
    chosen = settings(tree(), resolution=None)
    train, test = training_transform(chosen), evaluation_transform(chosen)
    kinds = [type(step).__name__ for step in train.transforms]
    assert kinds[:3] == ["RandomResizedCrop", "RandomHorizontalFlip", "ColorJitter"]
    jitter = train.transforms[2]
    assert (jitter.brightness, jitter.contrast, jitter.saturation) == ((0.6, 1.4),) * 3
    assert jitter.hue == (-0.2, 0.2)
    assert test.transforms[0].size == [256] and tuple(test.transforms[1].size) == (224, 224)
    assert load_lazy(chosen, "train")[0, 5][0].shape == (3, 224, 224)
    assert load_lazy(chosen, "test")[0, 5][0].shape == (3, 224, 224)


def test_evaluation_normalises_with_the_given_statistics(tree: Maker) -> None:
    root = tree(size=(18, 18))
    plain = settings(root, augment={"normalise": False})
    shifted = settings(root, augment={"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 0.2]})
    one, other = (load_lazy(s, "test")[1, 0][0] for s in (plain, shifted))
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.5, 0.25, 0.2])
    torch.testing.assert_close(other, (one - mean.view(3, 1, 1)) / std.view(3, 1, 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_from_a_worker_too(tree: Maker, workers: int) -> None:
    root = tree()
    bad = root / "train" / "cat" / "002.png"
    bad.write_bytes(b"nothing")
    with pytest.raises(DataError, match="002.png"):
        list(stream(root, workers=workers, drop_last=False).epoch_batches(1))


def test_lazy_and_in_memory_are_not_mixed_up(tree: Maker) -> None:
    root = tree()
    with pytest.raises(ConfigError, match="lazy"):
        load_part(settings(root), "train")
    with pytest.raises(ConfigError, match="lazy is false"):
        load_lazy(settings(root, lazy=False), "train")
    with pytest.raises(ConfigError, match="batch of 9 images"):
        LazyStream(load_lazy(settings(root), "train"), 9, torch.Generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": "other"}, "files 'other'"),
        ({"batch_size": 2}, "batch_size 2"),
        ({"drop_last": False}, "drop_last False"),
        ({"position": 3}, "damaged"),
        ({"before": None}, "damaged"),
    ],
)
def test_a_foreign_or_damaged_position_is_refused(
    tree: Maker, change: dict[str, Any], message: str
) -> None:
    root = tree()
    state = stream(root).state_dict()
    stream(root).load_state_dict(state)
    with pytest.raises(CheckpointError, match=message):
        stream(root).load_state_dict({**state, **change})


def test_a_position_is_bound_to_the_names_of_the_files(tree: Maker) -> None:
    root = tree()
    state = stream(root).state_dict()
    (root / "train" / "cat" / "000.png").rename(root / "train" / "cat" / "renamed.png")
    with pytest.raises(CheckpointError, match="files"):
        stream(root).load_state_dict(state)
