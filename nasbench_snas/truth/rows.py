"""Architectures as rows of a table that holds them all, in lexicographic order of their operations.

The first edge is the most significant digit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

SAMPLE = 200
"""Architectures that rank correlations are measured on."""

Array = np.ndarray[Any, np.dtype[Any]]


def rows_of(choices: Tensor, operations: int) -> Array:
    """Return the rows of architectures.

    Args:
        choices: Operation of each edge, shape ``(N, E)``.
        operations: ``K``.

    Returns:
        Shape ``(N,)``, int64.
    """
    weights = operations ** torch.arange(choices.shape[1] - 1, -1, -1)
    rows: Array = (choices.cpu() * weights).sum(dim=1).numpy()
    return rows


def stratified(means: Array, operations: int, edges: int) -> Tensor:
    """Return one architecture of each of :data:`SAMPLE` equal ranges of ranks, always the same.

    Args:
        means: Accuracy of each row, shape ``(K^E,)``.
        operations: ``K``.
        edges: ``E``.

    Returns:
        Operation of each edge, shape ``(200, E)``.
    """
    order = np.argsort(means, kind="stable")
    generator = np.random.default_rng(0)
    chosen = torch.tensor([int(generator.choice(part)) for part in np.array_split(order, SAMPLE)])
    digits = [chosen // operations**place % operations for place in range(edges - 1, -1, -1)]
    return torch.stack(digits, dim=1)
