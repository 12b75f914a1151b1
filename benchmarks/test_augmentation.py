"""Whole batches of CIFAR-sized images: crop, mirror, normalise, cutout."""

import torch

from nasbench_snas.data.augment import Augmenter
from nasbench_snas.data.statistics import Statistics

BATCH, SIDE = 64, 32


def test_augmentation_of_a_batch(measure, device):
    statistics = Statistics((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "settings")
    augment = Augmenter(statistics, pad=4, flip=True, cutout=16)
    generator = torch.Generator(device).manual_seed(0)
    images = torch.randint(256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, device=device)
    # Pixels are read once and written once; each is scaled, shifted and masked.
    measure(
        lambda: augment(images, generator), device, 5 * images.numel(), 3 * images.numel(),
        images=BATCH,
    )  # fmt: skip
