"""``nasbench prove``: all checks in one process, the most telling ones first.

Triton's interpreter has to be chosen before Triton is imported, so its rows come from a process of
their own (``python -m nasbench_snas.prove.run FOLDER``), which writes them as lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nasbench_snas.kernels.triton import support
from nasbench_snas.prove import equality, repeats, timing, training
from nasbench_snas.prove.context import Check, Context, Finding
from nasbench_snas.prove.record import Record, Row
from nasbench_snas.registry import Registry
from nasbench_snas.runs.provenance import cpu_model, device_name, environment, versions
from nasbench_snas.supernet.fast.parent import FastParent

ENVIRONMENT, INTERPRETED = "environment", "Triton's interpreter"
_VARIABLE = "TRITON_INTERPRET"


def identity(device: str, short: bool) -> dict[str, Any]:
    """Return what rows depend on: what a continued proof must share."""
    known = versions()
    names = ("nasbench_snas", "torch", "triton", "python")
    return {
        "device": device_name(device) if device != "cpu" else cpu_model(),
        **{name: known.get(name, "not installed") for name in names},
        "form": "short" if short else "long",
    }


def environment_of(context: Context) -> Iterator[Row]:
    """Describe the machine."""

    def find() -> tuple[None, dict[str, Any]]:
        record = environment(context.device)
        values = {key: record[key] for key in ("versions", "os", "threads", "flags")}
        if context.cuda:
            free, total = torch.cuda.mem_get_info(context.device)
            properties = torch.cuda.get_device_properties(context.device)
            values |= {
                "gpu": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "multiprocessors": properties.multi_processor_count,
                "free GB": free / 1e9,
                "memory GB": total / 1e9,
            }
        return None, values

    yield context.row(ENVIRONMENT, "this machine", find)


def interpreted(context: Context) -> Iterator[Row]:
    """Run the Triton kernels in the interpreter, in a process of its own."""
    if context.cuda:
        yield context.skipped(INTERPRETED, "kernels", "they run on the device itself")
        return
    if why := support.uninterpretable():
        yield context.skipped(INTERPRETED, "kernels", why)
        return
    command = [sys.executable, "-m", "nasbench_snas.prove.run", str(context.folder)]
    began, limit = time.monotonic(), max(60.0, min(context.left, 900.0))
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env={**os.environ, _VARIABLE: "1"}, stdout=subprocess.PIPE, stderr=errors,
            text=True,
        )  # fmt: skip
        clock = threading.Timer(limit, process.kill)
        clock.start()
        try:
            for line in process.stdout or ():
                if line.startswith("{"):
                    yield Row(**{**json.loads(line), "check": INTERPRETED})
            code = process.wait()
        finally:
            clock.cancel()
            process.kill()
        errors.seek(0)
        note = errors.read().strip()[-400:]
    seconds = time.monotonic() - began
    if code and seconds >= limit:
        yield context.skipped(INTERPRETED, "further cases", f"{limit:.0f} s were over")
    elif code:
        yield Row(INTERPRETED, "the process", "error", {}, note, True, seconds)


CHECKS = (
    Check(ENVIRONMENT, environment_of, 1),
    Check(equality.CHECK, equality.check, 20),
    Check(repeats.DETERMINISM, repeats.determinism, 10),
    Check(timing.TIMES, timing.times, 20),
    Check(timing.WAITS, timing.waits, 10),
    Check(timing.COMPILED, timing.compilations_of, 10),
    Check(training.RESUME, training.resume, 15),
    Check(training.RETRAIN, training.retrain, 15),
    Check(repeats.SAMPLING, repeats.sampling, 2),
    Check(INTERPRETED, interpreted, 20),
    Check(training.RANKS, training.ranks, 20),
)
"""All checks, the most telling ones first."""


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Compute in float32 where it is asked for: both sides of a comparison."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def prove(
    device: str, folder: Path, registry: Registry, *, minutes: float, short: bool, ranks: int,
    tell: Callable[[Row], None] = lambda row: None, checks: tuple[Check, ...] = CHECKS,
) -> Record:  # fmt: skip
    """Run (or continue) all checks, without TF32, and return what they found.

    Args:
        device: ``cpu`` or ``cuda:i``.
        folder: Where rows are written and trainings run.
        registry: Spaces and estimators.
        minutes: Time for all of it; a check that would not end in time is skipped with that reason.
        short: Whether it is the short form.
        ranks: Processes of the check with several.
        tell: Called with every row.
        checks: What is run.
    """
    record = Record(folder, identity(device, short))
    deadline = time.monotonic() + 60 * minutes
    context = Context(device, folder, registry, short, ranks, deadline)
    with _without_tf32():
        _run_all(checks, context, record, tell)
    return record


def _run_all(
    checks: tuple[Check, ...], context: Context, record: Record, tell: Callable[[Row], None]
) -> None:
    for check in checks:
        if check.name in record.finished:
            continue
        record.begin(check.name)
        if context.left < check.seconds:
            row = context.skipped(check.name, "all of it", f"{context.left:.0f} s left")
            record.add(row)
            tell(row)
            record.running = ""
            record.write()
            continue  # not finished: another start has time for it
        for row in _rows(check, context):
            record.add(row)
            tell(row)
        record.finish(check.name)


def _rows(check: Check, context: Context) -> Iterator[Row]:
    """Yield a check's rows; an error between two of them is a row as well."""
    try:
        yield from check.run(context)
    except Exception as error:  # noqa: BLE001 - a failure is a row, not the end
        note = f"{type(error).__name__}: {error}"[:400]
        yield Row(check.name, "the check itself", "error", {}, note)


def main(folder: str) -> None:
    """Print the rows of the interpreter, one JSON object a line."""
    context = Context("cpu", Path(folder), Registry(), short=True, interpreted=True)
    torch.set_num_threads(1)
    for rows in (equality.check, _sanitized, repeats.sampling):
        for row in rows(context):
            sys.stdout.write(json.dumps(asdict(row)) + "\n")
            sys.stdout.flush()


def _sanitized(context: Context) -> Iterator[Row]:
    """Compare again: in a random order, with blocks of random sizes, every address checked."""
    from nasbench_snas.prove.sanitizer import random_tiles, sanitized

    case, seed = next(case for case in equality.CASES if case.interpreted), 1

    def around(net: FastParent) -> AbstractContextManager[None]:
        return sanitized([*net.parameters(), *net.buffers()], seed)

    def find() -> Finding:
        with random_tiles(seed) as sizes:
            holds, values = equality.compared(case, context, around)
        return holds, {**values, "blocks": sizes}

    name = f"{case.name}: random order and blocks, checked addresses, poisoned memory"
    yield context.row(INTERPRETED, name, find)


if __name__ == "__main__":
    main(sys.argv[1])
