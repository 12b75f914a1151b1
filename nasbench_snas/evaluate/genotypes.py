"""Genotypes in run folders: where the folder is, and in which space its genotype lives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nasbench_snas.architecture.space import Space
from nasbench_snas.runs.folder import RunFolder

if TYPE_CHECKING:
    from nasbench_snas.registry import Registry

GENOTYPE_FILE = "genotype.json"
CONFIG_FILE = "config.toml"
PROBABILITIES_FILE = "alpha.npz"


def find_run(target: str, root: Path) -> Path | None:
    """Return the folder with a genotype that ``target`` names, itself or in ``root``, or None.

    Raises:
        CheckpointError: It is a run whose parts do not belong together.
    """
    for folder in (Path(target), root / target):
        if (folder / GENOTYPE_FILE).is_file():
            if (folder / CONFIG_FILE).is_file():
                RunFolder(folder).verify()
            return folder
    return None


def run_space(registry: Registry, folder: Path) -> Space | None:
    """Return the space that the run in ``folder`` searched, at its size, or None if unknown.

    Raises:
        ConfigError: The settings cannot be read.
        PluginError: The space is unknown or broken.
    """
    if not (folder / CONFIG_FILE).is_file():
        return None
    from nasbench_snas.runs.plugins import check_plugins
    from nasbench_snas.search.plan import load_config

    check_plugins(RunFolder(folder), registry, ("space",))
    config = load_config(folder / CONFIG_FILE)
    data = config.data
    if data.dataset == "fake":
        shape = (data.fake.channels, data.fake.classes, data.resolution or data.fake.size)
    elif data.info.shape is not None and data.info.classes is not None:
        shape = (data.info.shape[0], data.info.classes, data.resolution or data.info.shape[1])
    else:
        return None
    family = registry.space(config.space.name)(**config.space.parameters)
    return family.build(*shape)
