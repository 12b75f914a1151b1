"""What a launcher such as torchrun tells its processes, read from the environment. Imports no
torch."""

from __future__ import annotations

import os

from nasbench_snas.errors import ConfigError


def launch_number(name: str, default: int) -> int:
    """Return the whole number in an environment variable that a launcher sets.

    Args:
        name: ``WORLD_SIZE``, ``RANK`` or ``LOCAL_RANK``.
        default: Where it is unset or empty.

    Raises:
        ConfigError: It holds something else.
    """
    text = os.environ.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ConfigError(
            f"the environment variable {name} is {text[:40]!r}.",
            "A launcher such as torchrun sets it to a whole number.",
            f"unset {name}, or start with: torchrun --nproc-per-node N -m nasbench_snas …",
        )
    return int(text)


def launched() -> bool:
    """Whether torchrun (or something like it) started several processes.

    Raises:
        ConfigError: What it set are no numbers.
    """
    rank, size = launch_number("RANK", 0), launch_number("WORLD_SIZE", 1)
    if size > 1 and rank >= size:
        raise ConfigError(f"RANK is {rank}, WORLD_SIZE {size}.", "Ranks are counted from 0.")
    return size > 1


def is_main_process() -> bool:
    """Whether this process is the one that shows progress; true without torchrun."""
    return not launched() or launch_number("RANK", 0) == 0
