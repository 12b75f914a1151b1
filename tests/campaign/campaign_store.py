"""A small run store that every part of the campaign starts from, and what in it must be equal."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from campaign_judge import forked

TINY = (
    "data.dataset=fake",
    "data.fake.train_images=48",
    "data.fake.test_images=30",
    "data.fake.classes=3",
    "search.epochs=2",
    "search.batch_size=12",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=12",
    "checkpoint_seconds=0",
)
NETWORK = (
    "network.channels=2",
    "network.cells=3",
    "training.epochs=2",
    "training.batch_size=16",
    "checkpoint_seconds=0",
)
STUDY = """
space = {name = "snas-unit", nodes = 2, channels = 2}
batch_size = 6
points = ["init", "late"]
theta_samples = 20
batches = 3
draws_per_batch = 2
samples = 128
[recipe]
steps = 2
batch_size = 8
"""
_TIMES = re.compile(
    r"^(t|.*seconds.*|.*_s|.*per_s|.*elapsed|.*updated|started|finished|.*mem.*|.*gpu_days|cost"
    r"|ms_.*|.*_ms|.*time.*|host_id|git_sha|command|pid|equivalents|joint_equivalents|budget"
    r"|bound|.*equal.*compute.*|folder|var_x.*|mse_at.*|cos_at.*|.*_at_budget|rows|passes)$"
)


def settings(values: tuple[str, ...]) -> list[str]:
    """Return ``--set`` options."""
    return [word for value in values for word in ("--set", value)]


def run_words(seed: int = 0) -> list[str]:
    """Return the command of a small search."""
    return ["run", "-e", "snas", "-s", "snas-unit", "--seed", str(seed), *settings(TINY)]


def retrain_words(name: str = "snas-snas-unit-smoke-s0") -> list[str]:
    """Return the command of a small retraining of the search called ``name``."""
    return ["retrain", name, *settings(NETWORK)]


def study_words(root: Path) -> list[str]:
    """Return the command of a small study; its settings lie beside the store."""
    file = root.parent / "study.toml"
    file.write_text(STUDY)
    words = ["gradients", "-c", str(file), "-e", "snas", "-e", "reinforce"]
    return [*words, "--temperatures", "1.0", "--no-figures"]


def table_words(shard: int | None = None) -> list[str]:
    """Return the command of a small table."""
    words = ["tabulate", "-s", "snas-unit", "--sample", "3", "--shards", "2", *settings(TINY)]
    return words if shard is None else [*words, "--shard", str(shard)]


def report_words(out: Path) -> list[str]:
    """Return the command of a report with all its parts."""
    return ["report", "--format", "md,csv,html", "--out", str(out)]


def quiet_environment(folder: Path) -> None:
    """Keep this process and what it forks away from the user's data, caches and plug-ins."""
    os.environ.update(
        NASBENCH_DATA=str(folder / "data"),
        NASBENCH_CACHE=str(folder / "cache"),
        NASBENCH_KERNELS="reference",
        OMP_NUM_THREADS="1",
        NO_COLOR="1",
        MPLCONFIGDIR=str(folder / "matplotlib"),
    )
    for name in ("NASBENCH_PLUGINS", "NASBENCH_ROOT"):
        os.environ.pop(name, None)
    torch.set_num_threads(1)


def preload() -> None:
    """Import in this process what its forks would import again and again."""
    import nasbench_snas.cli.gradients
    import nasbench_snas.cli.report
    import nasbench_snas.cli.retrain
    import nasbench_snas.cli.run
    import nasbench_snas.cli.tabulate
    import nasbench_snas.evaluate.load
    import nasbench_snas.reports.build
    import nasbench_snas.reports.figures.files
    import nasbench_snas.reports.write
    import nasbench_snas.retrain.runner
    import nasbench_snas.search.runner
    import nasbench_snas.study.study
    import nasbench_snas.truth.own  # noqa: F401


def make_store(root: Path, prepare: Callable[[], None] = lambda: None) -> None:
    """Make two searches, a retraining and the parts of a table in ``root``."""
    for words in (
        run_words(0),
        run_words(1),
        retrain_words(),
        table_words(0),
        table_words(1),
    ):
        ended = forked(["--root", str(root), *words], prepare)
        assert ended.code == 0, ended.text


def without_times(value: Any) -> Any:
    """Return a JSON value without what may differ between two runs of the same settings."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not _TIMES.match(str(k))}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def fingerprint(root: Path) -> dict[str, str]:
    """Return a hash for every result in a store: equal for equal results, whatever the times."""
    found = {}
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        name = file.relative_to(root).as_posix()
        try:
            content = _content(file)
        except (EOFError, KeyError, OSError, RuntimeError, ValueError, pickle.PickleError):
            content = file.read_bytes()  # damaged: equal to nothing that is whole
        if content is not None:
            found[name] = hashlib.blake2b(content, digest_size=8).hexdigest()
    return found


def _content(file: Path) -> bytes | None:
    """Return the bytes of ``file`` that must be equal, or None if it may differ."""
    if file.name == "events.jsonl":
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        kept = [line for line in lines if line.get("kind") in ("epoch", "step")]
        return json.dumps(without_times(kept)).encode()
    if file.name in ("result.json", "genotype.json") or file.parent.name == "shards":
        return json.dumps(without_times(json.loads(file.read_text()))).encode()
    if file.name == "alpha.npz":
        with np.load(file, allow_pickle=False) as arrays:
            return b"".join(arrays[name].tobytes() for name in sorted(arrays))
    if file.suffix == ".pt":
        state = torch.load(file, weights_only=True)["state"]
        return b"".join(_tensors(state.get("search", state.get("retrain", {}))))
    if file.name == "table.csv":
        lines_of_csv = [line.split(",") for line in file.read_text().splitlines()]
        kept_columns = [i for i, name in enumerate(lines_of_csv[0]) if not _TIMES.match(name)]
        return repr([[line[i] for i in kept_columns] for line in lines_of_csv]).encode()
    if "reports" in file.parts[-3:-1] or file.parent.name in ("tables", "figures"):
        return file.read_bytes() if file.name != "manifest.json" else None
    return None


def _tensors(value: Any, path: str = "") -> list[bytes]:
    if isinstance(value, torch.Tensor):
        return [path.encode(), value.contiguous().numpy().tobytes()]
    if isinstance(value, dict):
        return [b for k, v in sorted(value.items(), key=str) for b in _tensors(v, f"{path}.{k}")]
    if isinstance(value, list | tuple):
        return [b for i, v in enumerate(value) for b in _tensors(v, f"{path}.{i}")]
    return []
