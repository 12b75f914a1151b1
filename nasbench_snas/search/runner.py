"""Runs a search in its folder: lock, checkpoints, events, exact resume, results.

Kill it at any moment and give the same command again: it continues from the last checkpoint, and
its metrics and final alpha are bit-equal to an uninterrupted run on the same device.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from nasbench_snas.checkpoint import load_checkpoint, save_checkpoint
from nasbench_snas.config import RunConfig, to_toml
from nasbench_snas.errors import CheckpointError, DivergedError, NasbenchError
from nasbench_snas.genotype import from_choices
from nasbench_snas.provenance import environment, freeze, source_hash
from nasbench_snas.registry import Registry
from nasbench_snas.search.result import search_result
from nasbench_snas.search.search import Search
from nasbench_snas.store import RunFolder, write_atomic, write_json

logger = logging.getLogger("nasbench_snas")
Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class RunOptions:
    """What does not change the result of a run.

    Attributes:
        device: Where it runs.
        kernels: Backend of the parent network.
        resume: Continue from a checkpoint if there is one.
        max_epochs: Stop after so many epochs of this run, as ``truncated``; None: never.
        max_seconds: Stop after so many seconds of this process, as ``truncated``; None: never.
        listeners: Called with every event (progress displays, trackers).
        sources: Source of each setting, for the comments in ``config.toml``.
    """

    device: str = "cpu"
    kernels: str = "auto"
    resume: bool = True
    max_epochs: int | None = None
    max_seconds: float | None = None
    listeners: tuple[Listener, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)


class InterruptedRunError(NasbenchError):
    """The run was asked to stop and wrote a checkpoint; ``exit_code`` is 128 + the signal."""

    def __init__(self, signum: int, run_id: str) -> None:
        super().__init__(
            f"interrupted by {signal.Signals(signum).name}; a checkpoint was written.",
            fix=f"Continue with the same command, or: nasbench run --resume {run_id}",
        )
        self.exit_code = 128 + signum


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
    """
    with folder.locked(), _signals() as stop, _logfile(folder):
        estimator = registry.estimator(config.estimator.name)
        digest = config.digest(estimator.version)
        _check_folder(folder, config, estimator.version)
        search = Search(config, registry, options.device, options.kernels)
        _open(folder, config, options, estimator)
        logger.info("%s", search.note)
        try:
            _restore(search, folder, digest, options)
            _notify(options, {"kind": "start", "note": search.note, "epoch": search.epoch})
            truncated = _train(search, folder, digest, options, stop)
            return _finish(search, folder, options, estimator, truncated)
        except DivergedError as error:
            where = f"epoch {search.epoch + 1}, step {search.step + 1}"
            folder.set_status("diverged", f"{error.what} ({where})", exit_code=1)
            fix = "Lower search.theta.lr or search.alpha.lr, or change the seed."
            raise DivergedError(f"{error.what}", f"It happened at {where}.", fix) from error
        except InterruptedRunError as error:
            folder.set_status("interrupted", error.what, exit_code=error.exit_code)
            raise
        except Exception as error:
            logger.exception("the run failed")
            folder.set_status("failed", f"{type(error).__name__}: {error}", exit_code=1)
            raise


def _check_folder(folder: RunFolder, config: RunConfig, version: int) -> None:
    """Refuse a folder whose settings are not these."""
    if not folder.config_file.exists():
        return
    from nasbench_snas.config import from_toml

    stored = from_toml(folder.config_file.read_text(encoding="utf-8"))
    if stored.identity(version) != config.identity(version):
        raise CheckpointError(
            f"{folder.config_file} does not match these settings.",
            "The run was made with others; nothing was overwritten.",
            "Restore config.toml, or move the folder away.",
        )


def _open(folder: RunFolder, config: RunConfig, options: RunOptions, estimator: type[Any]) -> None:
    if not folder.config_file.exists():
        write_atomic(folder.config_file, to_toml(config, options.sources))
        write_atomic(folder.path / "env.freeze.txt", freeze())
    record = environment(options.device)
    diff = record["git"].pop("diff", None)
    if diff is not None:
        write_atomic(folder.path / "env.diff", diff)
    record["estimator_source"] = source_hash(estimator)
    folder.add_environment(record)
    folder.set_status("running")


def _restore(search: Search, folder: RunFolder, digest: str, options: RunOptions) -> None:
    file = folder.checkpoint_file
    if options.resume and file.exists():
        content = load_checkpoint(file, config_hash=digest, device=str(search.device))
        search.load_state_dict(content["search"])
        folder.truncate_events(int(content["events_size"]))
        logger.info("continued at epoch %d, step %d", search.epoch + 1, search.step)
    else:
        folder.truncate_events(0)


def _save(search: Search, folder: RunFolder, digest: str) -> None:
    state = {"search": search.state_dict(), "events_size": folder.events_size()}
    save_checkpoint(folder.checkpoint_file, state, config_hash=digest)


def _train(
    search: Search, folder: RunFolder, digest: str, options: RunOptions, stop: list[int]
) -> bool:
    """Train to the end; return whether it stopped early on purpose."""
    began = saved = mark = time.monotonic()
    start_elapsed, epoch_began, epoch_steps = search.elapsed, mark, search.step
    if search.step == 0:
        _save(search, folder, digest)
    while search.epoch < search.settings.epochs:
        if not search.epoch_finished:
            search.one_step()
            _notify(options, _step_event(search))
        now = time.monotonic()
        search.elapsed = start_elapsed + now - began
        if search.epoch_finished:
            event = search.finish_epoch()
            _check_finite(event)
            now = time.monotonic()
            images = (search.step - epoch_steps) * search.settings.batch_size
            event |= {
                "t": time.time(),
                "seconds": now - epoch_began,
                "images_per_s": images / max(now - epoch_began, 1e-9),
                "peak_memory": search.peak_memory(),
                "elapsed": search.elapsed,
            }
            folder.append_event(event, sync=True)
            _write_alpha(search, folder)
            _save(search, folder, digest)
            saved, epoch_began, epoch_steps = now, time.monotonic(), search.step
            _notify(options, event)
            if options.max_epochs is not None and search.epoch >= options.max_epochs:
                return search.epoch < search.settings.epochs
        elif now - saved >= search.config.checkpoint_seconds:
            _save(search, folder, digest)
            saved = now
        if stop:
            _save(search, folder, digest)
            raise InterruptedRunError(stop[0], folder.run_id)
        if options.max_seconds is not None and now - began >= options.max_seconds:
            _save(search, folder, digest)
            return search.epoch < search.settings.epochs
    return False


def _step_event(search: Search) -> dict[str, Any]:
    steps = max(search.sums.get("steps", 1.0), 1.0)
    return {
        "kind": "step",
        "epoch": search.epoch + 1,
        "step": search.step,
        "total_steps": search.total_steps,
        "train_loss": search.sums.get("loss", 0.0) / steps,
        **search.estimator.progress_values(),
    }


def _check_finite(event: dict[str, Any]) -> None:
    for key in ("train_loss", "search_loss", "entropy"):
        if key in event and not math.isfinite(event[key]):
            raise DivergedError(f"{key} became {event[key]}.")


def _write_alpha(search: Search, folder: RunFolder) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probs=torch.stack(search.history).numpy())
    write_atomic(folder.path / "alpha.npz", buffer.getvalue())


def _finish(
    search: Search,
    folder: RunFolder,
    options: RunOptions,
    estimator: type[Any],
    truncated: bool,
) -> dict[str, Any]:
    genotype = from_choices(search.space, search.derived().tolist(), folder.run_id)
    write_atomic(folder.path / "genotype.json", genotype.to_json() + "\n")
    events = [event for event in folder.events() if event["kind"] == "epoch"]
    result = search_result(
        search, folder.run_id, genotype, events, source_hash(estimator), truncated=truncated
    )
    if truncated:
        folder.set_status("truncated", f"stopped after epoch {search.epoch}", exit_code=0)
    write_json(folder.path / "result.json", result)
    if not truncated:
        folder.set_status("done", exit_code=0)
    _notify(options, {"kind": "result", **result})
    return result


def _notify(options: RunOptions, event: dict[str, Any]) -> None:
    for listener in options.listeners:
        listener(event)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM within the block; a second SIGINT interrupts at once."""
    received: list[int] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        if received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signum)

    try:
        old = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller handles signals
        yield received
        return
    try:
        yield received
    finally:
        for signum, previous in old.items():
            signal.signal(signum, previous)


@contextlib.contextmanager
def _logfile(folder: RunFolder) -> Iterator[None]:
    handler = logging.FileHandler(Path(folder.path) / "run.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
