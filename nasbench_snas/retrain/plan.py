"""From a run or a genotype to a fully resolved retraining; choosing among several searches.

The paper "choose[s] the best cells based on their search validation accuracy" (SNAS,
arXiv:1812.09926, section 3): :func:`best_search` does that and records among which searches, so
that reports keep "best of n" apart from "each seed". Test images play no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.text import holds_genotype, load_genotype, read_genotype
from nasbench_snas.architecture.zoo import zoo_key, zoo_names
from nasbench_snas.data.fingerprint import with_content
from nasbench_snas.errors import (
    CheckpointError,
    ConfigError,
    GenotypeError,
    UnknownRunError,
    suggest,
)
from nasbench_snas.outside import file_name
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.runner import canonical_genotype
from nasbench_snas.runs.folder import RETRAININGS, RunFolder, find_run, run_folders
from nasbench_snas.runs.named import named_in
from nasbench_snas.runs.plugins import check_operations, check_plugins
from nasbench_snas.search.plan import load_config
from nasbench_snas.settings.layers import Layers
from nasbench_snas.settings.parameters import resolve_parameters
from nasbench_snas.settings.retrain import (
    RetrainConfig,
    load_retrain_preset,
    retrain_presets,
    retraining_from_toml,
    validate_retraining,
)
from nasbench_snas.settings.run import Choice, RunConfig
from nasbench_snas.settings.sources import bound
from nasbench_snas.settings.toml import read_toml

_FROM_SEARCH = ("dataset", "parameters", "root", "cache_dir", "resolution", "fingerprint", "fake")


@dataclass(frozen=True)
class Target:
    """What is to be retrained.

    Attributes:
        name: For the folder's name.
        genotype: The cells.
        search: The folder of the search that found them, or None.
        candidates: The searches it was chosen among; empty if it was named.
    """

    name: str
    genotype: Genotype
    search: RunFolder | None = None
    candidates: tuple[str, ...] = ()

    def parent_result(self) -> dict[str, Any] | None:
        """Return the result of the search, if there is one."""
        return None if self.search is None else self.search.result()


@dataclass(frozen=True)
class PlannedRetraining:
    """A retraining that could start now.

    Attributes:
        config: All settings.
        sources: Where each value came from.
        parent: Result of the search that found the cells, if there is one.
    """

    config: RetrainConfig
    sources: dict[str, str]
    parent: dict[str, Any] | None = None


def find_target(root: Path, text: str) -> Target:
    """Return what ``text`` names: a genotype (text, file, zoo name), or a finished search.

    The file ``genotype.json`` in a run's folder is that run.

    Raises:
        GenotypeError: It is neither, or the genotype is malformed.
        CheckpointError: The search has no genotype yet, or several searches match.
    """
    path = Path(text)
    if path.name == "genotype.json" and _is_search(path.parent) and not holds_genotype(text):
        return search_target(RunFolder(path.parent))
    if holds_genotype(text):
        genotype = load_genotype(text)
        return Target(_file_name(genotype.name), genotype)
    if path.is_file() or zoo_key(text) in zoo_names():
        genotype = load_genotype(text)
        stem = path.stem if path.is_file() else zoo_key(text)
        return Target(_file_name(genotype.name or stem), genotype)
    try:
        folder = find_run(root, text)
    except UnknownRunError as error:
        if error.several or not text.strip():
            raise
        raise GenotypeError(
            f"{text!r} is neither a run in {root} nor a genotype.",
            suggest(text, [*(f.run_id for f in run_folders(root)), *zoo_names()]),
        ) from error
    return search_target(folder)


def search_target(folder: RunFolder, candidates: tuple[str, ...] = ()) -> Target:
    """Return the target of a finished search.

    Raises:
        CheckpointError: It has no genotype yet.
    """
    file = folder.path / "genotype.json"
    if not file.is_file():
        status = folder.status().get("status", "queued")
        raise CheckpointError(
            f"run {folder.run_id} has no genotype: it is {status}.",
            "A search derives its cells at its end.",
            f"Finish it first: nasbench run --resume {folder.run_id}",
        )
    check_operations(folder)
    return Target(folder.run_id, read_genotype(file), folder, candidates)


def best_search(
    root: Path,
    estimator: str,
    space: str,
    *,
    preset: str | None = None,
    constraint: str | None = None,
    level: str | None = None,
    dataset: str | None = None,
) -> Target:
    """Return the search with the highest search validation accuracy over its seeds.

    Only finished, untruncated searches that differ in nothing but the seed are compared; failed
    seeds stay in the record. Equal accuracies: the lowest seed.

    Args:
        root: The run store.
        estimator: Name of the estimator.
        space: Name of the space.
        preset: Preset of the searches; None: any.
        constraint: Their level of resource constraint; None: any.
        level: Their optimisation level; None: any.
        dataset: Their data set; None: any.

    Raises:
        ConfigError: There is no such search, or there are several kinds of them.
    """
    wanted = {"preset": preset, "constraint": constraint}
    kinds: dict[str, list[RunFolder]] = {}
    labels: dict[str, str] = {}
    for folder in run_folders(root):
        config = load_config(folder.config_file)
        if (config.estimator.name, config.space.name) != (estimator, space):
            continue
        if any(v is not None and getattr(config, k) != v for k, v in wanted.items()):
            continue
        if dataset is not None and config.data.dataset != dataset:
            continue
        if level is not None and config.search.level != level:
            continue
        key = _kind(config)
        labels[key] = f"{config.preset}/{config.constraint}/{config.data.dataset}"
        kinds.setdefault(key, []).append(folder)
    groups = {key: folders for key, folders in kinds.items() if _ranked(folders)[0]}
    if not groups:
        raise ConfigError(
            f"no finished search of {estimator!r} in {space!r} under {root}.",
            "Truncated and unfinished searches are not chosen from.",
            f"nasbench run -e {estimator} -s {space} --seeds 0-9",
        )
    if len(groups) > 1:
        told = ", ".join(f"{labels[k]} ({len(_ranked(v)[0])} seeds)" for k, v in groups.items())
        raise ConfigError(
            f"searches of {estimator!r} in {space!r} differ in more than the seed.",
            f"Preset/constraint/data set: {told}",
            "Say which: --search-preset, --constraint, --search-level, --search-dataset, "
            "or name the run.",
        )
    (folders,) = groups.values()
    return best_of(folders)


def best_of(folders: Iterable[RunFolder]) -> Target:
    """Return the search with the highest search validation accuracy among ``folders``.

    Finished, untruncated searches are compared; those that failed stay in the record. Equal
    accuracies: the lowest seed.

    Raises:
        ConfigError: None of them has finished, or they differ in more than the seed.
    """
    folders = list(folders)
    kinds = {_kind(load_config(folder.config_file)): folder.run_id for folder in folders}
    found, failed = _ranked(folders)
    if len(kinds) > 1 or not found:
        what = "differ in more than the seed" if found else "have no finished one among them"
        raise ConfigError(
            f"the searches {', '.join(folder.run_id for folder in folders)} {what}.",
            "The best of several seeds of one search is chosen by its search validation accuracy.",
        )
    record = [f"{folder.run_id}: {accuracy:.4f}" for accuracy, _, folder in found]
    return search_target(found[0][2], (*record, *failed))


def _kind(config: RunConfig) -> str:
    """Return what the seeds of one search share."""
    alpha = config.search.alpha.model_dump_json()
    return f"{config.comparison()} {sorted(config.estimator.parameters.items())} {alpha}"


def _ranked(
    folders: Iterable[RunFolder],
) -> tuple[list[tuple[float, int, RunFolder]], list[str]]:
    """Return finished searches with accuracy and seed, the best first, and what failed."""
    found, failed = [], []
    for folder in folders:
        status, result = folder.status().get("status"), folder.result()
        if status in ("failed", "diverged"):
            failed.append(f"{folder.run_id}: {status}")
        elif status == "done" and result is not None and not result["truncated"]:
            seed = load_config(folder.config_file).seed
            found.append((float(result["search_valid_acc"]), seed, folder))
    return sorted(found, key=lambda entry: (-entry[0], entry[1])), failed


def default_preset(target: Target) -> str:
    """Return the preset of the search where retrainings have one of that name, else ``smoke``."""
    if target.search is None:
        return "smoke"
    preset = load_config(target.search.config_file).preset
    return preset if preset in retrain_presets() else "smoke"


def plan_retraining(
    registry: Registry,
    target: Target,
    *,
    preset: str = "smoke",
    seed: int = 0,
    file: Path | None = None,
    assignments: Iterable[str] = (),
) -> PlannedRetraining:
    """Resolve the settings of a retraining.

    Later layers override earlier ones: defaults, preset, the search's images (not for the ImageNet
    recipe), file, ``--set``.

    Raises:
        ConfigError: A setting is wrong.
    """
    preset = preset.removeprefix("retrain-")
    layers, search, source = Layers(RetrainConfig), None, ""
    content = load_retrain_preset(preset)
    content.pop("about", None)
    layers.add(content, f"preset {preset}")
    if target.search is not None:
        search = load_config(target.search.config_file)
        source = f"run {target.search.run_id}"
        if content.get("network", {}).get("skeleton") != "imagenet":
            data = search.data.model_dump(mode="json", exclude_none=True)
            layers.add({"data": {k: data[k] for k in _FROM_SEARCH if k in data}}, source)
        layers.add({"space": search.space.model_dump(mode="json")}, source)
    elif target.genotype.space is not None:
        space = target.genotype.space
        layers.add({"space": {**space.get("settings", {}), "name": space["name"]}}, "genotype")
    if (target.genotype.space or {}).get("auxiliary_skip"):
        layers.add({"network": {"auxiliary_skip": True}}, source or "genotype")
    if file is not None:
        layers.add(read_toml(file), str(file.name))
    for assignment in assignments:
        layers.set(assignment)
    if search is not None and layers.values["data"].get("dataset") != search.data.dataset:
        layers.drop("data.parameters.", source)  # they are the other data set's
    command: dict[str, Any] = {
        "name": target.name,
        "parent": "" if target.search is None else target.search.run_id,
        "genotype": canonical_genotype(target.genotype.to_dict()),
        "preset": preset,
        "seed": seed,
        "selection": "best of n" if target.candidates else "each seed",
        "candidates": list(target.candidates),
    }
    layers.add(command, "command line")
    config = _complete(registry, validate_retraining(layers.values), target)
    other = search is not None and search.data.dataset != config.data.dataset
    if target.search is not None and not other:
        check_plugins(target.search, registry, ("dataset",))
    stage = "transfer" if other or config.network.skeleton == "imagenet" else "retrain"
    images = with_content(bound(config.data, registry), ("train", "test"))
    config = config.model_copy(update={"stage": stage, "data": images})
    config = RetrainConfig.model_validate_json(config.model_dump_json())
    config = config.model_copy(update={"data": bound(config.data, registry)})
    return PlannedRetraining(config, layers.sources, target.parent_result())


def _is_search(folder: Path) -> bool:
    """Whether ``folder`` is a search's: a retraining's settings hold a genotype."""
    file = folder / "config.toml"
    return file.is_file() and "genotype" not in read_toml(file)


def _complete(registry: Registry, config: RetrainConfig, target: Target) -> RetrainConfig:
    """Return ``config`` with its skeleton chosen and the space's defaults written out."""
    network, space = config.network, config.space
    if network.skeleton == "auto":
        published = {"normal", "reduce"} <= set(target.genotype.cells)
        kind = "cifar" if published or space is None else "space"
        network = network.model_copy(update={"skeleton": kind})
    if network.skeleton != "space":
        space = None
    elif space is not None:
        if target.search is not None:
            check_plugins(target.search, registry, ("space", "operation"))
        values = resolve_parameters(registry.space(space.name), space.parameters, "space")
        space = Choice(name=space.name, **values)
    return config.model_copy(update={"network": network, "space": space})


def stored_retraining(root: Path, name: str) -> tuple[RunFolder, PlannedRetraining]:
    """Return the folder of the retraining called ``name`` and the plan that it was begun with.

    Raises:
        CheckpointError: There is none, or several.
    """
    folder = find_run(root / RETRAININGS, name)
    config = retraining_from_toml(folder.config_file.read_text(encoding="utf-8"))
    parent = named_in(root, config.parent).result() if config.parent else None
    return folder, PlannedRetraining(config, {}, parent)


def _file_name(name: str) -> str:
    return file_name(name, "genotype", longest=80)
