"""DARTS+ against counts by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nasbench_snas.api import Categorical, EpochState
from nasbench_snas.architecture.space import CellType, Layer
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search
from nasbench_snas.seeding import stream
from nasbench_snas.stops.skip_count import SkipCount
from nasbench_snas.testing import StopConformance
from nasbench_snas.testing.toy import toy_space


class TestKit(StopConformance):
    stop = SkipCount


SPACE = replace(
    toy_space(),
    cells=(CellType.dense("normal", 2, 2), CellType.dense("reduce", 2, 2)),
    layers=(Layer("cell", 4, 1, "normal"), Layer("cell", 4, 2, "reduce")),
)


def state(choices: list[int], epoch: int = 3) -> EpochState:
    """A derived architecture: the operation of each edge, or -1 for a dropped one."""
    z = torch.zeros(SPACE.num_edges, SPACE.num_operations)
    for edge, choice in enumerate(choices):
        if choice >= 0:
            z[edge, choice] = 1
    return EpochState(
        SPACE,
        Categorical(torch.zeros_like(z)),
        stream(0, "x"),
        epoch=epoch,
        epochs=9,
        derive=lambda: z,
        loss=lambda images: pytest.fail("it needs no loss"),
    )


@pytest.mark.parametrize(
    ("choices", "count"),
    [
        ([1, 2, 2, 2, 2, 1, 1, 1, 1, 1], 1),
        ([1, 2, -1, 1, 2, 2, 2, 2, 2, 2], 2),
        ([-1, 0, 0, 2, 3, 1, 1, 1, 1, 1], 0),
        ([1, 1, 1, 1, 1, 2, 2, 2, 2, 2], 5),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_skips_of_normal_cells_alone_are_counted(
    choices: list[int], count: int, limit: int
) -> None:
    """Edges 0 to 4 are the normal cell's; what the reduction has does not count."""
    seen = state(choices)
    verdict = SkipCount(limit=limit).decide(seen)
    assert seen.logged == {"skips_normal": count}
    assert (verdict is not None) == (count >= limit)
    if verdict is not None:
        assert f"{count} skip connections in cell 'normal'" in verdict.reason
        assert verdict.back == 0


def test_it_does_not_end_before_its_start() -> None:
    stop = SkipCount(start=4)
    assert stop.decide(state([1] * 10, epoch=3)) is None
    assert stop.decide(state([1] * 10, epoch=4)) is not None


@pytest.mark.parametrize(
    ("space", "limit", "said"),
    [
        (replace(SPACE, operations=("none", "sep_conv_3x3")), 2, "no skip connection"),
        (replace(SPACE, layers=(Layer("cell", 4, 2, "reduce"),)), 2, "no such cell"),
        (SPACE, 6, "never be reached"),
    ],
)
def test_a_space_in_which_it_means_nothing_is_refused(space, limit: int, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=said):
        SkipCount(limit=limit).check(space)


def test_a_rule_that_measures_images_is_refused() -> None:
    registry = Registry()
    tiny = ["data.dataset=fake", "data.fake.train_images=48", "search.epochs=2"]
    plan = plan_run(
        registry,
        "darts",
        "snas-unit",
        assignments=[*tiny, 'stops=["skip-count"]', "child.rule=best-of-N"],
    )
    with pytest.raises(ConfigError, match="compares architectures on images"):
        Search(plan.config, registry)
