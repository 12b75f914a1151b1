"""The published accuracies of NAS-Bench-201: all 15,625 architectures on three data sets.

Validation accuracies after 200 epochs for two or three seeds, as counts of correct images, with
training seconds and latency as published (GTX 1080 Ti). Parameters follow from the architecture.
Of 39,419 records per data set, 294 (of 204 architectures) state the parameters of another network:
they are marked *odd*, and every mean is offered with and without them.

Source: Dong and Yang 2020, arXiv:2001.00326; Dong et al. 2021, arXiv:2009.00437; MIT licence, see
``NASBENCH201-LICENSE.txt`` beside the file.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from nasbench_snas.errors import ConfigError, DataError, suggest
from nasbench_snas.truth.keys import key_to_string, read_key

FILE = Path(__file__).with_name("nasbench201.npz")
DATASETS = ("cifar10", "cifar100", "imagenet16_120")
IMAGES = {"cifar10": 25_000, "cifar100": 5_000, "imagenet16_120": 3_000}
"""Validation images; of CIFAR-10 the half that was not trained on."""
BASE_PARAMETERS = {"cifar10": 73_306, "cifar100": 79_156, "imagenet16_120": 80_456}
PARAMETERS = {"2": 28_000, "3": 243_040}
"""Parameters of the convolutions of one edge, by digit, over all cells."""
SEEDS = 3
NOT_RUN = 65_535
EPOCHS = 200

Array = np.ndarray[Any, np.dtype[Any]]


def index_of(key: str) -> int:
    """Return the row of a six-digit key."""
    return int(read_key(key), 5)


def parameters(key: str, dataset: str = "cifar10") -> int:
    """Return the number of parameters of an architecture's network.

    Raises:
        ConfigError: Unknown data set.
    """
    return BASE_PARAMETERS[check_dataset(dataset)] + sum(PARAMETERS.get(d, 0) for d in key)


def check_dataset(dataset: str) -> str:
    """Return ``dataset``; raises :class:`ConfigError` if the table does not hold it."""
    if dataset not in DATASETS:
        raise ConfigError(f"unknown data set {dataset!r}.", suggest(dataset, DATASETS))
    return dataset


@dataclass(frozen=True)
class Record:
    """What is published of one architecture on one data set.

    Attributes:
        key: Six digits.
        string: The architecture string.
        dataset: Name of the data set.
        epochs: Epochs of the training.
        accuracies: Validation accuracy of each seed that was run, percent.
        seeds: Those seeds' places in the published record.
        accuracy: Their mean, percent.
        accuracy_without_odd: Mean without odd records; None if none is left.
        odd_seeds: Seeds whose record states the parameters of another network.
        rank: 1 for the best mean; equal means share the best rank.
        percentile: Percentage of architectures with a smaller mean.
        regret: Best mean minus this one, percentage points.
        parameters: Of the network, recomputed.
        latency_ms: As published, milliseconds.
        train_seconds: Of the whole training, as published.
        isomorphism_class: Key of the first cell with the same function, no learned shift.
        shifted_class: The same with a learned shift in the batch norms.
    """

    key: str
    string: str
    dataset: str
    epochs: int
    accuracies: tuple[float, ...]
    seeds: tuple[int, ...]
    accuracy: float
    accuracy_without_odd: float | None
    odd_seeds: tuple[int, ...]
    rank: int
    percentile: float
    regret: float
    parameters: int
    latency_ms: float
    train_seconds: float
    isomorphism_class: str
    shifted_class: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class PublishedTable:
    """The whole table.

    Attributes:
        correct: Correct images, :data:`NOT_RUN` where a seed is missing, shape ``(N, 3, 3)``:
            architecture, data set, seed.
        seconds: Training time in tenths of a second, shape ``(N, 3)``.
        latency: Latency in units of 10 microseconds, shape ``(N, 3)``.
        odd: Rows (architecture, seed, stated CIFAR-10 parameters) of the odd records.
        classes: First member of each architecture's class without and with learned shifts, ``(2,
            N)``.

    Raises:
        DataError: The file is missing or damaged.
    """

    def __init__(self, file: Path = FILE) -> None:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                self.correct: Array = arrays["correct"]
                self.seconds: Array = arrays["seconds"]
                self.latency: Array = arrays["latency"]
                self.odd: Array = arrays["odd"]
                self.classes: Array = arrays["classes"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise DataError(
                f"cannot read the NAS-Bench-201 table {file}: {error}",
                fix="Install the package again.",
            ) from error
        self._means: dict[tuple[str, bool], Array] = {}

    @cached_property
    def is_odd(self) -> Array:
        """Whether each record is odd, shape ``(N, 3)``: architecture, seed."""
        found = np.zeros(self.correct.shape[::2], dtype=bool)
        found[self.odd[:, 0], self.odd[:, 1]] = True
        return found

    def accuracies(self, dataset: str, *, odd: bool = True) -> Array:
        """Return accuracies in percent, NaN where a seed is missing, shape ``(N, 3)``.

        Args:
            dataset: Name of the data set.
            odd: Whether odd records count.
        """
        counts = self.correct[:, DATASETS.index(check_dataset(dataset))]
        missing = counts == NOT_RUN
        if not odd:
            missing = missing | self.is_odd
        return np.where(missing, np.nan, 100.0 * counts / IMAGES[dataset])

    def mean(self, dataset: str, *, odd: bool = True) -> Array:
        """Return the mean over the seeds that were run, percent, shape ``(N,)``.

        NaN where no seed is left.
        """
        if (dataset, odd) not in self._means:
            values = self.accuracies(dataset, odd=odd)
            number = (~np.isnan(values)).sum(axis=1)
            total = np.nansum(values, axis=1)
            self._means[dataset, odd] = np.where(number, total / np.maximum(number, 1), np.nan)
        return self._means[dataset, odd]

    def record(self, key: str, dataset: str = "cifar10", *, odd: bool = True) -> Record:
        """Return what is published of an architecture.

        Args:
            key: Six digits; see :mod:`nasbench_snas.truth.keys` for other forms.
            dataset: Name of the data set.
            odd: Whether odd records count in rank, percentile and regret.

        Raises:
            ConfigError: Unknown data set.
            GenotypeError: Not a key.
            DataError: Nothing is left without the odd records.
        """
        index, column = index_of(key), DATASETS.index(check_dataset(dataset))
        values, means = self.accuracies(dataset)[index], self.mean(dataset, odd=odd)
        if np.isnan(means[index]):
            raise DataError(f"{key} has odd records only.", fix="Count them: leave out --no-odd.")
        without = float(self.mean(dataset, odd=False)[index])
        run = np.flatnonzero(~np.isnan(values))
        same = means - means[index]
        tolerance = 1e-9  # means of equal counts may differ in their last bit
        return Record(
            key=key,
            string=key_to_string(key),
            dataset=dataset,
            epochs=EPOCHS,
            accuracies=tuple(float(v) for v in values[run]),
            seeds=tuple(int(s) for s in run),
            accuracy=float(self.mean(dataset)[index]),
            accuracy_without_odd=None if np.isnan(without) else without,
            odd_seeds=tuple(int(s) for s in np.flatnonzero(self.is_odd[index])),
            rank=1 + int((same > tolerance).sum()),
            percentile=100.0 * float((same < -tolerance).sum()) / int((~np.isnan(same)).sum()),
            regret=float(np.nanmax(same)),
            parameters=parameters(key, dataset),
            latency_ms=float(self.latency[index, column]) / 100,
            train_seconds=float(self.seconds[index, column]) / 10,
            isomorphism_class=_key(int(self.classes[0, index])),
            shifted_class=_key(int(self.classes[1, index])),
        )

    def ranked(self, dataset: str = "cifar10", *, odd: bool = True) -> list[str]:
        """Return all keys, best mean first (ties in order of the key)."""
        means = self.mean(dataset, odd=odd)
        order = np.argsort(-np.nan_to_num(means, nan=-1.0), kind="stable")
        return [_key(int(i)) for i in order if not np.isnan(means[i])]


def _key(index: int) -> str:
    return np.base_repr(index, 5).zfill(6)


@cache
def published() -> PublishedTable:
    """Return the table inside the package, read once."""
    return PublishedTable()
