"""The accuracies of all 729 architectures of ``snas-unit`` on the digits, trained by ourselves.

Each of the 216 different functions was trained alone from scratch with three seeds, at the space's
size in the preset ``smoke`` (one cell, 4 channels), and measured on all images outside its
training: the search validation images and the test images. Counts of correct images are kept.

The table's own noise is the standard deviation ``s`` between seeds once their common part is taken
off (residuals of function and seed, over the better half of the functions, ``nu`` degrees of
freedom): the seeds share their images among functions. An architecture is *among the best that the
table cannot tell apart* if the best mean is less than ``d s sqrt(2 / seeds)`` above its own, ``d``
the one-sided 95 % quantile of the largest of all comparisons with the best (Hsu 1981,
doi:10.1214/aos/1176345655; Dunnett 1955, doi:10.1080/01621459.1955.10501294).
"""

from __future__ import annotations

import json
import zlib
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.architecture.known import Standing
from nasbench_snas.errors import DataError, GenotypeError
from nasbench_snas.truth.rows import Array, rows_of, stratified

FILE = Path(__file__).with_name("snas_unit.npz")
OPERATIONS = ("none", "skip_connect", "conv_3x3")
EDGES, CHANNELS, DATASET = 6, 4, "digits"


class UnitTable:
    """The table; implements :class:`nasbench_snas.architecture.known.KnownSpace`.

    Attributes:
        right: Correct images of each function, shape ``(F, seeds, 2)``: validation, test.
        images: How many images these are, shape ``(2,)``.
        functions: The function of each architecture in lexicographic order, shape ``(729,)``.
        meta: How the table was made: command, commit, versions, epochs, seconds; and ``quantile``,
            ``d`` above.

    Raises:
        DataError: The file is missing or damaged.
    """

    datasets = (DATASET,)

    def __init__(self, file: Path = FILE) -> None:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                self.right: Array = arrays["right"]
                self.images: Array = arrays["images"]
                self.functions: Array = arrays["functions"]
                self.meta: dict[str, Any] = json.loads(str(arrays["meta"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise DataError(
                f"cannot read the table of snas-unit {file}: {error}", fix="Install it again."
            ) from error

    @property
    def source(self) -> str:
        """Where the accuracies come from."""
        return (
            f"all images outside training, {self.meta['epochs']} epochs alone, mean of "
            f"{self.right.shape[1]} seeds (own table; standard error of a mean {self.error:.2f} "
            "points)"
        )

    @cached_property
    def by_seed(self) -> Array:
        """Held-out accuracy of each function and seed, percent, shape ``(F, seeds)``."""
        shares: Array = 100.0 * self.right.sum(axis=2) / self.images.sum()
        return shares

    @cached_property
    def means(self) -> Array:
        """Mean held-out accuracy of each architecture, percent, shape ``(729,)``."""
        means: Array = self.by_seed.mean(axis=1)[self.functions]
        return means

    @cached_property
    def deviation(self) -> tuple[float, int]:
        """The noise of one training, in points, and its degrees of freedom."""
        means = self.by_seed.mean(axis=1)
        better = self.by_seed[means >= np.median(means)]
        residuals = better - better.mean(axis=1, keepdims=True)
        residuals = residuals - residuals.mean(axis=0, keepdims=True)
        freedom = (better.shape[0] - 1) * (better.shape[1] - 1)
        return float(np.sqrt(np.square(residuals).sum() / freedom)), freedom

    @property
    def error(self) -> float:
        """Standard error of an architecture's mean, points."""
        return self.deviation[0] / float(np.sqrt(self.right.shape[1]))

    @cached_property
    def margin(self) -> float:
        """Points below the best within which the table tells nothing apart."""
        return float(self.meta["quantile"]) * self.error * 2**0.5

    def accuracies(self, dataset: str, choices: Tensor) -> list[float]:
        """Return accuracies in percent; see :class:`KnownSpace`."""
        return [float(value) for value in self.means[rows_of(choices, len(OPERATIONS))]]

    def standing(self, dataset: str, choice: Tensor) -> Standing:
        """Return where an architecture stands; see :class:`KnownSpace`."""
        accuracy = float(self.means[rows_of(choice[None], len(OPERATIONS))[0]])
        regret = float(self.means.max()) - accuracy
        percentile = 100.0 * float((self.means < accuracy - 1e-9).mean())
        return Standing(accuracy, regret, percentile, self.error, regret <= self.margin)

    def mean(self, dataset: str) -> float:
        """Return the mean accuracy of the space, percent; see :class:`KnownSpace`."""
        return float(self.means.mean())

    def sample(self) -> Tensor:
        """Return one architecture of each of 200 equal ranges of ranks, shape (200, 6)."""
        return stratified(self.means, len(OPERATIONS), EDGES)

    def record(self, key: str) -> dict[str, Any]:
        """Return what the table says of an architecture, as plain values.

        Args:
            key: Six digits 0 (none), 1 (skip_connect), 2 (conv_3x3) for edges 0->1, 0->2, 1->2,
                0->3, 1->3, 2->3.

        Raises:
            GenotypeError: It is no such key.
        """
        number = index_of(key)
        at = self.standing(DATASET, torch.tensor([int(digit) for digit in key]))
        function = int(self.functions[number])
        first = int(np.flatnonzero(self.functions == function)[0])
        return {
            "key": key,
            "operations": [OPERATIONS[int(digit)] for digit in key],
            "dataset": DATASET,
            "epochs": self.meta["epochs"],
            "accuracy": at.accuracy,
            "accuracies": [float(value) for value in self.by_seed[function]],
            "images": int(self.images.sum()),
            "error": self.error,
            "rank": 1 + int((self.means > at.accuracy + 1e-9).sum()),
            "percentile": at.percentile,
            "regret": at.regret,
            "among_best": at.among_best,
            "margin": self.margin,
            "same_function": key_of(first),
        }

    def ranked(self) -> list[str]:
        """Return all keys, best mean first (ties in order of the key)."""
        return [key_of(int(number)) for number in np.argsort(-self.means, kind="stable")]


def key_of(number: int) -> str:
    """Return the six-digit key of a row (base 3, first digit most significant)."""
    return np.base_repr(number, len(OPERATIONS)).zfill(EDGES)


def index_of(key: str) -> int:
    """Return the row of a key; raises :class:`GenotypeError` if it is none."""
    if len(key) != EDGES or set(key) - set("012"):
        raise GenotypeError(f"{key!r} is no architecture of snas-unit.", "Expected six digits 0-2.")
    return int(key, len(OPERATIONS))


@cache
def unit_table() -> UnitTable:
    """Return the table inside the package, read once."""
    return UnitTable()
