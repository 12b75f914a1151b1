"""Images made from a seed, whose classes can be learnt: for tests, never for results.

Class c has a smooth template T_c (a random 3x3 grid per channel, enlarged); an image is

    x = clip(128 + 48 g T_c + noise * N(0, 1), 0, 255),   g ~ U(0.7, 1.3) per image,

so that a small network learns it in seconds and a network with shuffled labels does not.
"""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from nasbench_snas.data.catalogue import CATALOGUE
from nasbench_snas.data.images import ImageSet
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.seeding import stream


def load(settings: DataSettings, part: Part) -> ImageSet:
    """Return made-up images, shape `(N, channels, size, size)`, with balanced classes."""
    fake = settings.fake
    count = fake.train_images if part == "train" else fake.test_images
    templates_from = stream(fake.seed, "data/fake/templates")
    coarse = torch.randn(fake.classes, fake.channels, 3, 3, generator=templates_from)
    templates = interpolate(
        coarse, size=(fake.size, fake.size), mode="bilinear", align_corners=True
    )
    generator = stream(fake.seed, f"data/fake/{part}")
    order = torch.randperm(count, generator=generator)
    labels = torch.arange(count)[order] % fake.classes
    gain = 0.7 + 0.6 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = torch.randn(count, fake.channels, fake.size, fake.size, generator=generator)
    pixels = 128 + 48 * gain * templates[labels] + fake.noise * noise
    info = CATALOGUE["fake"]
    return ImageSet(
        name="fake",
        part=part,
        images=pixels.round().clamp(0, 255).to(torch.uint8),
        labels=labels,
        class_names=tuple(f"class {number}" for number in range(fake.classes)),
        licence=info.licence,
        source=info.source,
    )
