"""``--track-gradients``: gradient quality is logged, and the run is the same as without it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.runner import RunOptions, run_search

TINY = [
    "data.dataset=fake",
    "data.fake.train_images=64",
    "search.epochs=2",
    "search.batch_size=16",
    "search.drop_path=0.2",
    "space.nodes=2",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=16",
]


@pytest.mark.parametrize("estimator", ["snas", "reinforce"])
def test_tracking_logs_variance_and_bias_and_changes_nothing(
    tmp_path: Path, estimator: str
) -> None:
    found = []
    for every in (0, 2):
        plan = plan_run(
            Registry(),
            estimator,
            "snas-unit",
            assignments=[*TINY, f"search.track_gradients={every}"],
        )
        folder = RunFolder(tmp_path / str(every) / plan.run_id)
        run_search(plan.config, Registry(), folder, RunOptions(kernels="reference"))
        events = [json.loads(x) for x in folder.events_file.read_text().splitlines()]
        with np.load(folder.path / "alpha.npz") as arrays:
            found.append((plan.run_id, events, arrays["probs"]))
    (plain_id, plain, alpha), (tracked_id, tracked, tracked_alpha) = found
    assert plain_id == tracked_id
    assert np.array_equal(alpha, tracked_alpha)
    for before, after in zip(plain, tracked, strict=True):
        assert before["train_loss"] == after["train_loss"]
        assert before["search_acc"] == after["search_acc"]
        assert not [key for key in before if key.startswith("gradient_")]
        assert after["gradient_variance"] > 0
        for key in ("gradient_norm", "gradient_exact_norm", "gradient_bias_sq", "gradient_cosine"):
            assert math.isfinite(after[key]), key
