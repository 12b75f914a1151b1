"""Seeded choices of images that keep the share of every class.

Every choice is a pure function of the labels and of a generator; each purpose has its own named
stream (`nasbench_snas.seeding.stream`), so that no two choices share one by accident.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.data.images import ImageSet
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream


def choose_stratified(
    labels: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose exactly `count` images so that every class keeps its share.

    Class c with n_c of n images gives floor(count n_c / n); the images still missing come one
    each from the classes with the largest remainders (ties: the smaller class number). Which
    images of a class are chosen is the generator's choice.

    Args:
        labels: Class numbers, shape `(n,)`.
        count: Number of images to choose, between 0 and n.
        generator: CPU generator.

    Returns:
        Positions of the chosen images, shape `(count,)`, and of the others, shape
        `(n - count,)`, both ascending.

    Raises:
        ConfigError: `count` is out of range.
    """
    total = len(labels)
    if not 0 <= count <= total:
        raise ConfigError(f"{count} images were asked for", f"there are {total}")
    sizes = torch.bincount(labels)
    share = count * sizes
    quota = share // max(total, 1)
    remainder = share - quota * max(total, 1)
    order = torch.sort(-remainder, stable=True).indices
    quota[order[: count - int(quota.sum())]] += 1
    chosen = torch.zeros(total, dtype=torch.bool)
    for number, wanted in enumerate(quota.tolist()):
        members = (labels == number).nonzero().flatten()
        chosen[members[torch.randperm(len(members), generator=generator)[:wanted]]] = True
    return chosen.nonzero().flatten(), (~chosen).nonzero().flatten()


def limit(images: ImageSet, most: int | None) -> ImageSet:
    """Return at most `most` images, balanced over the classes and the same for every seed."""
    if most is None or most >= len(images):
        return images
    generator = stream(0, f"data/{images.name}/{images.part}/limit")
    return images.take(choose_stratified(images.labels, most, generator)[0])
