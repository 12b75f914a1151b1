"""The factors of path dropout: scaled, and the same on every number of processes."""

from __future__ import annotations

import pytest
import torch
from small_cell import SPACE, generator

from nasbench_snas.compute.distributed import World
from nasbench_snas.search.path_dropout import path_dropout


def test_kept_edges_are_scaled_and_so_many_are_dropped() -> None:
    """16200 factors, each dropped with probability 0.3: 5 standard errors are 0.018."""
    found = path_dropout(SPACE, 0.3, 5400, World(), generator())
    assert found is not None and found.shape == (1, SPACE.num_edges, 5400)
    assert found.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float((found == 0).double().mean()) == pytest.approx(0.3, abs=0.018)
    assert path_dropout(SPACE, 0.0, 4, World(), generator()) is None


def test_processes_share_out_the_factors_of_one() -> None:
    whole = path_dropout(SPACE, 0.5, 8, World(), generator())
    parts = [path_dropout(SPACE, 0.5, 4, World(rank, 2), generator()) for rank in range(2)]
    assert whole is not None
    assert torch.equal(torch.cat([p for p in parts if p is not None], dim=-1), whole)
