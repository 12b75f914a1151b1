"""Handwriting: a data set of one's own from numpy arrays, in a single file.

The arrays are scikit-learn's digits (UCI Machine Learning Repository, doi:10.24432/C50P49; CC BY
4.0) in three classes: 0, 1 and everything else. Any arrays will do, for example
``np.load(root / "images.npy")`` with ``--data-root``.

    nasbench --plugin examples/plugins/handwriting.py run -e snas -s snas-unit --dataset handwriting
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.datasets import load_digits

from nasbench_snas.api import ImageDataset, Images
from nasbench_snas.data import from_arrays


class Handwriting(ImageDataset):
    """Digits as zero, one and other, 8x8 grey.

    Args:
        count: Images in all; a quarter of them is set apart as test images.
    """

    name = "handwriting"
    summary = "handwritten digits as zero, one and other, 8x8 grey"
    licence = "CC BY 4.0 (UCI Machine Learning Repository)"
    test_fraction = 0.25

    def __init__(self, count: int = 600) -> None:
        self.count = count

    def load(self, part: Literal["train", "test"], root: Path) -> Images:
        """Return the images; see ``ImageDataset.load``."""
        pixels, digits = load_digits(return_X_y=True)
        images = np.rint(pixels * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
        labels = np.minimum(digits, 2)
        return from_arrays(images[: self.count], labels[: self.count], ("zero", "one", "other"))
