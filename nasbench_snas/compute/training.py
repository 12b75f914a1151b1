"""What a search and a retraining share: their SGD, its state, the cosine, memory, same images."""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from nasbench_snas.compute.deadline import Deadline
from nasbench_snas.errors import CheckpointError

if sys.platform != "win32":
    import resource


class SgdSettings(Protocol):
    """Settings of the optimiser of network weights."""

    @property
    def lr(self) -> float:
        """Learning rate at the start."""

    @property
    def momentum(self) -> float:
        """Momentum."""

    @property
    def nesterov(self) -> bool:
        """Whether the momentum is Nesterov's."""

    @property
    def weight_decay(self) -> float:
        """L2 penalty."""


class Length(Protocol):
    """How long a training is."""

    @property
    def epochs(self) -> int:
        """Planned epochs."""

    @property
    def batch_size(self) -> int:
        """Images of a step, over all processes."""


class Progress:
    """Where a training stands: what a search and a retraining count in the same way.

    Attributes:
        settings: How long it is.
        epoch: Finished epochs.
        step: Finished steps.
        apart: Seconds of measurements that are no part of its time.
        deadline: When the measurements after the training have to end.
    """

    settings: Length
    epoch: int
    step: int
    apart: float = 0.0
    deadline: Deadline = Deadline()

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""

    @property
    def epochs(self) -> int:
        """Planned epochs."""
        return self.settings.epochs

    @property
    def ended(self) -> bool:
        """Whether the training is over: its epochs are done, or it has decided to end."""
        return self.epoch >= self.epochs

    @property
    def batch_size(self) -> int:
        """Images of a step, over all processes."""
        return self.settings.batch_size

    @property
    def epoch_finished(self) -> bool:
        """Whether all steps of the current epoch are done."""
        return self.step >= (self.epoch + 1) * self.steps_per_epoch


def sgd(parameters: Iterable[nn.Parameter], settings: SgdSettings) -> torch.optim.SGD:
    """Return the optimiser of network weights."""
    return torch.optim.SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


def cosine_rate(first: float, last: float, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch (from 0): a cosine from ``first`` to ``last``."""
    phase = (1 + math.cos(math.pi * epoch / epochs)) / 2
    return last + (first - last) * phase


def momenta(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the momentum buffers of an SGD optimiser by parameter name (those that exist)."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    found = {}
    for name, parameter in zip(names, parameters, strict=True):
        buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            found[name] = buffer
    return found


def restore_momenta(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Put momentum buffers back; the inverse of :func:`momenta`."""
    for name, buffer in found.items():
        parameter = parameters[name]
        optimizer.state[parameter]["momentum_buffer"] = buffer.to(parameter).clone()


def peak_memory(device: torch.device) -> int:
    """Return the largest memory in use so far, in bytes (of the device, or of the process).

    0 where it is not known: Windows tells no process its largest memory in this way.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def require_images(expected: str, found: str, what: str, kind: str) -> None:
    """Raise unless the images are those that a checkpoint was made with.

    Args:
        expected: Fingerprint in the checkpoint.
        found: Fingerprint of the images at hand.
        what: What was begun with them ("run").
        kind: What the fingerprint is of ("Split").

    Raises:
        CheckpointError: They are others.
    """
    if expected != found:
        raise CheckpointError(
            f"the images are not those that this {what} began with.",
            f"{kind} {expected[:12]} expected, {found[:12]} found.",
            "Put the original data back, or start anew with --resume never.",
        )
