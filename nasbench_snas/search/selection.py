"""The derive rule best-of-N: draw N architectures, keep the one that validates best.

Candidates are drawn from the distribution and measured with the parent's weights and its running
batch-norm statistics (``inherited``) on the selection part of the search validation images; a
candidate that is drawn again is measured once, and of equal ones the first drawn is kept. What is
kept is reported on other images: the best of N on its own selection images would flatter.

Reference: Li and Talwalkar 2019, arXiv:1902.07638, section 3.2 (random search with weight sharing);
Pham et al. 2018, arXiv:1802.03268, section 2.2 (ENAS). Deviation from both: the whole selection
part instead of one minibatch, and inherited statistics instead of the minibatch's own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasbench_snas.api import Distribution
from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.compute.deadline import Deadline
from nasbench_snas.search.child import Batches, accuracy

_TOGETHER = 8
"""Architectures of one pass over the batches."""


@dataclass(frozen=True)
class Selection:
    """What best-of-N chose.

    Attributes:
        z: The architecture, shape ``(E, K)``.
        accuracy: Its accuracy on the selection part, percent (an estimate that is too high).
        candidates: N, architectures drawn.
        distinct: Different ones among them, all measured but where the time was up.
        images: Images that each was measured on.
        seconds: Wall-clock seconds.
    """

    z: Tensor
    accuracy: float
    candidates: int
    distinct: int
    images: int
    seconds: float


@torch.no_grad()
def best_of(
    parent: nn.Module,
    dist: Distribution,
    generator: torch.Generator,
    *,
    candidates: int,
    batches: Batches,
    deadline: Deadline | None = None,
) -> Selection:
    """Return the best of ``candidates`` architectures drawn from ``dist``.

    Args:
        parent: The trained parent.
        dist: The distribution.
        generator: Source of the candidates.
        candidates: N.
        batches: Yields the batches of the selection part anew at each call.
        deadline: When it has to end: the candidates that are left then are not measured, and the
            first ones are, on one batch at least. None: never.

    Raises:
        DivergedError: Logits are NaN or infinite.
    """
    began = time.perf_counter()
    drawn = dist.hard(dist.noise(1, candidates, generator))[0]
    rows = list(dict.fromkeys(tuple(row) for row in drawn.argmax(dim=-1).tolist()))
    z = one_hot(torch.tensor(rows), dist.num_operations, torch.float32).to(drawn.device)
    limit = deadline or Deadline()
    measured: list[Tensor] = []
    for part in z.split(_TOGETHER):
        if measured and limit.leaves_out():
            break
        measured.append(accuracy(parent, part, limit.limit(batches())))
    values = torch.cat(measured)
    best = int(values.argmax())
    return Selection(
        z=z[best],
        accuracy=float(values[best]),
        candidates=candidates,
        distinct=len(values),
        images=sum(len(labels) for _, labels in batches()),
        seconds=time.perf_counter() - began,
    )
