"""Runs a search in its folder: what a search adds to :mod:`nasbench_snas.runs.start`.

Kill it at any moment and give the same command again: it continues from the last checkpoint, and
its metrics and final alpha are bit-equal to an uninterrupted run on the same device.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nasbench_snas.architecture.genotype import Genotype, from_choices
from nasbench_snas.architecture.space import Space
from nasbench_snas.compute.distributed import World
from nasbench_snas.registry import Kind, Registry
from nasbench_snas.runs.folder import RunFolder, write_atomic
from nasbench_snas.runs.job import Job
from nasbench_snas.runs.options import Listener, RunOptions
from nasbench_snas.runs.plugins import check_plugins, used_plugins
from nasbench_snas.runs.provenance import source_hash
from nasbench_snas.runs.resume import kept_kernels
from nasbench_snas.runs.start import InterruptedRunError, run_job
from nasbench_snas.search.advice import divergence_advice
from nasbench_snas.search.ready import check_draw
from nasbench_snas.search.result import search_result
from nasbench_snas.search.search import Search
from nasbench_snas.settings.run import RunConfig, from_toml

__all__ = ["InterruptedRunError", "Listener", "RunOptions", "run_search"]


class SearchWork(Search):
    """A search as :class:`nasbench_snas.runs.start.Work`."""

    @property
    def elements(self) -> int:
        """Size of a feature map of the first layer, over this process's part of the batch."""
        images = self.batch_size // self.world.size
        return images * self.space.layers[0].channels * self.space.resolution**2

    @property
    def measured_images(self) -> int:
        """Images that parent, child and sampled children are measured on after the training."""
        child, images = self.config.child, self.images
        passes = 3 + child.samples
        selected = 0
        if self.rule.uses_images and images.selection is not None:
            work = self.rule_work  # a step of training: a pass forward, two backward
            selected = work.measured * len(images.selection) + 3 * work.steps * self.batch_size
        return passes * len(images.reporting) + child.recalibration_images + selected

    def step_event(self) -> dict[str, Any]:
        """Return what displays show after a step."""
        event: dict[str, Any] = {
            "kind": "step",
            "epoch": self.epoch + 1,
            "step": self.step,
            "total_steps": self.total_steps,
        }
        if not self.totals.due(self.step):
            return event
        sums = self.sums
        steps = max(sums.get("steps", 1.0), 1.0)
        event["train_loss"] = sums.get("loss", 0.0) / steps
        return event | self.estimator.progress_values()

    def write_epoch(self, folder: RunFolder) -> None:
        """Write the probabilities of all epochs, shape ``(epochs, E, K)``, to ``alpha.npz``."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, probs=torch.stack(self.history).numpy())
        write_atomic(folder.path / "alpha.npz", buffer.getvalue())


def _genotype(search: SearchWork, config: RunConfig, name: str) -> Genotype:
    """Return the derived cells, with the space that they were found in."""
    space = {
        "name": config.space.name,
        "settings": config.space.parameters,
        "in_channels": search.space.in_channels,
        "num_classes": search.space.num_classes,
        "resolution": search.space.resolution,
        **({"auxiliary_skip": True} if search.space.auxiliary_skip else {}),
    }
    genotype = from_choices(search.space, search.derived().tolist(), name)
    return replace(genotype, space=space)


def names_used(config: RunConfig, space: Space) -> Iterator[tuple[Kind, str]]:
    """Yield the kind and name of everything that a search takes from the registry."""
    yield from config.plugins()
    for name in space.operations:
        yield "operation", name
    if config.cost.criterion is not None:
        yield "criterion", config.cost.criterion


def run_search(
    config: RunConfig, registry: Registry, folder: RunFolder, options: RunOptions
) -> dict[str, Any]:
    """Run (or continue) a search to its end and return its result.

    Args:
        config: Settings, plug-in settings resolved.
        registry: Where estimator and space come from.
        folder: The run's folder; its name is the run id.
        options: What does not change the result.

    Raises:
        CheckpointError: The folder is locked, damaged, or belongs to other settings.
        DivergedError: The loss became NaN or infinite; the status says where.
        InterruptedRunError: SIGINT or SIGTERM; a checkpoint was written.
        ProcessLostError: Another process of the job died; the last checkpoint is whole.
    """
    estimator = registry.estimator(config.estimator.name)
    identity = config.identity(estimator.version)
    source = source_hash(estimator)
    record: dict[str, Any] = {"estimator_source": source}
    if options.resume and folder.checkpoint_file.exists():
        check_plugins(folder, registry, built_in=True)

    def make(world: World) -> SearchWork:
        kernels = kept_kernels(folder, options)
        epochs = options.max_epochs or config.search.epochs
        work = SearchWork(config, registry, options.device, kernels, world, epochs)
        check_draw(config, registry, work.space, work.device)
        record["plugins"] = used_plugins(registry, names_used(config, work.space))
        record["kernels"] = work.kernels
        return work

    def finish(search: SearchWork, truncated: bool) -> dict[str, Any]:
        genotype = _genotype(search, config, folder.run_id)
        if search.world.is_main:
            genotype.warn_disconnected()
            write_atomic(folder.path / "genotype.json", genotype.to_json() + "\n")
        events = [event for event in folder.events() if event["kind"] == "epoch"]
        return search_result(search, folder.run_id, genotype, events, source, truncated=truncated)

    job = Job(
        kind="search",
        config=config,
        digest=config.digest(estimator.version),
        same=lambda text: from_toml(text).identity(estimator.version) == identity,
        make=make,
        finish=finish,
        record=record,
        checkpoint_seconds=config.checkpoint_seconds,
        finite=("train_loss", "search_loss", "entropy"),
        synchronised=config.search.sync_batchnorm,
        again=f"nasbench run --resume {folder.run_id}",
        fix=divergence_advice,
    )
    return run_job(job, folder, options)
