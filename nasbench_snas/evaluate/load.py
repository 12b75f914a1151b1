"""Trained networks of finished runs, for use in Python: ``nasbench_snas.load(run)``.

>>> import nasbench_snas
>>> network = nasbench_snas.load("snas-darts-cnn-paper-s0-1c9e7b02-r0-5d5ad9a9")  # doctest: +SKIP
>>> network(images).logits.shape  # doctest: +SKIP
torch.Size([96, 10])

A retraining gives its network with the last epoch's weights; a search gives the derived child with
the weights and batch-norm statistics that it inherits from the parent network.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nasbench_snas.architecture.text import read_genotype
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import CheckpointError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.network import genotype_of, network_plan
from nasbench_snas.runs import binding
from nasbench_snas.runs.checkpoint import load_checkpoint
from nasbench_snas.runs.folder import RunFolder, find_any_run, is_file
from nasbench_snas.runs.named import named_in
from nasbench_snas.runs.plugins import check_plugins
from nasbench_snas.search.plan import load_config
from nasbench_snas.seeding import stream
from nasbench_snas.settings.parameters import create
from nasbench_snas.settings.retrain import RetrainConfig, retraining_from_toml
from nasbench_snas.settings.run import RunConfig
from nasbench_snas.settings.sources import bound
from nasbench_snas.supernet.child.network import ChildNetwork, child_from_parent
from nasbench_snas.supernet.reference import ReferenceParent


@dataclass(frozen=True)
class Loaded:
    """A trained network and what it was trained with.

    Attributes:
        network: In evaluation mode.
        folder: The run.
        stage: ``search``, ``retrain`` or ``transfer``.
        data: The images.
        seed: The run's seed.
        shape: Channels, height and width of an image.
        num_classes: Classes.
        epoch: Epochs that the weights were trained for.
        bilevel: Whether the search had images of its own for alpha.
        selection_fraction: Share of the search validation images that selected, not measured.
    """

    network: ChildNetwork
    folder: RunFolder
    stage: str
    data: DataSettings
    seed: int
    shape: tuple[int, int, int]
    num_classes: int
    epoch: int
    bilevel: bool = False
    selection_fraction: float = 0.0


def load(
    run: str | os.PathLike[str],
    *,
    root: str | Path = "runs",
    device: str = "cpu",
    registry: Registry | None = None,
) -> ChildNetwork:
    """Return the trained network of a run, in evaluation mode.

    Args:
        run: A folder, a checkpoint in it, the id of a retraining or search below ``root``, an
            unambiguous beginning of one, or a result (of :func:`nasbench_snas.search`).
        root: The run store.
        device: Where the network goes.
        registry: Where spaces come from; None: the built-in and installed ones.

    Raises:
        CheckpointError: There is no such run, or its checkpoint is missing or damaged.
    """
    return load_trained(run, root=root, device=device, registry=registry).network


@own_modes()
def load_trained(
    run: str | os.PathLike[str],
    *,
    root: str | Path = "runs",
    device: str = "cpu",
    registry: Registry | None = None,
) -> Loaded:
    """Return the network of a run with what it was trained with; arguments as :func:`load`."""
    folder, file = locate(Path(root), os.fspath(run))
    registry = registry or Registry()
    check_plugins(folder, registry, ("estimator", "space", "operation"))
    made = _retrained if is_retraining(folder) else _searched
    loaded = made(folder, file, device, registry)
    try:
        return replace(loaded, data=bound(loaded.data, registry))
    except PluginError:
        return loaded  # the network needs no images; who asks for them is told


def locate(root: Path, text: str) -> tuple[RunFolder, Path]:
    """Return the folder and the checkpoint that ``text`` names.

    Raises:
        CheckpointError: There is none, or several.
    """
    path = Path(text)
    if is_file(path):
        for above in path.resolve().parents[:2]:
            if (above / "config.toml").is_file():
                RunFolder(above).verify()
                return RunFolder(above), path
        raise CheckpointError(
            f"{path} does not lie in a run folder.",
            "Its config.toml says which network the weights belong to.",
            "Keep checkpoints in <run>/checkpoints/.",
        )
    folder = find_any_run(root, text)
    twin = (folder.result() or {}).get("taken_from")
    if twin and not folder.checkpoint_file.is_file():
        folder = named_in(folder.path.parent, str(twin))
    return folder, folder.checkpoint_file


def is_retraining(folder: RunFolder) -> bool:
    """Whether ``folder`` holds a retraining (rather than a search)."""
    return binding.is_retraining(folder.config_file.read_text(encoding="utf-8"))


def _content(folder: RunFolder, file: Path, kind: str, digests: Iterable[str]) -> dict[str, Any]:
    if not file.is_file():
        raise CheckpointError(
            f"{folder.run_id} has no checkpoint at {file}.",
            fix="Copy it next to config.toml, or run the command again.",
        )
    content = load_checkpoint(file, config_hash=tuple(digests))
    if kind not in content:
        raise CheckpointError(f"{file} is no checkpoint of a {kind}.")
    return dict(content[kind])


def _retrained(folder: RunFolder, file: Path, device: str, registry: Registry) -> Loaded:
    config: RetrainConfig = retraining_from_toml(folder.config_file.read_text(encoding="utf-8"))
    state = _content(folder, file, "retrain", [config.digest()])
    channels, height, width = (int(size) for size in state["shape"])
    shape = (channels, height, width)
    plan = network_plan(config, shape, int(state["num_classes"]), registry)
    network = ChildNetwork(genotype_of(config), plan, stream(0, "theta-init"))
    network.load_state_dict(state["network"])
    return Loaded(
        network=network.to(device).eval(),
        folder=folder,
        stage=config.stage,
        data=config.data,
        seed=config.seed,
        shape=shape,
        num_classes=int(state["num_classes"]),
        epoch=int(state["epoch"]),
    )


def _searched(folder: RunFolder, file: Path, device: str, registry: Registry) -> Loaded:
    config = load_config(folder.config_file)
    state = _content(folder, file, "search", map(config.digest, binding.ESTIMATOR_VERSIONS))
    tensors: dict[str, torch.Tensor] = state["parent"]
    shape, classes = _search_shape(config, tensors, folder)
    family = create(registry.space(config.space.name), config.space.parameters, "space")
    space = family.build(shape[0], classes, shape[2])
    estimator = create(
        registry.estimator(config.estimator.name), config.estimator.parameters, "estimator"
    )
    parent = ReferenceParent(
        space, stream(0, "theta-init"), partial_channels=estimator.partial_channels
    )
    parent.load_canonical(tensors)
    file = folder.path / "genotype.json"
    if not file.is_file():
        raise CheckpointError(
            f"{folder.run_id} has no genotype.json.",
            "A search derives its child at its end.",
            f"Finish it: nasbench run --resume {folder.run_id}",
        )
    child = child_from_parent(parent, read_genotype(file))
    return Loaded(
        network=child.to(device).eval(),
        folder=folder,
        stage="search",
        data=config.data,
        seed=config.seed,
        shape=shape,
        num_classes=classes,
        epoch=int(state["epoch"]),
        bilevel=config.search.level != "joint",
        selection_fraction=config.child.selection_fraction,
    )


def _search_shape(
    config: RunConfig, tensors: dict[str, torch.Tensor], folder: RunFolder
) -> tuple[tuple[int, int, int], int]:
    """Return the shape of an image and the number of classes: of weights, settings, genotype."""
    channels = int(tensors["stem.0.weight"].shape[1])
    classes = int(tensors["head.linear.bias"].shape[0])
    data = config.data
    side = data.resolution or (data.fake.size if data.dataset == "fake" else None)
    if side is None and (sizes := data.declared_sizes) is not None:
        side = sizes[2]
    genotype = folder.path / "genotype.json"
    if side is None and genotype.is_file():
        side = (read_genotype(genotype).space or {}).get("resolution")
    if side is None:
        from PIL import Image

        from nasbench_snas.data.imagefolder import list_part

        with Image.open(list_part(data.data_root, "train").files[0]) as image:
            side = image.width
    return (channels, side, side), classes
