"""Whole trainings: a search killed and continued here and on a CPU; retrainings; ranks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.prove.context import Context, Finding
from nasbench_snas.prove.record import Row
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.plan import Target, plan_retraining
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.runner import run_search

RESUME, RETRAIN, RANKS = "a search killed and continued", "retraining", "several processes"

TIMES = ("t", "seconds", "images_per_s", "peak_memory", "elapsed")
"""What differs between two equal runs."""

_SEARCH = (
    "data.dataset=fake", "data.fake.train_images=160", "search.epochs=2", "search.batch_size=16",
    "space.nodes=2", "space.cells=2", "space.channels=4", "child.samples=1",
    "child.recalibration_images=16",
)  # fmt: skip


class KilledError(BaseException):
    """What a run cannot catch, as it cannot catch SIGKILL."""


def _killer(step: int) -> Callable[[dict[str, Any]], None]:
    def listen(event: dict[str, Any]) -> None:
        if event["kind"] == "step" and event["step"] == step:
            raise KilledError

    return listen


def _events(folder: RunFolder) -> list[dict[str, Any]]:
    kept = (event for event in folder.events() if event["kind"] == "epoch")
    return [{key: v for key, v in event.items() if key not in TIMES} for event in kept]


def resumed(context: Context, estimator: str, level: str) -> Finding:
    """Return whether a search killed within its second epoch ends as one that never stopped."""
    settings = [*_SEARCH, f"search.level={level}", "checkpoint_seconds=0"]
    planned = plan_run(context.registry, estimator, "darts-cnn", assignments=settings)
    base = context.folder / f"search-{estimator}"
    shutil.rmtree(base, ignore_errors=True)
    whole, broken = RunFolder(base / "whole"), RunFolder(base / "broken")

    def run(folder: RunFolder, device: str, *listeners: Any) -> dict[str, Any]:
        options = RunOptions(device=device, listeners=listeners)
        return run_search(planned.config, context.registry, folder, options)

    run(whole, context.device)
    steps = int(whole.events()[-1]["step"])
    try:
        run(broken, context.device, _killer(int(steps * 0.7)))
    except KilledError:
        pass
    else:
        raise RuntimeError("the search ended before it was killed")
    other = RunFolder(base / "on-a-cpu")
    shutil.copytree(broken.path, other.path)
    run(broken, context.device)
    values: dict[str, Any] = {"steps": steps, "equal metrics": _events(broken) == _events(whole)}
    result = run(other, "cpu")
    values["continued on a CPU"] = f"{result['search_valid_acc']:.1f} %"
    shutil.rmtree(base, ignore_errors=True)
    return bool(values["equal metrics"]), values


def resume(context: Context) -> Iterator[Row]:
    """Kill and continue a soft joint search, and a one-hot bilevel one."""
    pairs = [("snas", "joint")] if context.short else [("snas", "joint"), ("rloo", "bilevel")]
    for estimator, level in pairs:
        yield context.row(
            RESUME,
            f"{estimator}, {level}",
            lambda e=estimator, v=level: resumed(context, e, v),  # type: ignore[misc]
        )


def _retraining(context: Context, *settings: str) -> Retraining:
    assignments = [
        "data.dataset=fake", "data.fake.train_images=96", "data.fake.test_images=32",
        "network.channels=4", "network.cells=3", "training.batch_size=16", *settings,
    ]  # fmt: skip
    target = Target("snas-mild", zoo("snas-mild"))
    planned = plan_retraining(
        context.registry, target, preset="smoke", seed=0, assignments=assignments
    )
    return Retraining(planned.config, context.registry, context.device)


def trained(context: Context, settings: tuple[str, ...], tolerance: float) -> Finding:
    """Return whether the mean loss of five steps is that of the plain training, within limits."""
    losses = []
    for chosen in ((), settings):
        work = _retraining(context, *chosen)
        for _ in range(5):
            work.one_step()
        losses.append(float(work.sums[0] / work.sums[2]))
    error = abs(losses[1] / losses[0] - 1)
    return error < tolerance, {"loss": losses[1], "plain": losses[0], "relative error": error}


def retrain(context: Context) -> Iterator[Row]:
    """Train with every setting that is for speed."""
    cases: list[tuple[str, tuple[str, ...], float]] = [
        ("channels_last", ("speed.channels_last=true",), 0.01),
        ("autocast bf16, channels_last", ("training.amp=bf16", "speed.channels_last=true"), 0.1),
    ]
    if context.cuda:
        cases += [
            ("autocast fp16", ("training.amp=fp16",), 0.1),
            ("images on the host", ("speed.placement=host",), 1e-4),
            ("compile, inductor", ("speed.compile=inductor",), 0.01),
        ]
    for name, settings, tolerance in cases:
        yield context.row(
            RETRAIN,
            name,
            lambda s=settings, t=tolerance: trained(context, s, t),  # type: ignore[misc]
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def together(context: Context) -> Finding:
    """Return whether a search of several processes ends, and what it found."""
    folder = context.folder / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["-m", "nasbench_snas", "--root", str(folder), "-q", "run", "-e", "snas"]
    arguments += ["--device", "cuda" if context.cuda else "cpu", "--kernels", "auto"]
    arguments += [part for setting in _SEARCH for part in ("--set", setting)]
    port, started = _free_port(), []
    for rank in range(context.ranks):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1",
            "WORLD_SIZE": str(context.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        started.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                env=environment,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )  # fmt: skip
        )
    try:
        errors = [process.communicate(timeout=600)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    codes = [process.returncode for process in started]
    if any(codes):
        raise RuntimeError(next(text for text in errors if text)[-300:])
    (result,) = Path(folder).rglob("result.json")
    found = RunFolder(result.parent).result() or {}
    shutil.rmtree(folder, ignore_errors=True)
    return True, {"processes": context.ranks, "accuracy": f"{found['search_valid_acc']:.1f} %"}


def ranks(context: Context) -> Iterator[Row]:
    """Run a search on several processes, if asked for."""
    if context.ranks < 2:
        yield context.skipped(RANKS, "a search", "not asked for (--ranks 2)")
    elif context.cuda and torch.cuda.device_count() < context.ranks:
        yield context.skipped(RANKS, "a search", f"{torch.cuda.device_count()} devices here")
    else:
        yield context.row(RANKS, "a search", lambda: together(context))
