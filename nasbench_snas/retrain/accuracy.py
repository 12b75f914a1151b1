"""Accuracy of a trained network on labelled images: top-1, top-5, confusion, Wilson interval.

The Wilson score interval (Wilson 1927, doi:10.1080/01621459.1927.10502953) of k hits in n trials,
with p = k/n and the normal quantile c:

    (p + c^2/2n +- c sqrt(p (1 - p)/n + c^2/4n^2)) / (1 + c^2/n).

It holds its level where p is near 0 or 1, where the usual p +- c sqrt(p (1 - p)/n) does not. It is
about the images that might have been drawn; it says nothing about other training seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_snas.compute.modes import own_modes
from nasbench_snas.errors import ConfigError, DivergedError

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Evaluation:
    """What a network achieves on some images.

    Attributes:
        images: Number of images.
        top1: Images whose class has the highest logit (of equal ones the first counts).
        top5: Images whose class is among the five highest logits; None with five classes or fewer.
        loss: Mean cross-entropy in nats.
        confusion: Images of each true class (row) by predicted class (column).
    """

    images: int
    top1: int
    top5: int | None
    loss: float
    confusion: Tensor

    def interval(self, hits: int, level: float = 0.95) -> tuple[float, float]:
        """Return the Wilson interval of an accuracy, in percent."""
        low, high = wilson(hits, self.images, level)
        return 100 * low, 100 * high

    def as_dict(self, level: float = 0.95, *, confusion: bool = False) -> dict[str, Any]:
        """Return plain values; accuracies and errors in percent."""
        values: dict[str, Any] = {"images": self.images, "loss": self.loss, "level": level}
        for name, hits in (("top1", self.top1), ("top5", self.top5)):
            if hits is None:
                values[f"acc_{name}"] = values[f"err_{name}"] = values[f"ci_{name}"] = None
                continue
            values[f"acc_{name}"] = 100 * hits / self.images
            values[f"err_{name}"] = 100 - values[f"acc_{name}"]
            values[f"ci_{name}"] = list(self.interval(hits, level))
        if confusion:
            values["confusion"] = self.confusion.tolist()
        return values


def wilson(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    Raises:
        ConfigError: There are no trials, or the level is not in (0, 1).
    """
    if trials < 1 or not 0 <= hits <= trials or not 0 < level < 1:
        raise ConfigError(f"no interval for {hits} of {trials} at level {level}.")
    c = NormalDist().inv_cdf((1 + level) / 2)
    share = hits / trials
    middle = share + c * c / (2 * trials)
    half = c * math.sqrt(share * (1 - share) / trials + c * c / (4 * trials * trials))
    scale = 1 + c * c / trials
    low = 0.0 if hits == 0 else (middle - half) / scale
    high = 1.0 if hits == trials else (middle + half) / scale
    return low, high


@own_modes()
@torch.no_grad()
def evaluate(
    network: nn.Module,
    batches: Batches,
    num_classes: int,
    *,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Evaluation:
    """Measure ``network`` on ``batches`` in evaluation mode; its mode is restored.

    Args:
        network: Returns logits ``(B, classes)``, or a tuple that begins with them.
        batches: Normalised images ``(B, C, H, W)`` and labels ``(B,)``.
        num_classes: Classes.
        reduce: Sums a tensor over the processes that share the batches.

    Raises:
        ConfigError: There are no images.
        DivergedError: Logits are NaN or infinite.
    """
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
    for images, labels in batches:
        output = network(images)
        logits: Tensor = output[0] if isinstance(output, tuple) else output
        ranked = logits.sort(dim=1, descending=True, stable=True).indices
        best = ranked[:, : min(5, num_classes)]  # equal logits: the first class, as argmax
        hits = best == labels[:, None]
        loss = functional.cross_entropy(logits.double(), labels, reduction="sum")
        bad = (~logits.isfinite()).any(dim=1).sum().double()
        sums += torch.stack([hits[:, 0].sum().double(), hits.sum().double(), loss, bad])
        index = labels * num_classes + best[:, 0]
        confusion += torch.bincount(index, minlength=num_classes * num_classes)
    network.train(was_training)
    if reduce is not None:
        sums, confusion = reduce(sums), reduce(confusion)
    count = int(confusion.sum())
    if count == 0:
        raise ConfigError("there are no images to evaluate on.")
    first, five, total, bad_images = sums.tolist()
    if bad_images:
        raise DivergedError(
            f"the logits of {bad_images:.0f} of {count} images are NaN or infinite.",
            "Such a network has no accuracy.",
            "Evaluate an earlier checkpoint, or train again with a lower learning rate.",
        )
    return Evaluation(
        images=count,
        top1=round(first),
        top5=round(five) if num_classes > 5 else None,
        loss=total / count,
        confusion=confusion.view(num_classes, num_classes).cpu(),
    )
