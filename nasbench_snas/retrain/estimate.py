"""Estimates of time for retrainings, from finished ones of this device.

A step's work is its images times the multiply-adds of the network, as the result records them; how
seconds follow from it is said in :mod:`nasbench_snas.search.estimate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasbench_snas.errors import NasbenchError
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.network import check_budget, network_plan
from nasbench_snas.runs.folder import RETRAININGS, RunFolder, run_folders
from nasbench_snas.search.estimate import Expected, Finished, Kind
from nasbench_snas.settings.retrain import RetrainConfig, retraining_from_toml


def kind_of(config: RetrainConfig) -> Kind:
    """Return what two retrainings must share: the network's skeleton, precision, compiler."""
    return config.network.skeleton, config.training.amp, config.speed.compile


def steps_of(config: RetrainConfig) -> int | None:
    """Return all steps, or None if the settings do not say how many images there are."""
    images = config.data.declared_train_images
    if images is None:
        return None
    return images // config.training.batch_size * config.training.epochs


def work_of(registry: Registry, config: RetrainConfig) -> float | None:
    """Return the multiply-adds of a step, or None if the settings do not say the images' size."""
    if (sizes := config.data.declared_sizes) is None:
        return None
    channels, classes, side = sizes
    plan = network_plan(config, (channels, side, side), classes, registry)
    return float(check_budget(config, plan, allow=True).macs * config.training.batch_size)


class RetrainTimes(Finished):
    """What the finished retrainings of a store took on a device.

    Args:
        registry: Where search spaces come from.
        root: The store.
        device: The name of the device, as runs record it.
    """

    def __init__(self, registry: Registry, root: Path, device: str) -> None:
        super().__init__(device)
        self.registry = registry
        for run in run_folders(root / RETRAININGS):
            self.read(run, lambda result, run=run: _look(run, result))  # type: ignore[misc]

    def expected(self, config: RetrainConfig) -> Expected | None:
        """Return what a retraining will take, or None if nothing near it has finished."""
        try:
            work = work_of(self.registry, config)
        except NasbenchError:
            return None  # the check behind the plan says why it cannot be built
        return self.near(kind_of(config), work, steps_of(config))

    def told(self, config: RetrainConfig) -> str:
        """Return the estimate in words."""
        return self.in_words(self.expected(config))


def _look(run: RunFolder, result: dict[str, Any]) -> tuple[Kind, float | None]:
    config = retraining_from_toml(run.config_file.read_text(encoding="utf-8"))
    return kind_of(config), float(result["macs"]) * config.training.batch_size
