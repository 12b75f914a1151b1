"""Small retrainings on made-up images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.plan import Target, plan_retraining
from nasbench_snas.settings.layers import flatten
from nasbench_snas.settings.retrain import RetrainConfig

Make = Callable[..., RetrainConfig]


def tiny(name: str = "snas-mild", seed: int = 0, **settings: Any) -> RetrainConfig:
    """Return the settings of a retraining that takes a second; ``settings`` are dotted keys."""
    values = {
        "data.dataset": "fake",
        "data.fake.train_images": 48,
        "data.fake.test_images": 30,
        "data.fake.classes": 3,
        "network.channels": 2,
        "network.cells": 3,
        "training.epochs": 2,
        "training.batch_size": 16,
        "training.drop_path": 0.3,
        **settings,
    }
    assignments = [f"{key}={_toml(value)}" for key, value in flatten(values).items()]
    plan = plan_retraining(
        Registry(), Target(name, zoo(name)), preset="smoke", seed=seed, assignments=assignments
    )
    return plan.config


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


@pytest.fixture(name="tiny")
def _tiny() -> Make:
    return tiny
