"""A tabular ground truth of one's own: every architecture of a small space, trained by itself.

Each architecture is trained from scratch, alone, with the theta settings of a preset, for several
seeds. The table then says how far a search's child is from the best (regret), and whether the
parent with inherited weights ranks architectures as stand-alone training does (rank correlation).

A table is made in shards, each written whole, so that it can be made by any executor and continued
at any time.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats as scipy_stats
from torch import Tensor

from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.data import evaluation_batches, load_test
from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder, read_objects, write_atomic, write_json
from nasbench_snas.runs.temporaries import remove_dead
from nasbench_snas.search.child import accuracy
from nasbench_snas.search.levels import finish_step, zero_gradients
from nasbench_snas.search.search import Search
from nasbench_snas.settings.run import RunConfig

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
        shards: Number of parts.
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
        values |= {"seeds": self.seeds, "sample": self.sample, "shards": self.shards}
        text = json.dumps(values, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        return f"{self.config.space.name}-{self.config.preset}-{digest}"

    def folder(self, root: Path) -> Path:
        """Return the table's folder under the run store."""
        return root / "_tabular" / self.name


def shard_lock(folder: Path, shard: int) -> RunFolder:
    """Return the folder whose lock says that a process is making this shard."""
    return RunFolder(folder / "locks" / f"shard-{shard}")


def ground(config: RunConfig) -> str:
    """Return a hash of what a search and a table must share: the space and the images."""
    values = config.identity(0)
    text = json.dumps([values["space"], values["data"]], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def train_alone(search: Search, choice: Tensor, test: Any) -> dict[str, float]:
    """Train one architecture by itself with a fresh search object's network; return its accuracies.

    Args:
        search: A search that has not begun: its weights, images and theta settings are used.
        choice: Operation of each edge, shape ``(E,)``.
        test: The test split.
    """
    z = one_hot(choice, search.space.num_operations, torch.float32).to(search.device)
    learner, began = search.learner, time.perf_counter()
    search.parent.train()
    while search.step < search.total_steps:
        for group in learner.theta_optimizer.param_groups:
            group["lr"] = search.theta_rate()
        loss = learner.make_loss(search.train_stream.next_batch())(z[None, None]).mean()
        zero_gradients(learner.theta())
        loss.backward()
        finish_step(learner.theta(), learner.theta_optimizer, learner.theta_clip, learner.reduce)
        search.step += 1
        search.epoch = search.step // search.steps_per_epoch
    size = search.settings.eval_batch_size
    tests = evaluation_batches(test, size, search.augment.plain)
    return {
        "valid_acc": float(accuracy(search.parent, z[None], search.valid_batches())[0]),
        "test_acc": float(accuracy(search.parent, z[None], tests)[0]),
        "seconds": time.perf_counter() - began,
        **search.resource.child_costs(z),
    }


@own_modes()
def make_shard(plan: TablePlan, registry: Registry, folder: Path, shard: int, device: str) -> None:
    """Train the architectures of one shard into ``shards/<shard>.json``; done ones are kept.

    Raises:
        ConfigError: There is no such shard.
        CheckpointError: Another process is making it.
    """
    if not 0 <= shard < plan.shards:
        raise ConfigError(f"there is no shard {shard}.", f"They are 0 to {plan.shards - 1}.")
    with shard_lock(folder, shard).locked():
        remove_dead(folder / "shards", locked=False)
        _make_shard(plan, registry, folder / "shards" / f"{shard}.json", shard, device)


def _make_shard(plan: TablePlan, registry: Registry, file: Path, shard: int, device: str) -> None:
    rows = read_objects(file) if file.exists() else []
    done = {(row["architecture"], row["seed"]) for row in rows}
    test, setting = load_test(plan.config.data), ground(plan.config)
    for choice in _choices(plan, registry)[shard :: plan.shards]:
        for seed in plan.seeds:
            key = {"architecture": "".join(map(_digit, choice.tolist())), "seed": seed}
            if tuple(key.values()) in done:
                continue
            config = plan.config.model_copy(update={"seed": seed})
            search = Search(config, registry, device)
            rows.append({**key, "setting": setting, **train_alone(search, choice, test)})
            write_json(file, rows)
    if not file.exists():
        write_json(file, rows)


def _choices(plan: TablePlan, registry: Registry) -> Tensor:
    space = Search(plan.config, registry).space
    return architectures(space.num_edges, space.num_operations, plan.sample)


def _digit(index: int) -> str:
    return "0123456789abcdefghijklmnopqrstuvwxyz"[index]


def merge(plan: TablePlan, folder: Path) -> Path:
    """Write ``table.csv`` from all shards and return it.

    Raises:
        DataError: A shard is missing.
    """
    rows: list[dict[str, Any]] = []
    for shard in range(plan.shards):
        file = folder / "shards" / f"{shard}.json"
        if not file.exists():
            raise DataError(f"{file} is missing.", fix="Run the same command again.")
        rows.extend(read_objects(file))
    rows.sort(key=lambda row: (row["architecture"], row["seed"]))
    lines = [list(rows[0])] + [[str(value) for value in row.values()] for row in rows]
    write_atomic(folder / "table.csv", "".join(",".join(line) + "\n" for line in lines))
    return folder / "table.csv"


@dataclass(frozen=True)
class Table:
    """A ground truth, averaged over seeds.

    Attributes:
        choices: Operation of each edge, shape ``(N, E)``.
        valid: Mean validation accuracy, percent, shape ``(N,)``.
        test: Mean test accuracy, percent, shape ``(N,)``.
        seeds: Training seeds of each architecture.
        setting: Hash of the space and the images; see :func:`ground`.
    """

    choices: Tensor
    valid: np.ndarray[Any, np.dtype[np.float64]]
    test: np.ndarray[Any, np.dtype[np.float64]]
    seeds: int
    setting: str

    @classmethod
    def read(cls, file: Path) -> Table:
        """Return the table in ``file``.

        Raises:
            DataError: It is not a table.
        """
        try:
            with file.open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            groups: dict[str, list[dict[str, str]]] = {}
            for row in rows:
                if None in row or None in row.values():
                    raise ValueError(f"a row has too few or too many cells: {list(row.values())}")
                groups.setdefault(row["architecture"], []).append(row)
            names = sorted(groups)
            digits = [[int(character, 36) for character in name] for name in names]
            means = [
                [np.mean([float(row[key]) for row in groups[name]]) for name in names]
                for key in ("valid_acc", "test_acc")
            ]
            if not ((np.array(means) >= 0) & (np.array(means) <= 100)).all():
                raise ValueError("an accuracy is not a number from 0 to 100")
            return cls(
                torch.tensor(digits),
                np.array(means[0]),
                np.array(means[1]),
                min(len(rows) for rows in groups.values()),
                ",".join(sorted({row["setting"] for row in rows})),
            )
        except (OSError, LookupError, ArithmeticError, ValueError, csv.Error) as error:
            raise DataError(
                f"{file} is not a table of architectures: {str(error)[:200]}",
                "Expected the columns architecture, seed, setting, valid_acc and test_acc.",
                "Make it again with `nasbench tabulate`; finished shards are kept.",
            ) from error


@own_modes()
def compare(search: Search, table: Table, draws_per_pass: int = 16) -> dict[str, float | None]:
    """Return regret and rank correlation of a finished search against a table.

    Args:
        search: The search at its end.
        table: The ground truth of the same space.
        draws_per_pass: Architectures of one evaluation pass.

    Returns:
        ``test_regret``: best minus derived, in percentage points of test accuracy (None if the
        table is a sample without the derived architecture); ``rank_correlation`` (Kendall's tau)
        and ``spearman`` between the accuracy with inherited weights and the stand-alone
        validation accuracy (None if either is constant); ``n``, the number of architectures.

    Raises:
        DataError: The table is of another space, or of other images.
    """
    if table.setting != ground(search.config):
        config = search.config
        raise DataError(
            "the table is of another space or other images than the search.",
            f"The search: {config.space.name} {config.space.parameters} on {config.data.dataset}, "
            f"setting {ground(config)}; the table: setting {table.setting}.",
            "Make a table with the space and data settings of the search.",
        )
    inherited = np.concatenate(list(_inherited(search, table, draws_per_pass)))
    derived = search.derived().argmax(dim=-1).cpu()
    match = np.flatnonzero((table.choices == derived).all(dim=1).numpy())
    best, ours = float(table.test.max()), float(table.test[match[0]]) if len(match) else None
    constant = np.ptp(inherited) == 0 or np.ptp(table.valid) == 0
    kendall, spearman = scipy_stats.kendalltau, scipy_stats.spearmanr
    return {
        "n": len(table.valid),
        "table_seeds": table.seeds,
        "best_test_acc": best,
        "derived_test_acc": ours,
        "test_regret": None if ours is None else best - ours,
        "rank_correlation": None if constant else float(kendall(inherited, table.valid).statistic),
        "spearman": None if constant else float(spearman(inherited, table.valid).statistic),
    }


def _inherited(search: Search, table: Table, size: int) -> Iterator[np.ndarray[Any, Any]]:
    for block in table.choices.split(size):
        z = one_hot(block, search.space.num_operations, torch.float32).to(search.device)
        yield accuracy(search.parent, z, search.valid_batches()).numpy()
