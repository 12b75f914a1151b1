"""The authors' own NATS-Bench file, where a user has it: test accuracies, other epochs, losses.

The package ``nats_bench`` reads it; this adapter asks for nothing that the package answers wrongly.
An architecture is asked for by the string of its key, in which order and spelling are fixed, and
what was found is compared with what was asked for: the package answers -1 for other spellings, a
line break at the end and numpy integers, and takes -1 for the last architecture.

Reference: Dong et al. 2021, arXiv:2009.00437; read with nats_bench 1.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from nasbench_snas.errors import ConfigError, DataError, MissingDependencyError, suggest
from nasbench_snas.outside import UNREADABLE
from nasbench_snas.truth.keys import key_to_string, read_key

CLASSES = {"cifar10-valid": 10, "cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}
"""Data sets by the package's names; ``cifar10`` trains on the validation half, too."""
BUDGETS = (12, 200)
METRICS = tuple(
    f"{part}-{what}"
    for part in ("train", "valid", "test", "valtest")
    for what in ("accuracy", "loss", "per-time", "all-time")
)


@dataclass(frozen=True)
class Measurement:
    """A mean over the seeds that the file holds.

    Attributes:
        mean: The mean (accuracies in percent, times in seconds).
        seeds: How many seeds: one to three, by epochs and data set.
    """

    mean: float
    seeds: int


class TopologyBenchmark:
    """The user's copy of NATS-Bench, topology space.

    Args:
        path: The authors' file (``NATS-tss-….pickle.pbz2``) or unpacked folder
            (``NATS-tss-…-simple``).

    Raises:
        MissingDependencyError: The package ``nats_bench`` is not installed.
        DataError: There is no such file, or it is damaged or of something else.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            package = import_module("nats_bench")
        except ImportError as error:
            raise MissingDependencyError(
                "the package 'nats_bench' is not installed.",
                "The authors' file is read through it.",
                "pip install nats_bench",
            ) from error
        self.path = Path(path)
        if not self.path.exists():
            raise DataError(
                f"there is no NATS-Bench file at {self.path}.",
                "This package holds validation accuracies after 200 epochs only.",
                "Download NATS-tss-v1_0-3ffb9-simple from the authors and pass its path.",
            )
        if self.path.suffix == ".pth":
            raise DataError(
                f"{self.path} is a file of NAS-Bench-201, the benchmark before NATS-Bench.",
                "Its package cannot read it with torch 2.6 or later.",
                "Pass NATS-tss-v1_0-3ffb9-simple: it holds the same accuracies.",
            )
        folder = self.path.is_dir()
        try:
            self._api: Any = package.create(str(self.path), "tss", fast_mode=folder, verbose=False)
            first = str(self._api.arch(0))
        except UNREADABLE as error:
            raise self._damaged(error) from error
        if not first.startswith("|"):
            raise DataError(
                f"{self.path} is not of the topology space: its first architecture is {first!r}.",
                fix="Pass NATS-tss-…, not NATS-sss-… (the size space).",
            )

    def measured(
        self,
        key: str,
        dataset: str = "cifar10",
        metric: str = "test-accuracy",
        epochs: int = 200,
    ) -> Measurement:
        """Return a number of an architecture, averaged over its training seeds.

        Args:
            key: Six digits or another form that :func:`nasbench_snas.truth.keys.read_key` reads.
            dataset: ``cifar10-valid``, ``cifar10``, ``cifar100`` or ``ImageNet16-120``.
            metric: One of :data:`METRICS`; CIFAR-10's validation is that of ``cifar10-valid``.
            epochs: Training budget that the benchmark holds: 12 or 200.

        Raises:
            ConfigError: Unknown data set, metric or budget.
            GenotypeError: Not an architecture.
            DataError: The file is damaged, or holds no such number.
        """
        for name, known in ((dataset, tuple(CLASSES)), (metric, METRICS), (epochs, BUDGETS)):
            if name not in known:
                fix = suggest(str(name), [str(value) for value in known])
                raise ConfigError(f"NATS-Bench holds no {name!r}.", fix)
        index, text = self._index(key), key_to_string(read_key(key))
        try:
            record = self._api.get_more_info(index, dataset, hp=str(epochs), is_random=False)
            results = self._api.query_meta_info_by_index(index, hp=str(epochs))
            seeds = len(results.get_dataset_seeds(dataset))
        except UNREADABLE as error:
            raise self._damaged(error, f"the record of {text} on {dataset}, {epochs} epochs") from (
                error
            )
        value = record.get(metric)
        if value is None:
            numbers = sorted(name for name in METRICS if record.get(name) is not None)
            raise DataError(
                f"NATS-Bench has no {metric!r} of {text} on {dataset}.",
                f"It has: {', '.join(numbers)}.",
            )
        return Measurement(float(value), seeds)

    def multiply_adds(self, key: str, dataset: str = "cifar10", epochs: int = 200) -> int:
        """Return the multiply-adds of an architecture, counted as this package counts them.

        The file's "flops" are in millions and count one more operation a class (the bias of the
        classifier).

        Raises:
            ConfigError: Unknown data set or budget.
            DataError: The file is damaged, or holds no such number.
        """
        if dataset not in CLASSES or epochs not in BUDGETS:
            raise ConfigError(f"NATS-Bench holds no {dataset!r} at {epochs} epochs.")
        try:
            cost = self._api.get_cost_info(self._index(key), dataset, hp=str(epochs))
            return round(1e6 * float(cost["flops"])) - CLASSES[dataset]
        except UNREADABLE as error:
            raise self._damaged(error, f"the cost of {key} on {dataset}") from error

    def _index(self, key: str) -> int:
        text = key_to_string(read_key(key))
        try:
            index = int(self._api.query_index_by_arch(text))
            found = index >= 0 and self._api.arch(index) == text
        except UNREADABLE as error:
            raise self._damaged(error) from error
        if not found:
            raise DataError(f"{self.path} has no such architecture: {text}.")
        return index

    def _damaged(self, error: BaseException, what: str = "it") -> DataError:
        return DataError(
            f"{self.path}: cannot read {what} ({type(error).__name__}: {error}).",
            "It is damaged, or not of NATS-Bench's topology space.",
            "Download NATS-tss-v1_0-3ffb9-simple again.",
        )
