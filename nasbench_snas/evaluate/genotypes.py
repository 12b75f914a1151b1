"""Genotypes in run folders: where the folder is, and in which space its genotype lives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.space import Space
from nasbench_snas.architecture.text import holds_genotype, load_genotype, read_genotype
from nasbench_snas.architecture.zoo import zoo_key, zoo_names
from nasbench_snas.errors import GenotypeError, UnknownRunError
from nasbench_snas.runs.folder import RunFolder, is_file

if TYPE_CHECKING:
    from nasbench_snas.registry import Registry

GENOTYPE_FILE = "genotype.json"
CONFIG_FILE = "config.toml"
PROBABILITIES_FILE = "alpha.npz"
_SIZES = {"in_channels": 3, "num_classes": 10, "resolution": 32}
"""Images of a space that a genotype names without their sizes: those of CIFAR-10."""


@dataclass(frozen=True)
class FoundGenotype:
    """A genotype that a command was given.

    Attributes:
        genotype: The cells.
        folder: The run folder it stands in, or None.
    """

    genotype: Genotype
    folder: Path | None = None

    def space(self, registry: Registry) -> Space | None:
        """Return the space it was found in: the run's, else what the genotype says, else None.

        Raises:
            ConfigError: The settings cannot be read.
            PluginError: The space is unknown or broken.
        """
        space = None if self.folder is None else run_space(registry, self.folder)
        return space or genotype_space(registry, self.genotype)


def find_genotype(target: str, root: Path) -> FoundGenotype | None:
    """Return the genotype that ``target`` is, names or holds: a run's wherever it is a run's.

    A run may be named by its folder, its name in ``root``, or its file ``genotype.json``. None if
    ``target`` is nothing that could hold a genotype.

    Raises:
        GenotypeError: It is malformed, or holds several that differ.
    """
    if not holds_genotype(target):
        if (folder := find_run(target, root)) is not None:
            from nasbench_snas.runs.plugins import check_operations

            check_operations(RunFolder(folder))
            return FoundGenotype(read_genotype(folder / GENOTYPE_FILE), folder)
        if not Path(target).exists() and zoo_key(target) not in zoo_names():
            return None
    return FoundGenotype(load_genotype(target))


def find_run(target: str, root: Path) -> Path | None:
    """Return the folder with a genotype that ``target`` names, itself or in ``root``, or None.

    Raises:
        UnknownRunError: The name is empty.
        CheckpointError: It is a run whose parts do not belong together.
    """
    if not target.strip():
        raise UnknownRunError(target, root)
    path = Path(target)
    if path.name == GENOTYPE_FILE and is_file(path.parent / CONFIG_FILE) and is_file(path):
        RunFolder(path.parent).verify()
        return path.parent
    for folder in (path, root / target):
        if is_file(folder / GENOTYPE_FILE):
            if is_file(folder / CONFIG_FILE):
                RunFolder(folder).verify()
            return folder
    return None


def genotype_space(registry: Registry, genotype: Genotype) -> Space | None:
    """Return the space that ``genotype`` says it was found in, or None if it says none.

    Raises:
        GenotypeError: What it says is malformed.
        PluginError: The space is unknown.
    """
    if genotype.space is None:
        return None
    from nasbench_snas.settings.parameters import create

    said: dict[str, Any] = {**_SIZES, **genotype.space}
    sizes = [said[key] for key in _SIZES]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise GenotypeError(f"space: expected whole numbers above 0, got {sizes}.")
    family = create(registry.space(said["name"]), said.get("settings", {}), "space")
    built: Space = family.build(*sizes)
    return built


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
    from nasbench_snas.settings.toml import read_toml

    check_plugins(RunFolder(folder), registry, ("space", "operation"))
    if "genotype" in read_toml(folder / CONFIG_FILE):  # a retraining: its genotype says the space
        return None
    config = load_config(folder / CONFIG_FILE)
    if (sizes := config.data.declared_sizes) is None:
        return None
    family = registry.space(config.space.name)(**config.space.parameters)
    return family.build(*sizes)
