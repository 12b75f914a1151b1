"""Compiled networks: every network of a process is compiled, each to one graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nasbench_snas.registry import Registry
from nasbench_snas.retrain.compiled import Compiled
from nasbench_snas.retrain.loop import Retraining


class Scaled(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def test_the_eleventh_network_of_a_process_is_compiled_like_the_first() -> None:
    """Eight is where torch stops: without a new start, three of these would run eagerly."""
    for width in range(1, 12):
        compiled = Compiled(Scaled(width), "eager")
        for _ in range(2):
            compiled.forward(torch.zeros(2, width))
        assert compiled.graphs == 1, width


def test_another_shape_is_another_graph_and_is_counted() -> None:
    compiled = Compiled(Scaled(1), "eager")
    for width in (1, 2, 3):
        compiled.forward(torch.zeros(2, width))
    assert compiled.graphs > 1


@pytest.mark.slow
def test_path_dropout_needs_no_second_graph_and_no_other_numbers(tiny: Any) -> None:
    """The rate is zero in the first epoch and positive in the second one."""
    works = [
        Retraining(
            tiny(**{"speed.compile": backend, "network.cells": 1}), Registry(), kernels="reference"
        )
        for backend in ("eager", "off")
    ]
    for work in works:
        for _ in range(2):
            while not work.epoch_finished:
                work.one_step()
            event = work.finish_epoch()
            assert event.get("compiled_graphs") == (1 if work.compiled else None)
    assert works[0].note.endswith("1 graphs compiled") and "graphs" not in works[1].note
    for one, other in zip(*(work.network.parameters() for work in works), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
