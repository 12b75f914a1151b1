"""Every built-in estimator runs a short search, on every level, through the same loop."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.runner import RunOptions, run_search
from nasbench_snas.search.search import Search

NAMES = [entry.name for entry in Registry().estimators()]
TINY = [
    "data.dataset=fake",
    "data.fake.train_images=80",
    "search.epochs=1",
    "search.batch_size=16",
    "space.nodes=2",
    "space.channels=4",
    "child.samples=1",
    "child.recalibration_images=16",
    "cost.eta=0.1",
]
SMALLER = {"enas": ["estimator.hidden=8"], "enas-ppo": ["estimator.hidden=8"]}


@pytest.mark.slow
@pytest.mark.parametrize("level", ["joint", "bilevel", "unrolled"])
@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_completes_a_search(tmp_path: Path, name: str, level: str) -> None:
    assignments = [*TINY, *SMALLER.get(name, []), f"search.level='{level}'"]
    plan = plan_run(Registry(), name, "snas-unit", assignments=assignments)
    folder = RunFolder(tmp_path / plan.run_id)
    result = run_search(plan.config, Registry(), folder, RunOptions(kernels="reference"))
    assert folder.status()["status"] == "done"
    assert result["epochs_done"] == 1
    assert 0 <= result["child_valid_acc"] <= 100
    views = {(cell["view"], cell["statistics"]) for cell in result["child_matrix"]}
    assert {(v, "inherited") for v in ("hard", "mean", "argmax", "top2")} <= views
    (event,) = [e for e in folder.events() if e["kind"] == "epoch"]
    for key in ("train_loss", "search_loss", "entropy", "expected_cost", "max_prob"):
        assert math.isfinite(event[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_rules_that_compare_and_theta_policies_go_with_it(name: str) -> None:
    joint = ["search.level=joint", "child.selection_fraction=0.5"]
    kinds = {
        "perturbation": [*joint, "child.parameters.tune_steps=1"],
        "shapley": [*joint, "child.parameters.samples=1"],
        "uniform": ["search.level=bilevel"],
        "strict-fairness": ["search.level=bilevel"],
        "sandwich": ["search.level=bilevel"],
    }
    for kind, more in kinds.items():
        key = "child.rule" if kind in ("perturbation", "shapley") else "search.theta_policy"
        assignments = [*TINY, *SMALLER.get(name, []), *more, f"{key}={kind}"]
        config = plan_run(Registry(), name, "snas-unit", assignments=assignments).config
        search = Search(config, Registry(), kernels="reference")
        found = search.rule if search.policy is None else search.policy
        assert found.name == kind
        search.one_step()
        if search.rule.uses_images:
            assert search.selected().z.sum(dim=-1).max() == 1, kind
