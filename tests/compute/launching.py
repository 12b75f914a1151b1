"""Starts processes as torchrun does, without its agent (which takes seconds to start)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(arguments: list[str], size: int, folder: Path) -> list[subprocess.Popen[bytes]]:
    """Start ``python arguments…`` once for each rank, output to ``folder/rankN.log``."""
    port, started = free_port(), []
    for rank in range(size):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        with (folder / f"rank{rank}.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return started


def finish(started: list[subprocess.Popen[bytes]], folder: Path, timeout: float = 240) -> list[int]:
    """Wait for all; return their exit codes. What still runs at the end of the time is killed."""
    try:
        return [process.wait(timeout) for process in started]
    finally:
        for rank, process in enumerate(started):
            if process.poll() is None:
                process.kill()
                print((folder / f"rank{rank}.log").read_text())


def logs(folder: Path) -> str:
    """Return the output of every rank."""
    return "\n".join(f.read_text() for f in sorted(folder.glob("rank*.log")))
