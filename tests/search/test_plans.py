"""What is known of planned searches before they start: which are alike, and how many steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder, Status
from nasbench_snas.search.estimate import steps_of
from nasbench_snas.search.plan import PlannedRun, must_repeat, plan_run
from nasbench_snas.search.ready import unlike
from nasbench_snas.search.search import Search


def planned(*assignments: str, seed: int = 0) -> PlannedRun:
    return plan_run(Registry(), "snas", "snas-unit", seed=seed, assignments=assignments)


def test_of_plans_that_differ_in_the_seed_the_first_is_checked() -> None:
    plans = [planned(f"search.epochs={n}", seed=seed) for n in (2, 3) for seed in (7, 4, 5)]
    assert unlike(plans) == [plans[0], plans[3]]
    assert unlike([]) == []


@pytest.mark.parametrize(
    ("status", "rerun", "repeated"),
    [
        ("failed", "failed", True),
        ("diverged", "failed", True),
        ("interrupted", "failed", False),
        ("done", "failed", False),
        ("failed", "none", False),
        ("done", "all", True),
    ],
)
def test_the_runs_that_are_asked_for_are_made_anew(
    tmp_path: Path, status: Status, rerun: str, repeated: bool
) -> None:
    plan, folder = planned(), RunFolder(tmp_path)
    folder.set_status(status)
    assert must_repeat(Registry(), folder, plan.config, rerun) is repeated


@pytest.mark.parametrize("level", ["joint", "bilevel"])
@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_the_steps_of_a_plan_are_those_of_its_search(level: str, protocol: str) -> None:
    plan = planned(
        "data.max_train_images=300",
        "search.batch_size=16",
        f"search.level={level}",
        f"data.protocol={protocol}",
    )
    found = Search(plan.config, Registry(), kernels="reference").steps_per_epoch
    assert steps_of(plan.config) == found > 1
