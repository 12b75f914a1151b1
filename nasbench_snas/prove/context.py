"""What all checks share: the device, its kernels, the time that is left, how a row is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nasbench_snas.architecture.space import Space
from nasbench_snas.kernels import select_backend
from nasbench_snas.kernels.protocol import Kernels
from nasbench_snas.prove.record import Row
from nasbench_snas.registry import Registry
from nasbench_snas.settings.parameters import create

Finding = tuple[bool | None, dict[str, Any]]
"""Whether it holds (None: there is no limit), and the numbers."""


@dataclass
class Context:
    """What a check is given.

    Attributes:
        device: ``cpu`` or ``cuda:i``.
        folder: Where it may write.
        registry: Spaces and estimators.
        short: Whether it is the short form, for continuous integration.
        ranks: Processes of the check with several.
        deadline: ``time.monotonic()`` at which the time is up.
        interpreted: Whether Triton's interpreter runs its kernels, on the CPU.
    """

    device: str
    folder: Path
    registry: Registry
    short: bool = False
    ranks: int = 1
    deadline: float = float("inf")
    interpreted: bool = False
    made: dict[torch.dtype, Kernels] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.deadline - time.monotonic()

    def kernels(self, dtype: torch.dtype = torch.float32) -> Kernels:
        """Return the fused kernels that a search takes here."""
        if dtype not in self.made:
            if self.interpreted:
                from nasbench_snas.kernels.triton.backend import TritonKernels

                self.made[dtype] = TritonKernels()
            else:
                name = "triton" if self.cuda else "auto"
                self.made[dtype] = select_backend(name, self.device, dtype, wait=True)[0]
        return self.made[dtype]

    def parent_space(self, cells: int, channels: int, nodes: int, resolution: int) -> Space:
        """Return the space of a whole parent, for ten classes."""
        settings = {"cells": cells, "channels": channels, "nodes": nodes}
        family = create(self.registry.space("darts-cnn"), settings, "space")
        space: Space = family.build(3, 10, resolution)
        return space

    def wait(self) -> None:
        """Wait for everything that was launched."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def row(self, check: str, case: str, find: Callable[[], Finding]) -> Row:
        """Return what ``find`` finds; an exception is a row, not the end."""
        began = time.monotonic()
        try:
            holds, values = find()
            self.wait()
        except Exception as error:  # noqa: BLE001 - whatever fails is written down
            note = f"{type(error).__name__}: {error}"[:400]
            return Row(check, case, "error", {}, note, self.interpreted, time.monotonic() - began)
        status = "measured" if holds is None else "passed" if holds else "failed"
        seconds = time.monotonic() - began
        return Row(check, case, status, values, "", self.interpreted, seconds)  # type: ignore[arg-type]

    def skipped(self, check: str, case: str, why: str) -> Row:
        """Return a row that says why something is not looked at."""
        return Row(check, case, "skipped", {}, why, self.interpreted)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: Its name, unique.
        run: Yields rows.
        seconds: What it needs about; with less time left it is skipped.
    """

    name: str
    run: Callable[[Context], Iterator[Row]]
    seconds: float
