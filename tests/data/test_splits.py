from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasbench_snas.data import splits as module
from nasbench_snas.data.images import ImageSet
from nasbench_snas.data.selection import choose_stratified
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.data.splits import Split, Splits, load_splits, load_test, load_training
from nasbench_snas.errors import ConfigError, DataError

Fake = Callable[..., DataSettings]


def parts(splits: Splits) -> list[Split]:
    return [s for s in (splits.train, splits.arch, splits.search_valid) if s is not None]


def share(split: Split, classes: int = 10) -> Tensor:
    return torch.bincount(split.labels[split.indices], minlength=classes)


@pytest.mark.parametrize("bilevel", [False, True])
@pytest.mark.parametrize("name", ["digits", "fake"])
def test_splits_are_disjoint_cover_the_training_images_and_keep_class_shares(
    name: str, bilevel: bool
) -> None:
    settings = DataSettings.model_validate({"dataset": name})
    splits = load_splits(settings, 0, bilevel=bilevel)
    total = len(splits.train.images)
    everything = torch.cat([s.indices for s in parts(splits)])
    assert torch.equal(everything.sort().values, torch.arange(total))
    assert len(splits.search_valid) == round(0.2 * total)
    assert (splits.arch is not None) == bilevel
    if splits.arch is not None:
        assert abs(len(splits.arch) - len(splits.train)) <= 1
    whole = torch.bincount(splits.train.labels, minlength=10)
    for split in parts(splits):
        assert (share(split) - whole * len(split) / total).abs().max() < 2
        assert torch.equal(split.indices, split.indices.sort().values)


def test_search_valid_is_the_same_at_every_level(fake: Fake) -> None:
    joint, bilevel = (load_splits(fake(), 4, bilevel=flag) for flag in (False, True))
    assert torch.equal(joint.search_valid.indices, bilevel.search_valid.indices)


def test_equal_seeds_give_equal_splits_and_others_differ(fake: Fake) -> None:
    first, again, other = (load_splits(fake(), seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(first.train.indices, again.train.indices)
    assert not torch.equal(first.train.indices, other.train.indices)
    assert first.fingerprint != load_splits(fake(), 0, bilevel=True).fingerprint
    assert first.fingerprint != load_splits(fake(resolution=4), 0).fingerprint


def test_the_fingerprint_is_that_of_the_index_sets(fake: Fake) -> None:
    splits = load_splits(fake(), 0)
    moved = replace(splits.train, indices=splits.train.indices[1:])
    assert replace(splits, train=moved).fingerprint != splits.fingerprint
    relabelled = replace(splits.train, labels=splits.train.labels.flip(0))
    assert replace(splits, train=relabelled).fingerprint != splits.fingerprint


@pytest.mark.parametrize("bilevel", [False, True])
def test_a_search_never_reads_the_test_images(
    fake: Fake, bilevel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read = module.load_part, []

    def watched(settings: DataSettings, part: Any) -> ImageSet:
        read.append(part)
        return real(settings, part)

    monkeypatch.setattr(module, "load_part", watched)
    splits = load_splits(fake(), 0, bilevel=bilevel)
    assert read == ["train"]
    assert not any("test" in field.name for field in fields(Splits))
    assert {split.part for split in parts(splits)} == {"train"}
    assert not splits.is_exception


def test_protocol_paper_joint_validates_on_the_test_images_and_says_so(fake: Fake) -> None:
    settings = fake(protocol="paper")
    splits = load_splits(settings, 0)
    test = load_test(settings)
    assert splits.search_valid.part == "test"
    assert torch.equal(splits.search_valid.gather()[0], test.gather()[0])
    assert len(splits.train) == 512 and splits.arch is None
    assert splits.is_exception and "EXCEPTION" in splits.label and "test images" in splits.label


@pytest.mark.parametrize("name", ["fake", "digits"])
def test_protocol_paper_bilevel_validates_on_the_half_that_trains_alpha(name: str) -> None:
    settings = DataSettings.model_validate({"dataset": name, "protocol": "paper"})
    splits = load_splits(settings, 0, bilevel=True)
    assert splits.arch is not None
    assert torch.equal(splits.search_valid.indices, splits.arch.indices)
    assert not torch.isin(splits.train.indices, splits.arch.indices).any()
    assert len(splits.train) + len(splits.arch) == len(splits.train.images)
    assert splits.is_exception and "alpha" in splits.label
    if name == "fake":  # stored in random order: the first and the second half, as released
        assert splits.train.indices.tolist() == list(range(256))
    else:
        assert splits.train.indices.tolist() != list(range(len(splits.train)))


def test_overlapping_splits_cannot_be_made(fake: Fake) -> None:
    splits = load_splits(fake(), 0, bilevel=True)
    assert splits.arch is not None
    with pytest.raises(DataError, match="'train' and 'arch'"):
        replace(splits, train=replace(splits.arch, name="train"))
    with pytest.raises(DataError, match="'arch' and 'search_valid'"):
        replace(splits, search_valid=replace(splits.arch, name="search_valid"))
    with pytest.raises(DataError, match="made of test images"):
        replace(splits, search_valid=load_test(fake()))


def test_a_limit_keeps_classes_balanced_and_is_the_same_for_every_seed(fake: Fake) -> None:
    settings = fake(max_train_images=100, max_test_images=20)
    one, other = (load_splits(settings, seed) for seed in (0, 1))
    assert torch.equal(one.train.images, other.train.images) and len(one.train.images) == 100
    assert torch.bincount(one.train.labels).tolist() == [10] * 10
    assert len(load_test(settings)) == 20


def test_an_empty_split_is_refused(fake: Fake) -> None:
    with pytest.raises(ConfigError, match="'search_valid'.* empty"):
        load_splits(fake(max_train_images=4, validation_fraction=0.05), 0)


def test_all_training_images_can_be_had_for_retraining(fake: Fake) -> None:
    split, statistics, classes = load_training(fake())
    assert classes == fake().fake.classes
    assert len(split) == 512 and statistics.origin == "training split"


def test_moving_to_a_device_moves_shared_images_once(fake: Fake) -> None:
    moved = load_splits(fake(), 0, bilevel=True).to("meta")
    assert moved.arch is not None
    assert moved.train.images is moved.arch.images is moved.search_valid.images
    assert moved.train.images.device.type == "meta"


@pytest.mark.parametrize("count", [0, 1, 7, 10, 33, 59, 60])
def test_a_stratified_choice_has_the_exact_size_and_the_nearest_shares(count: int) -> None:
    labels = torch.tensor([0] * 30 + [1] * 20 + [3] * 10)[torch.randperm(60, generator=seeded())]
    chosen, others = choose_stratified(labels, count, seeded())
    assert len(chosen) == count
    assert torch.equal(torch.cat([chosen, others]).sort().values, torch.arange(60))
    exact = torch.tensor([30, 20, 0, 10]) * count / 60
    assert ((torch.bincount(labels[chosen], minlength=4) - exact).abs() < 1).all()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_more_images_than_there_are_cannot_be_chosen() -> None:
    with pytest.raises(ConfigError, match="there are 3"):
        choose_stratified(torch.tensor([0, 1, 1]), 4, seeded())


def test_splits_of_real_photographs_at_16_pixels(photographs: Path, tmp_path: Path) -> None:
    settings = DataSettings(
        dataset="imagefolder",
        root=photographs,
        resolution=16,
        cache_dir=tmp_path,
        max_train_images=500,
        max_test_images=100,
    )
    # a tenth of the tree, through links, so that decoding stays quick
    small = tmp_path / "small"
    for part in ("train", "test"):
        for folder in sorted((photographs / part).iterdir()):
            (small / part / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:60]:
                (small / part / folder.name / file.name).symlink_to(file)
    settings = settings.model_copy(update={"root": small})
    splits = load_splits(settings, 0, bilevel=True)
    assert splits.image_shape == (3, 16, 16) and splits.num_classes == 10
    assert [len(s) for s in parts(splits)] == [200, 200, 100]
    assert splits.class_names[:2] == ("airplane", "automobile")
    assert (
        torch.tensor(splits.statistics.mean).sub(torch.tensor([0.49, 0.48, 0.45])).abs().max()
        < 0.04
    )
    assert torch.tensor(splits.statistics.std).sub(0.23).abs().max() < 0.04
    assert len(load_test(settings)) == 100


def test_images_that_several_splits_share_are_moved_once(monkeypatch):
    splits = load_splits(DataSettings(dataset="fake", protocol="standard"), seed=0, bilevel=True)
    copies = []
    move = torch.Tensor.to

    def counted(tensor, *arguments, **options):
        copies.append(tensor.dtype)
        return move(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "to", counted)
    splits.to("meta")
    assert copies.count(torch.uint8) == copies.count(torch.int64) == 1
