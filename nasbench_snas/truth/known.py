"""NAS-Bench-201's published accuracies as what is known of the space ``nasbench201``."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from nasbench_snas.architecture.known import Standing
from nasbench_snas.architecture.nasbench201 import EDGES, NAMES
from nasbench_snas.truth.published import DATASETS, published
from nasbench_snas.truth.rows import rows_of, stratified


class PublishedSpace:
    """The published table, for architectures as choices in the order of a key's digits.

    ``nasbench201`` numbers its operations and edges as a key does, so that the choice of edge ``i``
    is digit ``i``.
    """

    source = (
        "validation accuracies published for NAS-Bench-201 (200 epochs, mean over seeds, 16 "
        "channels, 15 cells)"
    )
    datasets = DATASETS

    def accuracies(self, dataset: str, choices: Tensor) -> list[float]:
        """Return accuracies in percent; see :class:`KnownSpace`."""
        values = published().mean(dataset)[rows_of(choices, len(NAMES))]
        return [float(value) for value in values]

    def standing(self, dataset: str, choice: Tensor) -> Standing:
        """Return where an architecture stands; see :class:`KnownSpace`."""
        key = "".join(str(digit) for digit in choice.tolist())
        record = published().record(key, dataset)
        return Standing(record.accuracy, record.regret, record.percentile)

    def mean(self, dataset: str) -> float:
        """Return the mean accuracy of the space, percent; see :class:`KnownSpace`."""
        return float(np.mean(published().mean(dataset)))

    def sample(self) -> Tensor:
        """Return one architecture of each of 200 equal ranges of CIFAR-10 ranks, shape (200, 6)."""
        return stratified(published().mean(DATASETS[0]), len(NAMES), len(EDGES))
