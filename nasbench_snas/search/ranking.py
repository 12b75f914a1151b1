"""How a search stands to what is known of its space: regret, and the ranking by its parent.

At the end of every epoch the most probable architecture is looked up. At a few epochs a fixed
sample of architectures is validated with the parent's weights and running batch-norm statistics
(``inherited``), and their ranks are compared with those of the known accuracies. The number of
images and of epochs is planned beforehand, by counted forward passes, so that it takes at most a
fifth of the work of the cheapest search (one path a step; a backward pass counts as two forward
ones); the seconds are counted apart from the search's own.

Reference: Yu et al. 2020, arXiv:1902.08142, section 4.1 (Kendall's tau of shared weights).
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nasbench_snas.api import Distribution
from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.architecture.known import KnownSpace, Standing
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.data.batches import Batch
from nasbench_snas.search.child import accuracies
from nasbench_snas.search.images import SearchImages
from nasbench_snas.stats.agreement import agreement

SHARE = 0.2
"""Largest share of a search's forward passes."""
MOST_EPOCHS = 10
FEWEST_IMAGES = 64


class Searched(Protocol):
    """What a ranking needs of a search."""

    epoch: int

    @property
    def dist(self) -> Distribution:
        """The distribution."""

    @property
    def parent(self) -> nn.Module:
        """The parent network."""

    @property
    def images(self) -> SearchImages:
        """The images that measure the search."""

    def as_children(self) -> AbstractContextManager[None]:
        """While children are measured inside the parent: it has nothing that they have not."""


class Ranking:
    """The comparison of one search with what is known.

    Args:
        known: What is known of the space.
        search: The search.
        epochs: Its planned epochs.

    Attributes:
        when: Epochs (counted from 1) at which the sample is validated.
        seconds: What the comparison has taken so far.
        last: What was measured last; empty before.
    """

    def __init__(self, known: KnownSpace, search: Searched, epochs: int) -> None:
        self.known, self._search = known, search
        self._sample = known.sample()
        part = search.images.reporting
        work = epochs * (3 * len(search.images.splits.train) + len(part))
        number, self._size = plan(SHARE * work / len(self._sample), epochs, len(part))
        self.when = {round(epochs * (i + 1) / number) for i in range(number)}
        self.seconds = 0.0
        self.last: dict[str, Any] = {}

    @own_modes()
    def epoch(self) -> dict[str, Any]:
        """Return regrets, and where it is due the ranking, for the event of the epoch."""
        began = time.perf_counter()
        choice = self._search.dist.mode()[0].argmax(dim=-1).cpu()
        regret = {d: self.known.standing(d, choice).regret for d in self.known.datasets}
        values: dict[str, Any] = {"regret": regret}
        if self._search.epoch in self.when:
            values["ranking"] = self.last = self._measure()
        self.seconds += time.perf_counter() - began
        return values

    def result(self, derived: Tensor) -> dict[str, Any]:
        """Return what a result says of the child and of the last ranking.

        Args:
            derived: The child, shape ``(E, K)``.
        """
        choice = derived.argmax(dim=-1).cpu()
        found = {}
        for name in self.known.datasets:
            at = self.known.standing(name, choice)
            found[name] = {
                "accuracy": at.accuracy,
                "regret": at.regret,
                "percentile": at.percentile,
                "space_mean": self.known.mean(name),
                **_noise(at),
                **self.last.get("datasets", {}).get(name, {}),
            }
        return {
            "source": self.known.source,
            "datasets": found,
            "sample": len(self._sample),
            "images": self.last.get("images"),
            "epochs": sorted(e for e in self.when if e <= self._search.epoch),
            "seconds": self.seconds,
            "parent_acc": self.last.get("parent_acc"),
        }

    def _measure(self) -> dict[str, Any]:
        size = self._search.dist.num_operations
        z = one_hot(self._sample, size, torch.float32)
        with self._search.as_children():
            values = accuracies(self._search.parent, z, self._batches).tolist()
        compared = {
            name: agreement(values, self.known.accuracies(name, self._sample))
            for name in self.known.datasets
        }
        return {"datasets": compared, "images": self._size, "parent_acc": values}

    def _batches(self) -> list[Batch]:
        """Return the first images of the reporting part."""
        batches, seen = [], 0
        for images, labels in self._search.images.reported():
            left = self._size - seen
            if left <= 0:
                break
            batches.append((images[:left], labels[:left]))
            seen += len(labels)
        return batches


def _noise(at: Standing) -> dict[str, float]:
    """Return the accuracy's standard error, and 1 or 0 for what may be the best; or nothing."""
    if at.error is None or at.among_best is None:
        return {}
    return {"error": at.error, "among_best": float(at.among_best)}


def plan(passes: float, epochs: int, most_images: int) -> tuple[int, int]:
    """Return at how many epochs, and on how many images, a sample is validated.

    Args:
        passes: Forward passes of one image that each architecture of the sample may take in all.
        epochs: Planned epochs.
        most_images: Images that there are.
    """
    wanted = min(FEWEST_IMAGES, most_images)
    number = int(min(MOST_EPOCHS, epochs, max(passes // wanted, 1)))
    return number, int(min(max(passes // number, 1), most_images))
