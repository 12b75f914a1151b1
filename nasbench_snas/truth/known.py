"""NAS-Bench-201's published accuracies as what is known of the space ``nasbench201``."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.architecture.known import Standing
from nasbench_snas.truth.published import DATASETS, published

SAMPLE = 200
"""Architectures that rank correlations are measured on."""


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
        values = published().mean(dataset)[_index(choices)]
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
        return _sample().clone()


def _index(choices: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    weights = 5 ** torch.arange(choices.shape[1] - 1, -1, -1)
    index: np.ndarray[tuple[int], np.dtype[np.int64]] = (choices.cpu() * weights).sum(1).numpy()
    return index


@cache
def _sample() -> Tensor:
    order = np.argsort(published().mean(DATASETS[0]), kind="stable")
    generator = np.random.default_rng(0)
    chosen = torch.tensor([int(generator.choice(part)) for part in np.array_split(order, SAMPLE)])
    return torch.stack([chosen // 5**place % 5 for place in range(5, -1, -1)], dim=1)
