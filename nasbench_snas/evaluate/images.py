"""Images that a trained network is evaluated on, normalised as it was trained."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nasbench_snas.data import (
    evaluation_batches,
    load_splits,
    load_test,
    load_training,
    make_augmenter,
)
from nasbench_snas.data.batches import Batch
from nasbench_snas.data.settings import Part
from nasbench_snas.data.shards import move
from nasbench_snas.data.splits import Split, divide
from nasbench_snas.data.statistics import Statistics
from nasbench_snas.errors import ConfigError
from nasbench_snas.evaluate.load import Loaded

SPLITS = ("test", "train", "search_valid")


def split_batches(
    loaded: Loaded, split: str, batch_size: int, device: torch.device | str
) -> Iterator[Batch]:
    """Yield the batches of a split, every image once, without augmentation.

    Args:
        loaded: The network, for its images and their statistics.
        split: ``test``, ``train`` (all images that trained the weights) or ``search_valid`` (the
            images that measured the search, without those that selected; searches only).
        batch_size: Images a batch; the last may be smaller.
        device: Where batches go.

    Raises:
        ConfigError: There is no such split.
        DataError: The images are missing or damaged.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}.", f"Known: {', '.join(SPLITS)}")
    if split == "search_valid" and loaded.stage != "search":
        raise ConfigError(
            f"{loaded.folder.run_id} has no split 'search_valid'.",
            "A retraining trains on all training images.",
            "Use --split test, or evaluate the search.",
        )
    target = torch.device(device)
    if loaded.data.lazy:
        yield from _lazy(loaded, split, batch_size, target)
        return
    chosen, statistics = _images(loaded, split)
    plain = make_augmenter(loaded.data, statistics, loaded.shape).plain
    for images, labels in evaluation_batches(chosen, batch_size):
        yield plain(move(images, target)), move(labels, target)


def _images(loaded: Loaded, split: str) -> tuple[Split, Statistics]:
    if loaded.stage != "search":
        training, statistics, _ = load_training(loaded.data)
        return (training if split == "train" else load_test(loaded.data)), statistics
    splits = load_splits(loaded.data, loaded.seed, bilevel=loaded.bilevel)
    if split == "test":
        return load_test(loaded.data), splits.statistics
    if split == "train":
        return splits.train, splits.statistics
    fraction, name = loaded.selection_fraction, loaded.data.dataset
    return divide(splits.search_valid, fraction, loaded.seed, name)[1], splits.statistics


def _lazy(loaded: Loaded, split: str, batch_size: int, device: torch.device) -> Iterator[Batch]:
    from nasbench_snas.data.imagefolder import list_part
    from nasbench_snas.data.lazy import LazyImages, evaluation_transform, lazy_evaluation_batches

    part: Part = "train" if split == "train" else "test"
    listing = list_part(loaded.data.data_root, part)
    images = LazyImages(listing, evaluation_transform(loaded.data))
    for batch in lazy_evaluation_batches(images, batch_size, workers=loaded.data.workers):
        yield batch[0].to(device), batch[1].to(device)
