"""The prediction's arithmetic: occupancy and what bounds a launch."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

from nasbench_snas.prove.ahead import Usage
from nasbench_snas.prove.predict import (
    H100,
    LIMITS,
    WAVE,
    Prediction,
    occupancy,
    resource_table,
    table,
    time_of,
)


def usage(registers: int = 32, shared: int = 0) -> Usage:
    return Usage("k", 90, registers, 0, 0, shared)


def test_occupancy_is_bounded_by_registers_threads_or_shared_memory() -> None:
    assert occupancy(usage(32), H100) == 1.0
    assert occupancy(usage(64), H100) == 0.5
    assert occupancy(usage(128), H100) == 0.25
    assert occupancy(usage(32, shared=56 * 1024), H100) == 4 * 128 / 2048


@pytest.mark.parametrize(
    ("moved", "operations", "programs", "bound"),
    [
        (3_350_000_000, 0, 10**5, "bytes"),
        (0, 66_900_000_000, 10**4, "operations"),
        (1000, 1000, 4, "latency"),
    ],
)
def test_the_slowest_resource_bounds_a_launch(
    moved: int, operations: int, programs: int, bound: str
) -> None:
    seconds, found = time_of(moved, operations, programs, 0.5, H100)
    assert found == bound
    assert seconds == pytest.approx((WAVE if bound == "latency" else 1e-3) + H100.launch)


def test_the_table_says_that_it_is_a_prediction() -> None:
    row = Prediction("k", 3, 10**7, 10**8, 1e-3, "bytes", usage(), 0.5)
    text = table([row], {"launches": 3, "seconds": 0.001})
    assert (
        "predicted" in text and "| `k` | 3 | 10 | 10.0 | 32 | 0 | 0 | 50% | bytes | 1.00 |" in text
    )


def test_resources_are_tabulated_by_capability() -> None:
    found = {"k": {80: (usage(64), 0.5), 120: (usage(32, 512), 1.0)}}
    text = resource_table(found)
    assert "| kernel | 8.0 | 12.0 |" in text
    assert "| `k` | 64 / 0 / 0 / 50% | 32 / 512 / 0 / 100% |" in text


def test_a_multiprocessor_of_another_capability_holds_other_programs() -> None:
    """Less shared memory and fewer threads: 100 KB and 1536 on 12.0."""
    assert occupancy(usage(32), LIMITS[120]) == 1.0
    assert occupancy(usage(32, shared=24 * 1024), LIMITS[120]) == 4 * 128 / 1536
    assert occupancy(usage(32, shared=24 * 1024), LIMITS[90]) == 9 * 128 / 2048
