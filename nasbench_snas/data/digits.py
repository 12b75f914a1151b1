"""The handwritten digits that scikit-learn carries: 1,797 grey images of 8x8 pixels.

Pixels 0..16 become ``round(v * 255 / 16)`` as uint8. scikit-learn has no split into training and
test images, so one is fixed here once and for all: 360 test images, drawn with the share of every
class kept (`selection.choose_stratified`) from a generator with seed 1797; the other 1,437 train.
It does not depend on the seed of a run. One deviation from real use of these data: the writers of
training and test images overlap, because the data do not name the writers.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.data.catalogue import CATALOGUE
from nasbench_snas.data.images import ImageSet
from nasbench_snas.data.selection import choose_stratified
from nasbench_snas.data.settings import DataSettings, Part

SPLIT_SEED = 1797
TEST_IMAGES = 360


def load(settings: DataSettings, part: Part) -> ImageSet:
    """Return the training (1,437) or test (360) digits, images of shape `(N, 1, 8, 8)`."""
    pixels, labels = _digits()
    images = (pixels * (255.0 / 16.0)).round().to(torch.uint8).unsqueeze(1)
    test, train = choose_stratified(labels, TEST_IMAGES, torch.Generator().manual_seed(SPLIT_SEED))
    chosen = train if part == "train" else test
    info = CATALOGUE["digits"]
    return ImageSet(
        name="digits",
        part=part,
        images=images[chosen],
        labels=labels[chosen],
        class_names=tuple(str(digit) for digit in range(10)),
        licence=info.licence,
        source=info.source,
    )


def _digits() -> tuple[Tensor, Tensor]:
    """Return the pixels 0..16, float64, shape `(1797, 8, 8)`, and the labels, int64.

    scikit-learn's file is read without scikit-learn, whose import takes longer than a training
    epoch on these images; where a version keeps the file elsewhere, its own function reads it.
    """
    found = importlib.util.find_spec("sklearn")
    folders = found.submodule_search_locations if found else None
    file = Path(*folders[:1], "datasets", "data", "digits.csv.gz") if folders else None
    if file is None or not file.is_file():
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return torch.as_tensor(bunch.images).double(), torch.as_tensor(bunch.target).long()
    with gzip.open(file, "rt") as lines:
        table = torch.from_numpy(np.loadtxt(lines, delimiter=","))
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].long()
