"""A finished run as a point of the gradient study."""

from __future__ import annotations

from pathlib import Path

import torch

from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.load import load_search
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.runner import RunOptions, run_search
from nasbench_snas.study.points import run_point

TINY = [
    "data.dataset=fake",
    "data.fake.train_images=64",
    "search.epochs=1",
    "search.batch_size=16",
    "space.nodes=1",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=16",
]


def test_a_finished_run_gives_its_weights_and_probabilities_as_a_point(tmp_path: Path) -> None:
    registry = Registry()
    plan = plan_run(registry, "snas", "snas-unit", assignments=TINY)
    folder = RunFolder(tmp_path / plan.run_id)
    run_search(plan.config, registry, folder, RunOptions(kernels="reference"))
    point = run_point(tmp_path, plan.run_id, registry)
    search = load_search(folder, registry)
    expected = search.parent.canonical(search.parent.state_dict())
    for name, tensor in point.parent.state_dict().items():
        assert torch.equal(tensor, expected[name].to(tensor)), name
    torch.testing.assert_close(point.probs, search.dist.probs[0].detach().double())
