"""Run folders without training: as a search would leave them, with numbers given by the test."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_snas.settings.run import RunConfig, from_toml, resolve
from nasbench_snas.settings.toml import to_toml

OPERATIONS = 8
EDGES = {"normal": 5, "reduce": 5}
VIEWS = ("soft", "hard", "mean", "argmax", "top2")
LEVELS = {"darts": "bilevel"}
RULES = {"darts": "top2", "random": "best-of-N", "enas": "best-of-N"}
CELL_EDGES = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


@cache
def _config(estimator: str, space: str, preset: str, constraint: str, more: tuple[str, ...]) -> str:
    calibrated = space == "darts-cnn" and preset in ("smoke", "paper")
    assignments = [*more] if calibrated or constraint == "none" else [*more, "cost.eta=0.1"]
    config, sources = resolve(
        estimator, space, preset=preset, constraint=constraint, assignments=assignments
    )
    values = config.model_dump()
    values["estimator"] = {"name": estimator, **config.estimator.parameters}
    values["space"] = {"name": space, **config.space.parameters}
    return to_toml(RunConfig(**values), sources)


def make_config(
    estimator: str = "snas",
    seed: int = 0,
    *,
    space: str = "darts-cnn",
    preset: str = "smoke",
    constraint: str = "none",
    settings: tuple[str, ...] = (),
) -> str:
    """Return the text of a ``config.toml``."""
    text = _config(estimator, space, preset, constraint, settings)
    return text.replace("\nseed = 0  #", f"\nseed = {seed}  #", 1)


def make_run(
    root: Path,
    estimator: str = "snas",
    seed: int = 0,
    *,
    search: float = 50.0,
    child: float | None = None,
    recalibrated: float | None = None,
    status: str = "done",
    reason: str = "",
    device: str = "cpu (2 cores)",
    gpu_days: float | None = None,
    epochs: int = 4,
    name: str | None = None,
    drop: int = 0,
    result: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Write a run folder and return it.

    Args:
        root: The store.
        estimator: Name of the estimator.
        seed: The seed.
        search: Search accuracy in percent.
        child: Child accuracy; default: 2 below ``search``.
        recalibrated: The same with recalibrated statistics; default: 3 above ``child``.
        status: Final status; only ``done`` and ``truncated`` have a result.
        reason: Why it failed.
        device: Name of the device.
        gpu_days: Cost on a GPU; None: on a CPU.
        epochs: Epoch events.
        name: Run id; default: as a search would name it.
        drop: Edges that chose none in each cell.
        result: Further or other entries of ``result.json``.
        settings: Of :func:`make_config`.
    """
    text = make_config(estimator, seed, **settings)
    preset, space = settings.get("preset", "smoke"), settings.get("space", "darts-cnn")
    digest = config_of(text).digest(1)
    folder = root / (name or f"{estimator}-{space}-{preset}-s{seed}-{digest}")
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)
    state = {"status": status, "reason": reason, "updated": 1_700_000_000.0 + seed, "exit_code": 0}
    (folder / "status.json").write_text(json.dumps(state))
    (folder / "env.json").write_text(json.dumps([_environment(estimator, space, seed, device)]))
    _write_history(folder, estimator, seed, search, epochs)
    if status in ("done", "truncated"):
        child = search - 2.0 if child is None else child
        recalibrated = child + 3.0 if recalibrated is None else recalibrated
        content = _result(folder.name, text, search, child, recalibrated, epochs, drop)
        content |= {"device_name": device, "gpu_days": gpu_days}
        content |= {"truncated": status == "truncated", **(result or {})}
        (folder / "result.json").write_text(json.dumps(content))
        (folder / "genotype.json").write_text(json.dumps(content["genotype"]))
    return folder


def _environment(estimator: str, space: str, seed: int, device: str) -> dict[str, Any]:
    command = ["nasbench", "run", "-e", estimator, "-s", space, "--seed", str(seed)]
    return {
        "started": 1_700_000_000.0,
        "command": command,
        "git": {"sha": "0123456789abcdef", "branch": "main", "dirty": False},
        "versions": {"python": "3.11.7", "nasbench_snas": "0.1.0", "torch": "2.14.1"},
        "device_name": device,
        "cuda": {"available": device.startswith("NVIDIA"), "version": "13.0"},
        "host_id": "abcd1234",
        "flags": {"deterministic": False},
        "estimator_source": "feedfeedfeedfeed",
    }


def _write_history(folder: Path, estimator: str, seed: int, search: float, epochs: int) -> None:
    generator = np.random.default_rng(seed)
    sharpness = 0.0 if estimator in ("darts", "random") else 2.0
    probs, lines = [], []
    for epoch in range(1, epochs + 1):
        logits = generator.normal(size=(sum(EDGES.values()), OPERATIONS))
        logits *= 0.1 + sharpness * epoch / epochs
        rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        probs.append(rows)
        entropy = -(rows * np.log(rows)).sum(axis=1)
        event = {
            "kind": "epoch",
            "epoch": epoch,
            "step": 10 * epoch,
            "t": 1_700_000_000.0 + epoch,
            "train_loss": 2.0 / epoch,
            "search_acc": search * epoch / epochs + float(generator.normal()) * 0.5,
            "search_loss": 2.0 / epoch,
            "entropy": float(entropy.mean()),
            "entropy_normal": float(entropy[:5].mean()),
            "entropy_reduce": float(entropy[5:].mean()),
            "entropy_edges": entropy.tolist(),
            "max_prob": float(rows.max(axis=1).mean()),
            "expected_cost": 1.0,
            "seconds": 2.0,
            "elapsed": 2.0 * epoch,
            "images_per_s": 160.0,
        }
        lines.append(json.dumps(event))
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probs=np.array(probs, dtype=np.float32))
    (folder / "alpha.npz").write_bytes(buffer.getvalue())


def _cell(drop: int, name: str) -> dict[str, Any]:
    operations = ["sep_conv_3x3", "skip_connect", "max_pool_3x3", "sep_conv_5x5", "dil_conv_3x3"]
    edges = [[op, i, j] for op, (i, j) in zip(operations, CELL_EDGES, strict=True)]
    return {"num_inputs": 2, "num_nodes": 2, "edges": edges[drop:], "concat": [2, 3]}


def _result(
    run_id: str, text: str, search: float, child: float, recalibrated: float, epochs: int, drop: int
) -> dict[str, Any]:
    config = config_of(text)
    rule = RULES.get(config.estimator.name, "argmax")
    view = "mean" if config.estimator.name == "darts" else "soft"
    matrix = [
        {"view": v, "statistics": s, "accuracy": a - 0.5 * VIEWS.index(v), "std": 0.0, "samples": 1}
        for v in VIEWS
        for s, a in (("inherited", child), ("recalibrated", recalibrated))
    ]
    kept = 2 * (len(CELL_EDGES) - drop)
    return {
        "schema_version": 1,
        "run_id": run_id,
        "parent_id": None,
        "stage": "search",
        "estimator": config.estimator.name,
        "estimator_version": 1,
        "estimator_params": json.dumps(config.estimator.parameters, sort_keys=True),
        "estimator_source": "feedfeedfeedfeed",
        "space": config.space.name,
        "space_params": json.dumps(config.space.parameters, sort_keys=True),
        "dataset": config.data.dataset,
        "level": config.search.level,
        "protocol": "standard",
        "protocol_note": "validated on training images held out of the search",
        "split": "67e6cccc",
        "constraint": config.constraint,
        "preset": config.preset,
        "seed": _seed(text),
        "config_hash": config.digest(1),
        "comparison": config.comparison(),
        "epochs_done": epochs,
        "epochs_planned": epochs,
        "search_view": view,
        "derive_rule": rule,
        "search_valid_acc": search,
        "child_valid_acc": child,
        "child_valid_acc_recalibrated": recalibrated,
        "child_gap": search - child,
        "child_valid_acc_std_over_samples": 0.5,
        "n_child_samples": 8,
        "child_matrix": matrix,
        "genotype": {
            "format": "nasbench-genotype-1",
            "name": run_id,
            "cells": {name: _cell(drop, name) for name in EDGES},
        },
        "n_edges_kept": kept,
        "n_edges": 2 * len(CELL_EDGES),
        "n_nodes_dropped": 0 if drop < 2 else 2,
        "entropy": 1.5,
        "entropy_normal": 1.4,
        "entropy_reduce": 1.6,
        "max_prob_mean": 0.4,
        "expected_cost": 0.9,
        "parent_params": 26742,
        "params": 5000.0 + 100 * kept + _seed(text),
        "macs": 89088.0,
        "mac_elements": 23570.0,
        "child_cost": 1.2,
        "wall_s": 8.0 + _seed(text),
        "peak_mem_bytes": 925499392,
        "steps": 10 * epochs,
        "imgs_per_s": 160.0,
        "kernels": "reference",
        "n_devices": 1,
        "precision": "float32",
        "host_id": "abcd1234",
        "finished": 1_700_000_100.0,
        "git_sha": "0123456789abcdef",
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "suite_version": "0.1.0",
    }


def config_of(text: str) -> RunConfig:
    """Return the settings in the text of a ``config.toml``."""
    seed = _seed(text)
    first = _parsed(text.replace(f"\nseed = {seed}  #", "\nseed = 0  #", 1))
    return first.model_copy(update={"seed": seed})


@cache
def _parsed(text: str) -> RunConfig:
    return from_toml(text)


def _seed(text: str) -> int:
    return int(text.partition("\nseed = ")[2].partition(" ")[0])
