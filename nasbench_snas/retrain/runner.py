"""Runs a retraining in its folder, ``<root>/_retrain/<name>-r<seed>-<hash8>/``, and its result.

Same files as a search: settings, events, status, lock, checkpoints, result, exact resume. Where the
weights that are asked for were trained before (the same settings, reached as one of all seeds
instead of as the best of them), the result is taken over instead of trained again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasbench_snas import __version__
from nasbench_snas.compute.distributed import World
from nasbench_snas.errors import CheckpointError, NasbenchError
from nasbench_snas.registry import Kind, Registry
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.network import genotype_of
from nasbench_snas.runs.folder import (
    RETRAININGS,
    SCHEMA_VERSION,
    RunFolder,
    run_folders,
    write_atomic,
)
from nasbench_snas.runs.job import Job
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.runs.plugins import check_plugins, used_plugins
from nasbench_snas.runs.provenance import device_name, git_state, host_id, versions
from nasbench_snas.runs.resume import kept_kernels
from nasbench_snas.runs.schema import NOT_RECORDED
from nasbench_snas.runs.start import run_job
from nasbench_snas.search.estimate import seconds_of_step
from nasbench_snas.settings.retrain import RetrainConfig, changed_settings, retraining_from_toml
from nasbench_snas.settings.toml import to_toml

_OF_PARENT = (
    "estimator",
    "estimator_version",
    "estimator_params",
    "estimator_source",
    "space",
    "space_params",
    "constraint",
    "seed",
    "level",
    "comparison",
    "derive_rule",
)


def retrain_folder(root: Path, config: RetrainConfig) -> RunFolder:
    """Return the folder of a retraining below the run store ``root``."""
    return RunFolder(root / RETRAININGS / config.run_id())


def check_ready(
    config: RetrainConfig,
    registry: Registry,
    device: str = "cpu",
    kernels: str = "auto",
    *,
    allow_over_budget: bool = False,
) -> None:
    """Build what a retraining of ``config`` builds before it begins: images, network, backend.

    Raises:
        NasbenchError: What the retraining would be refused for.
    """
    Retraining(config, registry, device, allow_over_budget=allow_over_budget, kernels=kernels)


def names_used(config: RetrainConfig) -> Iterator[tuple[Kind, str]]:
    """Yield the kind and name of everything that a retraining takes from the registry."""
    yield from config.plugins()
    for cell in genotype_of(config).cells.values():
        for edge in cell.edges:
            yield "operation", edge.operation


def measure(
    config: RetrainConfig,
    registry: Registry,
    device: str,
    kernels: str = "auto",
    *,
    allow_over_budget: bool = False,
) -> float:
    """Return the seconds that a retraining takes, from a few of its steps and one test here.

    Nothing is written.

    Raises:
        NasbenchError: What the retraining would be refused for.
    """
    allow = allow_over_budget
    work = Retraining(config, registry, device, allow_over_budget=allow, kernels=kernels)
    step = seconds_of_step(work, lambda: float(work.sums[0]))
    began = time.perf_counter()
    work.evaluate()
    test, every = time.perf_counter() - began, config.training.test_every
    looks = 1 + (work.epochs // every if every else 0)
    return step * work.steps_per_epoch * work.epochs + test * looks


def run_retraining(
    config: RetrainConfig,
    registry: Registry,
    folder: RunFolder,
    options: RunOptions,
    *,
    parent: dict[str, Any] | None = None,
    allow_over_budget: bool = False,
) -> dict[str, Any]:
    """Run (or continue) a retraining to its end and return its result.

    Args:
        config: Its settings.
        registry: Where the search space comes from, if the network needs one.
        folder: Its folder.
        options: What does not change the result.
        parent: Result of the search that found the cells, if there is one.
        allow_over_budget: Whether a network above ``network.max_macs`` is trained.

    Raises:
        CheckpointError: The folder is locked, damaged, or belongs to other settings.
        ConfigError: The network is above the budget, or does not fit the images.
        DivergedError: The loss became NaN or infinite; the status says where.
        InterruptedRunError: SIGINT or SIGTERM; a checkpoint was written.
        ProcessLostError: Another process of the job died; the last checkpoint is whole.
    """

    record: dict[str, Any] = {"parent": config.parent}
    if folder.config_file.exists():
        check_plugins(folder, registry, built_in=True)
    registry.offer_operations()
    record["plugins"] = used_plugins(registry, names_used(config))

    def make(world: World) -> Retraining:
        if world.is_main:
            genotype_of(config).warn_disconnected()
        kernels = kept_kernels(folder, options, unrecorded="reference")
        if options.kernels == "auto" and config.speed.compile != "off":
            kernels = "auto"  # a continued retraining may be compiled from now on
        work = Retraining(
            config,
            registry,
            options.device,
            world,
            allow_over_budget=allow_over_budget,
            kernels=kernels,
        )
        record["kernels"] = work.kernels
        return work

    def finish(work: Retraining, truncated: bool) -> dict[str, Any]:
        if work.world.is_main:
            genotype = genotype_of(config)
            if config.space is not None:
                channels, _, resolution = work.feed.shape
                space = {
                    "name": config.space.name,
                    "settings": config.space.parameters,
                    "in_channels": channels,
                    "num_classes": work.feed.num_classes,
                    "resolution": resolution,
                }
                genotype = replace(genotype, space=space)
            write_atomic(folder.path / "genotype.json", genotype.to_json() + "\n")
        events = [event for event in folder.events() if event["kind"] == "epoch"]
        return retrain_result(work, folder.run_id, events, parent or {}, truncated=truncated)

    identity = config.identity()
    job = Job(
        kind="retrain",
        config=config,
        digest=config.digest(),
        same=lambda text: retraining_from_toml(text).identity() == identity,
        make=make,
        finish=finish,
        record=record,
        checkpoint_seconds=config.checkpoint_seconds,
        finite=("train_loss", "test_loss"),
        synchronised=config.training.sync_batchnorm,
        again=f"nasbench retrain --resume {folder.run_id}",
        fix="Lower training.lr, or change the seed.",
    )
    return run_job(job, folder, options)


def retrain_result(
    work: Retraining,
    run_id: str,
    events: list[dict[str, Any]],
    parent: dict[str, Any],
    *,
    truncated: bool,
) -> dict[str, Any]:
    """Return the result of a finished (or truncated) retraining, on every process.

    The test error is that of the weights as they are now: the last epoch's.

    Args:
        work: The retraining at its end.
        run_id: Name of its folder.
        events: Its epoch events.
        parent: Result of the search, or nothing.
        truncated: Whether it stopped early on purpose.
    """
    config, genotype = work.config, genotype_of(work.config)
    test = work.evaluate()
    measured = test.as_dict()
    last = events[-1] if events else {}
    on_gpu = work.device.type == "cuda"
    limit = config.network.max_macs
    precision = config.training.amp if config.training.amp != "off" else "float32"
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "parent_id": config.parent or None,
        "stage": config.stage,
        "architecture": config.name,
        "selection": config.selection,
        "candidates": list(config.candidates),
        **{key: parent.get(key) for key in _OF_PARENT},
        "retrain_seed": config.seed,
        "dataset": config.data.dataset,
        "images": config.data.content or NOT_RECORDED,
        "num_classes": work.feed.num_classes,
        "resolution": work.feed.shape[2],
        "preset": config.preset,
        "changed_settings": changed_settings(config),
        "search_preset": parent.get("preset"),
        "search_valid_acc": parent.get("search_valid_acc"),
        "child_valid_acc": parent.get("child_valid_acc"),
        "search_gpu_days": parent.get("gpu_days"),
        "search_wall_s": parent.get("wall_s"),
        "search_device_name": parent.get("device_name"),
        "parent_truncated": parent.get("truncated"),
        "config_hash": config.digest(),
        "training_hash": config.training_digest(),
        "setting": config.setting(),
        "split": work.feed.fingerprint,
        "truncated": truncated,
        "epochs_done": work.epoch,
        "epochs_planned": config.training.epochs,
        "test_err_top1": measured["err_top1"],
        "test_err_top5": measured["err_top5"],
        "test_ci_top1": measured["ci_top1"],
        "test_images": test.images,
        "test_loss": test.loss,
        "train_acc": last.get("train_acc"),
        "genotype": genotype.to_dict(),
        "n_edges_kept": genotype.num_edges,
        "n_nodes_dropped": sum(len(c.dropped_nodes) for c in genotype.cells.values()),
        "params": work.cost.parameters,
        "macs": work.cost.macs,
        "mac_elements": work.cost.access,
        "over_budget": limit is not None and work.cost.macs > limit,
        "wall_s": work.elapsed,
        "gpu_days": work.elapsed * work.world.size / 86_400 if on_gpu else None,
        "peak_mem_bytes": work.peak_memory(),
        "steps": work.step,
        "imgs_per_s": last.get("images_per_s"),
        "kernels": work.note,
        "device_name": device_name(str(work.device)),
        "n_devices": work.world.size,
        "precision": precision,
        "host_id": host_id(),
        "finished": time.time(),
        "git_sha": git_state()["sha"],
        "versions": versions(),
        "suite_version": __version__,
    }


def find_twin(root: Path, config: RetrainConfig) -> RunFolder | None:
    """Return a finished retraining of exactly these weights under another name, or None."""
    own = config.run_id()
    for folder in run_folders(root / RETRAININGS):
        if folder.run_id == own or folder.status().get("status") != "done":
            continue
        try:
            result = folder.result() or {}
        except CheckpointError:
            continue  # a damaged one is not taken over
        if result.get("training_hash") == config.training_digest() and not result["truncated"]:
            if not result.get("taken_from"):
                return folder
    return None


def take_over(config: RetrainConfig, twin: RunFolder, folder: RunFolder) -> dict[str, Any]:
    """Write ``folder`` from the finished ``twin``: the same weights, chosen in another way.

    Raises:
        CheckpointError: The twin is damaged, or ``folder`` cannot be written.
    """
    result = twin.result()
    if result is None:
        raise NasbenchError(f"{twin.run_id} has no result any more.")
    with folder.locked():
        (folder.path / "result.json").unlink(missing_ok=True)  # before what it is bound to changes
        write_atomic(folder.config_file, to_toml(config, {}))
        genotype = (twin.path / "genotype.json").read_text(encoding="utf-8")
        write_atomic(folder.path / "genotype.json", genotype)
        result |= {
            "run_id": folder.run_id,
            "parent_id": config.parent or None,
            "architecture": config.name,
            "selection": config.selection,
            "candidates": list(config.candidates),
            "config_hash": config.digest(),
            "taken_from": twin.run_id,
        }
        folder.write_result(result, "done", f"result taken over from {twin.run_id}")
    return result


def canonical_genotype(data: dict[str, Any]) -> str:
    """Return the JSON text of a genotype's dictionary without its name and space."""
    cells = {key: data[key] for key in ("format", "cells") if key in data}
    return json.dumps(cells, sort_keys=True, separators=(",", ":"))
