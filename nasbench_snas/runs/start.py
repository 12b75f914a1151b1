"""Runs work in its folder: lock, signals, checkpoints, events, exact resume.

Kill a job at any moment and give the same command again: it continues from the last checkpoint,
and what it measures is bit-equal to an uninterrupted job on the same device. Searches and
retrainings share this module. With several processes only the first writes.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from typing import Any

import torch

from nasbench_snas.compute.deadline import Deadline
from nasbench_snas.compute.distributed import ProcessLostError, World, joined, resumed_note
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.compute.threads import threads_for
from nasbench_snas.errors import CheckpointError, DivergedError, NasbenchError
from nasbench_snas.runs.binding import broken_events, check_plain, named_hash
from nasbench_snas.runs.checkpoint import damaged, load_checkpoint, save_checkpoint
from nasbench_snas.runs.folder import RunFolder, write_atomic
from nasbench_snas.runs.job import Job, Work
from nasbench_snas.runs.logfile import log_file
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.runs.progress import Beat, forget_progress
from nasbench_snas.runs.provenance import environment, freeze, rounding
from nasbench_snas.runs.resume import changed_note
from nasbench_snas.runs.signals import stop_signals
from nasbench_snas.settings.toml import to_toml

logger = logging.getLogger("nasbench_snas")
_TIME_IS_UP = 1000
_LARGEST_RESERVE = 0.2
"""Share of the time limit that is kept for the measurements after the training, at most."""


class InterruptedRunError(NasbenchError):
    """The run was asked to stop and wrote a checkpoint; ``exit_code`` is 128 + the signal."""

    def __init__(self, signum: int, again: str) -> None:
        super().__init__(
            f"interrupted by {signal.Signals(signum).name}; a checkpoint was written.",
            fix=f"Continue with the same command{f', or: {again}' if again else ''}",
        )
        self.exit_code = 128 + signum


@own_modes()
def run_job(job: Job, folder: RunFolder, options: RunOptions) -> dict[str, Any]:
    """Run (or continue) a job to its end and return its result.

    Raises:
        CheckpointError: The folder is locked, damaged, or belongs to other settings.
        DivergedError: The loss became NaN or infinite; the status says where.
        InterruptedRunError: SIGINT or SIGTERM; a checkpoint was written.
        ProcessLostError: Another process of the job died; the last checkpoint is whole.
    """
    began = time.monotonic()
    with joined(options.device) as world:
        if not world.is_main:
            with stop_signals() as stop:
                return _Runner(job, folder, options, world, stop, began).run()
        new = not folder.path.exists()
        check_plain(folder.path)
        work = job.make(world) if new else None  # what is refused leaves no folder
        with folder.locked(), stop_signals() as stop, log_file(folder.path, InterruptedRunError):
            if folder.config_file.exists():  # another process was faster: build by its state
                work = None
            return _Runner(job, folder, options, world, stop, began, work).run()


class _Runner:
    """One process's part in a job."""

    def __init__(
        self,
        job: Job,
        folder: RunFolder,
        options: RunOptions,
        world: World,
        stop: list[int],
        began: float,
        work: Work | None = None,
    ) -> None:
        self.job, self.folder, self.options = job, folder, options
        self.world, self.stop, self.began = world, stop, began
        self._made = work

    def run(self) -> dict[str, Any]:
        """Prepare the folder, train, measure; leave a status that says how it ended."""
        self._check_folder()
        self.work: Work = self.job.make(self.world) if self._made is None else self._made
        with threads_for(self.work.elements):
            return self._run()

    def _run(self) -> dict[str, Any]:
        size, notes = self._restore()
        self.world.barrier()  # all processes have read, and refused, before one writes
        if self.world.is_main:
            self._open(size, notes)
        logger.info("%s", self.work.note)
        try:
            self._notify({"kind": "start", "note": self.work.note, "epoch": self.work.epoch})
            return self._finish(self._train())
        except DivergedError as error:
            where = f"epoch {self.work.epoch + 1}, step {self.work.step + 1}"
            self._status("diverged", f"{error.what} ({where})", exit_code=1)
            advice = self.job.fix if isinstance(self.job.fix, str) else self.job.fix(self.work)
            raise DivergedError(error.what, f"It happened at {where}.", advice) from error
        except (InterruptedRunError, ProcessLostError) as error:
            self._status("interrupted", error.what, exit_code=error.exit_code)
            raise
        except Exception as error:
            other = f"{type(error).__name__}: {error}"
            reason = error.what if isinstance(error, NasbenchError) else other
            self._status("failed", reason, exit_code=getattr(error, "exit_code", 1))
            raise

    def _check_folder(self) -> None:
        """Refuse a folder whose settings are not these."""
        file = self.folder.config_file
        named, digest = named_hash(self.folder.run_id), self.job.digest
        if named and named != digest:
            raise CheckpointError(
                f"{file} has the hash {digest}, the folder's name says {named}.",
                "The settings (or the estimator's version) changed; nothing was overwritten.",
                "Restore config.toml; other settings are another run: give the whole command.",
            )
        if not file.exists():
            return
        text = file.read_text(encoding="utf-8", errors="replace")
        if not text.strip() or not self.job.same(text):
            raise CheckpointError(
                f"{file} does not match these settings.",
                "The run was made with others; nothing was overwritten.",
                "Restore config.toml, or move the folder away.",
            )

    def _open(self, events_size: int, notes: dict[str, str]) -> None:
        """Change the folder for the first time: everything in it has been verified.

        Args:
            events_size: Bytes of the event log that the checkpoint knows.
            notes: What to say about the way the run goes on, by kind of event.
        """
        folder, options = self.folder, self.options
        if not folder.config_file.exists():
            write_atomic(folder.config_file, to_toml(self.job.config, options.sources))
            write_atomic(folder.path / "env.freeze.txt", freeze())
        record = environment(options.device)
        diff = record["git"].pop("diff", None)
        if diff is not None:
            write_atomic(folder.path / "env.diff", diff)
        folder.add_environment({**record, **self.job.record, "processes": self.world.size})
        forget_progress(folder)
        folder.set_status("running")
        (folder.path / "result.json").unlink(missing_ok=True)  # before what it is bound to changes
        if not (options.resume and folder.checkpoint_file.exists()):
            folder.forget()
        folder.truncate_events(events_size)
        for kind, note in notes.items():
            if note:
                logger.warning("%s", note)
                folder.append_event({"kind": kind, "t": time.time(), "note": note})

    def _status(self, status: Any, reason: str = "", **more: Any) -> None:
        if self.world.is_main:
            self.folder.set_status(status, reason, **more)

    def _notify(self, event: dict[str, Any]) -> None:
        if self.world.is_main:
            for listener in self.options.listeners:
                listener(event)

    def _restore(self) -> tuple[int, dict[str, str]]:
        """Continue from the checkpoint, if any; changes nothing in the folder.

        Returns:
            Bytes of the event log that belong to the checkpoint, and notes by kind of event.

        Raises:
            CheckpointError: The checkpoint is damaged, foreign, or of other settings.
        """
        file, work = self.folder.checkpoint_file, self.work
        if not (self.options.resume and file.exists()):
            return 0, {}
        content = load_checkpoint(file, config_hash=self.job.digest)
        try:
            work.load_state_dict(content[self.job.kind])
            size = int(content["events_size"])
            before = int(content.get("processes", 1))
            changed = changed_note(content.get("rounding", {}), self._rounding())
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise damaged(file, error) from error
        log = self.folder.events_file
        if why := broken_events(log, size, content.get("events_digest")):
            raise CheckpointError(
                f"run {self.folder.run_id} cannot go on: {why}.",
                "Epochs that it has trained would be missing; nothing was changed.",
                "Restore events.jsonl from a copy, or start anew with --resume never.",
            )
        logger.info("continued at epoch %d, step %d", work.epoch + 1, work.step)
        note = resumed_note(before, self.world.size, self.job.synchronised)
        return size, {"processes": note, "changed": changed}

    def _rounding(self) -> dict[str, Any]:
        """Return what the last bits of the numbers depend on."""
        return {"kernels": self.job.record.get("kernels"), **rounding(self.options.device)}

    def _save(self) -> None:
        if not self.world.is_main:
            return
        state = {
            self.job.kind: self.work.state_dict(),
            "events_size": self.folder.events_size(),
            "events_digest": self.folder.events_digest(),
            "processes": self.world.size,
            "rounding": self._rounding(),
        }
        save_checkpoint(self.folder.checkpoint_file, state, config_hash=self.job.digest)

    def _train(self) -> bool:
        """Train to the end; return whether it stopped early on purpose."""
        work, options = self.work, self.options
        last = work.epochs if options.max_epochs is None else min(work.epochs, options.max_epochs)
        began = saved = epoch_began = time.monotonic()
        start_elapsed, first, epoch_steps = work.elapsed + work.apart, work.step, work.step
        limit = self.options.max_seconds
        end = math.inf if limit is None else self.began + limit
        share = last / work.epochs
        beat = Beat(self.folder, first, share, end) if self.world.is_main else None
        if work.step == 0:
            self._save()
        while not work.ended and work.epoch < last:
            if not work.epoch_finished:
                work.one_step()
                event = work.step_event()
                if beat is not None:
                    event["left_s"] = beat.step(event)
                self._notify(event)
            now = time.monotonic()
            work.elapsed = start_elapsed + now - began - work.apart
            if work.epoch_finished:
                self._close_epoch(epoch_began, epoch_steps)
                saved = epoch_began = time.monotonic()
                epoch_steps = work.step
            elif now - saved >= self.job.checkpoint_seconds:
                self._save()
                saved = now
            if decision := self._decision(now - began, work.step - first):
                self._save()
                if decision != _TIME_IS_UP:
                    raise InterruptedRunError(decision, self.job.again)
                break
        return not work.ended

    def _decision(self, seconds: float, steps: int) -> int:
        """Return a signal's number, `_TIME_IS_UP` or 0: the same on every process.

        Args:
            seconds: What ``steps`` steps and all between them took.
            steps: Steps of this process.
        """
        own = self.stop[0] if self.stop else 0
        limit = self.options.max_seconds
        if not own and limit is not None:
            reserve = seconds * self.work.measured_images / (steps * self.work.batch_size or 1)
            end = self.began + limit - min(reserve, _LARGEST_RESERVE * limit)
            own = _TIME_IS_UP if time.monotonic() >= end else 0
        return self.world.highest(own)

    def _close_epoch(self, began: float, first_step: int) -> None:
        work = self.work
        before = work.apart
        event = work.finish_epoch()
        for key in self.job.finite:
            if key in event and not math.isfinite(event[key]):
                raise DivergedError(f"{key} became {event[key]}.")
        seconds = time.monotonic() - began - (work.apart - before)
        images = (work.step - first_step) * work.batch_size
        event |= {
            "t": time.time(),
            "seconds": seconds,
            "images_per_s": images / max(seconds, 1e-9),
            "peak_memory": work.peak_memory(),
            "elapsed": work.elapsed,
        }
        if self.world.is_main:
            self.folder.append_event(event, sync=True)
            work.write_epoch(self.folder)
        self._save()
        self._notify(event)

    def _finish(self, truncated: bool) -> dict[str, Any]:
        if self.world.is_main and self.work.epoch:
            self.work.write_epoch(self.folder)  # whatever has become of these files meanwhile
        self.world.barrier()  # the event log is complete for every process
        began, limit = time.monotonic(), self.options.max_seconds
        if limit is not None:
            self.work.deadline = Deadline(self.began + limit - began)
        result = self.job.finish(self.work, truncated)
        result["measurement_s"] = time.monotonic() - began
        reason = result.get("stop_reason") or ""
        reason = f"stopped after epoch {self.work.epoch}" if truncated else reason
        if self.world.highest(int(self.work.deadline.cut)):  # each process measures a part
            result["truncated"] = truncated = True
            reason = f"{reason or 'trained to the end'}; no time to measure on all images"
        if self.world.is_main:
            forget_progress(self.folder)
            self.folder.write_result(result, "truncated" if truncated else "done", reason)
        self.world.barrier()
        self._notify({"kind": "result", **result})
        return result
