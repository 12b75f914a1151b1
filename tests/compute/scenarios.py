"""Small searches in float64 that one process or several run: ``python scenarios.py OUT``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.compute.distributed import World, joined
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.plan import Target, plan_retraining
from nasbench_snas.search.plan import complete
from nasbench_snas.search.search import Search
from nasbench_snas.settings.run import validate

STEPS = 2

# name: estimator, level, further settings of the search
SCENARIOS: dict[str, tuple[str, dict[str, Any]]] = {
    "snas-joint": ("snas", {"drop_path": 0.3}),
    "reinforce-joint": ("reinforce", {}),
    "relax-joint": ("relax", {}),
    "darts-bilevel": ("darts", {"level": "bilevel"}),
    "snas-fair": ("snas", {"level": "bilevel", "theta_policy": "strict-fairness"}),
    "darts-unrolled": ("darts", {"level": "unrolled"}),
    "darts-difference": (
        "darts",
        {"level": "unrolled", "unrolled_hessian": "finite-difference"},
    ),
}


def build(name: str, world: World, *, synchronised: bool = True) -> Search:
    """Return the search of a scenario, in float64."""
    estimator, search = SCENARIOS[name]
    values = {
        "estimator": {"name": estimator},
        "space": {"name": "darts-cnn", "nodes": 1, "cells": 3, "channels": 2},
        "data": {"dataset": "fake", "fake": {"train_images": 24, "size": 8, "classes": 3}},
        "search": {
            "epochs": 2,
            "batch_size": 4,
            "sync_batchnorm": synchronised,
            "alpha": {"lr": 0.1},
            **search,
        },
    }
    plan = complete(Registry(), validate(values), {})
    made = Search(plan.config, Registry(), "cpu", "reference", world)
    made.parent.double()
    made.dist.double()
    made.estimator.double()
    made.augment.dtype = torch.float64
    return made


def measure(name: str, world: World) -> dict[str, Any]:
    """Do a few steps and return what must not depend on the number of processes."""
    search = build(name, world)
    losses = []
    for _ in range(STEPS):
        search.one_step()
        losses.append(search.sums["loss"])
    valid = search.validate() if name == "snas-joint" else (0.0, 0.0)
    return {
        "theta": dict(search.parent.state_dict()),
        "alpha": dict(search.dist.state_dict()),
        "estimator": {
            k: v for k, v in search.estimator.state_dict().items() if isinstance(v, torch.Tensor)
        },
        "losses": losses,
        "valid": valid,
        "images": search.train_stream.next_batch()[0],
        "noise": search.estimator.noise(search.dist, 1, search.generators["noise"]),
    }


def local(world: World) -> dict[str, Any]:
    """Return theta after some steps with local batch norms."""
    search = build("snas-joint", world, synchronised=False)
    for _ in range(STEPS):
        search.one_step()
    return dict(search.state_dict()["parent"])


def retrain(world: World) -> dict[str, Any]:
    """Return what a retraining with path dropout and synchronised batch norms measures."""
    config = plan_retraining(
        Registry(),
        Target("snas-mild", zoo("snas-mild")),
        assignments=[
            'data.dataset="fake"',
            "data.fake.train_images=16",
            "data.fake.test_images=7",
            "network.channels=2",
            "network.cells=3",
            "training.epochs=2",
            "training.batch_size=8",
            "training.eval_batch_size=3",
            "training.drop_path=0.5",
            "training.sync_batchnorm=true",
        ],
    ).config
    work = Retraining(config, Registry(), "cpu", world, dtype=torch.float64)
    for _ in range(4):
        work.one_step()
        if work.epoch_finished:
            event = work.finish_epoch()
    test = work.evaluate()
    return {
        "theta": dict(work.network.state_dict()),
        "event": {key: event[key] for key in ("train_loss", "train_acc", "drop_path")},
        "test": [test.images, test.top1, test.loss],
        "confusion": test.confusion,
    }


def main(out: Path) -> None:
    """Run every scenario and write what it gave, one file a rank."""
    torch.set_num_threads(1)
    with joined("cpu") as world:
        found: dict[str, Any] = {name: measure(name, world) for name in SCENARIOS}
        found["local"] = local(world)
        found["retrain"] = retrain(world)
        torch.save(found, out / f"rank{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
