"""Compiling in a process of its own: bounded in time, stopped with us, and tried out there first.

A binary that the compiler left empty or cut short kills whoever loads it (SIGBUS); here that is a
process that nobody misses.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from nasbench_snas.errors import MissingDependencyError

COMPILE_SECONDS = 1200.0
"""How long a compiler may take; on two cores it takes under a minute."""

_SCRIPT = """
import json, logging, sys
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
from torch.utils import cpp_extension
cpp_extension.load(**json.loads(sys.argv[1]))
"""


def compile_extension(name: str, files: Sequence[Path], flags: Sequence[str], out: Path) -> None:
    """Compile and link ``files`` to ``out/name.so``, and load it once, in another process.

    Raises:
        MissingDependencyError: The compiler failed, hung, or wrote what cannot be loaded.
    """
    arguments = {
        "name": name,
        "sources": [str(path) for path in files],
        "extra_cflags": list(flags),
        "extra_ldflags": ["-fopenmp"],
        "build_directory": str(out),
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _SCRIPT, json.dumps(arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=COMPILE_SECONDS)
    except subprocess.TimeoutExpired:
        raise MissingDependencyError(
            f"the C++ kernels could not be built: no end after {COMPILE_SECONDS:.0f} s.",
            f"The compiler was stopped. Build directory: {out}",
            "Plain PyTorch runs instead; look at the compiler that $CXX names.",
        ) from None
    finally:
        with suppress(ProcessLookupError):  # the compiler and its children, whatever ended us
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode != 0:
        lines = output.decode(errors="replace").strip().splitlines()
        with (out / "build.log").open("ab") as log:
            log.write(output)
        ended = f"signal {-process.returncode}" if process.returncode < 0 else ""
        raise MissingDependencyError(
            f"the C++ kernels could not be built: {ended or (lines or ['no message'])[-1]}",
            f"Build directory: {out}",
            "Plain PyTorch runs instead; build.log there has the compiler's messages.",
        )


@contextmanager
def obeying_signals() -> Iterator[None]:
    """Stop at once by SIGTERM and SIGINT within the block, also where a run collects signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
