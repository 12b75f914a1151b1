"""How many runs this machine has room for at the same time, and which GPUs each of them gets."""

from __future__ import annotations

import math
import os
import subprocess

from nasbench_snas.errors import ConfigError, MissingDependencyError


class Room:
    """Places for runs on this machine: with GPUs of their own, where there are any.

    Args:
        jobs: Runs at the same time; 0: one for each share of the GPUs, or one.
        gpus_per_run: GPUs of a run.

    Attributes:
        jobs: Runs at the same time.

    Raises:
        ConfigError: A number is negative.
        MissingDependencyError: A run needs more GPUs than there are.
    """

    def __init__(self, jobs: int, gpus_per_run: float) -> None:
        gpus = whole_gpus(jobs, gpus_per_run)
        self._free = list(visible_gpus())
        self._share = max(gpus, 1) if self._free else 0
        if self._share > len(self._free):
            raise MissingDependencyError(
                f"a run needs {self._share} GPUs, this machine has {len(self._free)}.",
                "No run could ever start.",
                "Give a smaller --gpus-per-run.",
            )
        self.jobs = jobs or (len(self._free) // self._share if self._share else 1)

    def is_full(self, running: int) -> bool:
        """Whether there is no room for one more than ``running`` runs."""
        return running >= self.jobs or len(self._free) < self._share

    def take(self) -> tuple[str, ...]:
        """Return the GPUs of a run that starts; none where the machine has none."""
        taken = tuple(self._free[: self._share])
        del self._free[: self._share]
        return taken

    def give_back(self, gpus: tuple[str, ...]) -> None:
        """Free the GPUs of a run that has ended."""
        self._free.extend(gpus)


def whole_gpus(jobs: int, gpus_per_run: float) -> int:
    """Return the GPUs of a run where none can be shared: of a part, the whole.

    Raises:
        ConfigError: A number is negative, or no number.
    """
    if jobs < 0 or not 0 <= gpus_per_run < math.inf:
        raise ConfigError(
            f"jobs and gpus_per_run must be 0 or more, not {jobs} and {gpus_per_run:g}."
        )
    return math.ceil(gpus_per_run)


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, without initialising CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name for name in chosen.split(",") if name not in ("", "-1"))
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    lines = [line for line in listing.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(index) for index in range(len(lines)))
