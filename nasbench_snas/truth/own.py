"""A tabular ground truth of one's own: every architecture of a small space, trained by itself.

Each different function is trained from scratch, alone, with the theta settings of a preset, for
several seeds; architectures that are the same function but for the names of their weights
(:mod:`nasbench_snas.truth.forms`) share its results. The table then says how far a search's child
is from the best (regret), and whether the parent with inherited weights ranks architectures as
stand-alone training does (rank correlation).

A table is made in shards, each written whole, so that it can be made by any executor and continued
at any time.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats as scipy_stats
from torch import Tensor

from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.architecture.space import Space
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.compute.training import sgd
from nasbench_snas.data import Split, evaluation_batches, load_test
from nasbench_snas.data.batches import Batch
from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.outside import csv_line
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder, read_objects, write_atomic, write_json
from nasbench_snas.runs.temporaries import remove_dead
from nasbench_snas.search.child import accuracy
from nasbench_snas.search.levels import finish_step, zero_gradients
from nasbench_snas.search.search import Search
from nasbench_snas.seeding import stream
from nasbench_snas.settings.run import RunConfig
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.truth.forms import classes_of
from nasbench_snas.truth.together import TogetherNetwork, TogetherTraining, together_possible

TOGETHER = 48
"""Architectures trained side by side."""
LARGEST = 20_000
"""Architectures that are enumerated without asking for a sample."""


def architectures(num_edges: int, num_operations: int, sample: int | None, seed: int = 0) -> Tensor:
    """Return architectures as operation indices, shape ``(N, E)``.

    Args:
        num_edges: ``E``.
        num_operations: ``K``.
        sample: Number of distinct architectures to draw; None: all, in lexicographic order.
        seed: Of the sample.

    Raises:
        ConfigError: All were asked for, and they are more than :data:`LARGEST`.
    """
    total = num_operations**num_edges
    if sample is None or sample >= total:
        if total > LARGEST:
            raise ConfigError(
                f"the space has {total} architectures.",
                f"At most {LARGEST} are enumerated.",
                "Draw a sample of them: --sample 1000",
            )
        numbers = np.arange(total)
    else:
        generator = np.random.default_rng(seed)
        numbers = np.array(sorted(_distinct(generator, total, sample)), dtype=object)
    digits = [
        [int(n) // num_operations**e % num_operations for e in range(num_edges)] for n in numbers
    ]
    return torch.tensor(digits)[:, list(range(num_edges))[::-1]]


def _distinct(generator: np.random.Generator, total: int, sample: int) -> set[int]:
    limbs = math.ceil(total.bit_length() / 32)
    found: set[int] = set()
    while len(found) < sample:
        words = generator.integers(2**32, size=limbs, dtype=np.uint64)
        number = sum(int(word) << (32 * i) for i, word in enumerate(words))
        found.add(number % total)
    return found


@dataclass(frozen=True)
class TablePlan:
    """What a table holds.

    Attributes:
        config: Settings of the training (those of a search; its estimator plays no part).
        seeds: Training seeds.
        sample: Number of architectures; None: all.
        shards: Number of parts; no part of the table's name, so that it can change on the way.
    """

    config: RunConfig
    seeds: tuple[int, ...]
    sample: int | None
    shards: int

    @property
    def name(self) -> str:
        """Name of the table's folder: space, preset, and a hash of everything that decides it."""
        values = self.config.identity(0)
        for key in ("estimator", "estimator_version", "seed", "cost", "child", "constraint"):
            values.pop(key, None)
        values |= {"seeds": self.seeds, "sample": self.sample}
        text = json.dumps(values, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        return f"{self.config.space.name}-{self.config.preset}-{digest}"

    def folder(self, root: Path) -> Path:
        """Return the table's folder under the run store."""
        return root / "_tabular" / self.name


def shard_lock(folder: Path, shard: int, shards: int) -> RunFolder:
    """Return the folder whose lock says that a process is making this shard."""
    return RunFolder(folder / "locks" / f"shard-{shard}-of-{shards}")


def ground(config: RunConfig) -> str:
    """Return a hash of what a search and a table must share: the space and the images."""
    values = config.identity(0)
    text = json.dumps([values["space"], values["data"]], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


class _Alone:
    """One architecture trained in the search's own network; see :class:`TogetherTraining`."""

    def __init__(self, search: Search, choice: Tensor) -> None:
        self.search = search
        z = one_hot(choice, search.space.num_operations, torch.float32)
        self.z = z.to(search.device)

    def step(self, batch: Batch, rate: float) -> None:
        learner = self.search.learner
        self.search.parent.train()
        for group in learner.theta_optimizer.param_groups:
            group["lr"] = rate
        loss = learner.make_loss(batch)(self.z[None, None]).mean()
        zero_gradients(learner.theta())
        loss.backward()
        finish_step(learner.theta(), learner.theta_optimizer, learner.theta_clip, learner.reduce)

    def right(self, batches: Iterable[Batch]) -> Tensor:
        held = list(batches)
        share = accuracy(self.search.parent, self.z[None], held) / 100
        return (share * sum(len(labels) for _, labels in held)).round().long()


def _trainee(search: Search, choices: Tensor) -> _Alone | TogetherTraining:
    if len(choices) == 1:
        return _Alone(search, choices[0])
    parent = ReferenceParent(search.space, stream(search.seed, "theta-init"))
    parent.load_canonical(search.parent.canonical(search.parent.state_dict()))
    network = TogetherNetwork(parent.to(search.device), choices)
    theta = search.settings.theta
    return TogetherTraining(network, sgd(network.parameters(), theta), theta.clip)


def most_together(config: RunConfig, space: Space, device: str, wanted: int) -> int:
    """Return how many architectures are trained side by side: ``wanted``, or 1 if they cannot."""
    plain = config.search.drop_path == 0 and config.search.amp == "off" and device == "cpu"
    return wanted if plain and together_possible(space) else 1


def train(search: Search, choices: Tensor, test: Split, looks: Sequence[int] = ()) -> list[Trained]:
    """Train architectures, each by itself, with a fresh search object's images and settings.

    Args:
        search: A search that has not begun: its weights, images and theta settings are used.
        choices: Operation of each edge, shape ``(S, E)``; several are trained side by side.
        test: The test split.
        looks: Finished epochs at which the held-out images are looked at, before the last.
    """
    trainee, began, at_looks = _trainee(search, choices), time.perf_counter(), []
    valid, tests = len(search.splits.search_valid), len(test)
    size, plain = search.settings.eval_batch_size, search.augment.plain

    def held_out() -> tuple[Tensor, Tensor]:
        of_test = evaluation_batches(test, size, plain)
        return trainee.right(search.valid_batches()), trainee.right(of_test)

    while search.step < search.total_steps:
        trainee.step(search.train_stream.next_batch(), search.theta_rate())
        search.step += 1
        search.epoch = search.step // search.steps_per_epoch
        if search.epoch in looks and search.step % search.steps_per_epoch == 0:
            at_looks.append(torch.stack(held_out()).sum(dim=0))
    of_valid, of_test = held_out()
    seconds = (time.perf_counter() - began) / len(choices)
    return [
        Trained(
            valid_acc=100.0 * int(of_valid[s]) / valid,
            test_acc=100.0 * int(of_test[s]) / tests,
            valid_images=valid,
            test_images=tests,
            seconds=seconds,
            at_looks=tuple(100.0 * int(look[s]) / (valid + tests) for look in at_looks),
        )
        for s in range(len(choices))
    ]


@dataclass(frozen=True)
class Trained:
    """One architecture after its training.

    Attributes:
        valid_acc: Accuracy on the search validation images, percent.
        test_acc: Accuracy on the test images, percent.
        valid_images: Search validation images.
        test_images: Test images.
        seconds: Wall-clock time, shared among those that were trained side by side.
        at_looks: Accuracy on both kinds of images at earlier epochs, percent.
    """

    valid_acc: float
    test_acc: float
    valid_images: int
    test_images: int
    seconds: float
    at_looks: tuple[float, ...] = ()

    @property
    def held_out(self) -> float:
        """Accuracy on all images outside training, percent."""
        return held_out_accuracy(self.valid_acc, self.test_acc, self.valid_images, self.test_images)


def held_out_accuracy(valid: float, test: float, valid_images: int, test_images: int) -> float:
    """Return the accuracy on validation and test images taken together, percent."""
    return (valid * valid_images + test * test_images) / (valid_images + test_images)


@own_modes()
def make_shard(
    plan: TablePlan,
    registry: Registry,
    folder: Path,
    shard: int,
    device: str,
    together: int = TOGETHER,
) -> None:
    """Train one shard's functions into a file of ``shards``; what any of the files has is kept.

    Args:
        plan: What the table holds.
        registry: Where the space comes from.
        folder: The table's folder.
        shard: Number of the shard.
        device: Where to train.
        together: Architectures trained side by side, where the space allows it; results are equal
            to rounding. What is done is written after each such group.

    Raises:
        ConfigError: There is no such shard.
        CheckpointError: Another process is making it.
    """
    if not 0 <= shard < plan.shards:
        raise ConfigError(f"there is no shard {shard}.", f"They are 0 to {plan.shards - 1}.")
    with shard_lock(folder, shard, plan.shards).locked():
        remove_dead(folder / "shards", locked=False)
        file = folder / "shards" / f"{shard}-of-{plan.shards}.json"
        _make_shard(plan, registry, file, shard, device, together)


def _make_shard(
    plan: TablePlan, registry: Registry, file: Path, shard: int, device: str, together: int
) -> None:
    rows: list[dict[str, Any]] = list(read_objects(file)) if file.exists() else []
    done = set(done_rows(file.parent))
    test, setting = load_test(plan.config.data), ground(plan.config)
    space, choices, classes = enumerated(plan, registry)
    own = [choices[c] for c in sorted(set(classes))][shard :: plan.shards]
    size = most_together(plan.config, space, device, together)
    for seed in plan.seeds:
        config = plan.config.model_copy(update={"seed": seed})
        open_ = [choice for choice in own if (key_of(choice), seed) not in done]
        for start in range(0, len(open_), size):
            group = torch.stack(open_[start : start + size])
            trained = train(Search(config, registry, device), group, test)
            for choice, result in zip(group, trained, strict=True):
                values = {k: v for k, v in asdict(result).items() if k != "at_looks"}
                rows.append(
                    {"architecture": key_of(choice), "seed": seed, "setting": setting, **values}
                )
            write_json(file, rows)
    if not file.exists():
        write_json(file, rows)


def done_rows(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the finished trainings in a folder of shards, by architecture and seed."""
    files = sorted(folder.glob("*-of-*.json"))
    rows = [row for file in files for row in read_objects(file)]
    return {(row["architecture"], int(row["seed"])): row for row in rows}


def enumerated(plan: TablePlan, registry: Registry) -> tuple[Space, Tensor, tuple[int, ...]]:
    """Return the space, its architectures ``(N, E)``, and the place of each one's first equal."""
    space = Search(plan.config, registry).space
    choices = architectures(space.num_edges, space.num_operations, plan.sample)
    return space, choices, classes_of(space, choices.tolist(), shift=space.affine)


def key_of(choice: Tensor) -> str:
    """Return an architecture's name: the number of each edge's operation, a digit or letter."""
    return "".join("0123456789abcdefghijklmnopqrstuvwxyz"[int(index)] for index in choice)


@own_modes()
def plateau(
    plan: TablePlan, registry: Registry, sample: int, together: int = TOGETHER
) -> tuple[float, float, int]:
    """Return what random architectures gain in the last fifth of their training.

    Args:
        plan: Settings and seeds.
        registry: Where the space comes from.
        sample: Number of architectures.
        together: As for :func:`make_shard`.

    Returns:
        Mean gain on the held-out images in percentage points, its standard error over
        architectures (each the mean of the plan's seeds), and the number of architectures.
    """
    space = Search(plan.config, registry).space
    choices = architectures(space.num_edges, space.num_operations, sample)
    look, test = plan.config.search.epochs * 4 // 5, load_test(plan.config.data)
    size, gains = most_together(plan.config, space, "cpu", together), []
    for seed in plan.seeds:
        config = plan.config.model_copy(update={"seed": seed})
        found = [
            row.held_out - row.at_looks[0]
            for group in choices.split(size)
            for row in train(Search(config, registry), group, test, looks=(look,))
        ]
        gains.append(found)
    means = np.array(gains).mean(axis=0)
    return float(means.mean()), float(scipy_stats.sem(means)), len(means)


def merge(plan: TablePlan, registry: Registry, folder: Path) -> Path:
    """Write ``table.csv`` from all shards and return it.

    A row of an architecture that is the same function as an earlier one repeats the results of
    that one, named in the column ``trained``; what it costs is its own.

    Raises:
        DataError: A training is missing.
    """
    found = done_rows(folder / "shards")
    space, choices, classes = enumerated(plan, registry)
    resource, rows = Search(plan.config, registry).resource, []
    for choice, first in zip(choices, classes, strict=True):
        trained = key_of(choices[first])
        costs = resource.child_costs(one_hot(choice, space.num_operations, torch.float32))
        for seed in sorted(plan.seeds):
            if (trained, seed) not in found:
                raise DataError(
                    f"{folder}: architecture {trained} was not trained with seed {seed}.",
                    fix="Run the same command again.",
                )
            row = found[trained, seed]
            rows.append({**row, "architecture": key_of(choice), "trained": trained, **costs})
    rows.sort(key=lambda row: (row["architecture"], row["seed"]))
    lines = [csv_line(rows[0]), *(csv_line(row.values()) for row in rows)]
    write_atomic(folder / "table.csv", "".join(lines))
    return folder / "table.csv"
