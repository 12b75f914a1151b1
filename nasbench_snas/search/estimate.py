"""Estimates of time for runs that have not started, from counted work and finished runs.

A step's work is its images times the multiply-adds of all candidate operations of the parent, with
channels rounded up to whole vectors: kernels take as long for 11 channels as for 16. The seconds of
finished runs of the same estimator, level and space on the same device say what a step of some work
takes. A step costs something that does not grow with the work, and something that grows in
proportion: between two runs the seconds are interpolated linearly. Near one run they are scaled by
the square root of the ratio of work, which within a factor of :data:`REACH` = 4 is at most two from
either extreme. Further away the time is unknown.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nasbench_snas.compute.launched import launch_number
from nasbench_snas.errors import NasbenchError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder, run_folders
from nasbench_snas.runs.progress import duration
from nasbench_snas.search.plan import PlannedRun, load_config
from nasbench_snas.settings.parameters import create
from nasbench_snas.settings.run import RunConfig

REACH = 4.0
"""Largest ratio of work at which a finished run says something."""

VECTOR = 8
"""Channels that kernels work on at once."""

Kind = tuple[str, str, str]
"""What two runs must share for their times to be compared."""


@dataclass(frozen=True)
class Measured:
    """What a finished run took.

    Attributes:
        kind: What it shares with those it is compared with: its space, estimator, and level with
            the policy that trains theta.
        device: Its device.
        work: Multiply-adds of a step; see :func:`work_of`.
        seconds: Wall-clock seconds of a step, its share of the validation included.
    """

    kind: Kind
    device: str
    work: float
    seconds: float


@dataclass(frozen=True)
class Expected:
    """What a run will take.

    Attributes:
        seconds: Wall-clock seconds of the whole run.
        sources: The finished runs it is estimated from.
    """

    seconds: float
    sources: tuple[Measured, ...]


def kind_of(config: RunConfig) -> Kind:
    """Return what two searches must share for their times to be compared."""
    level, policy = config.search.level, config.search.theta_policy
    trained = level if policy == "estimator" else f"{level}, {policy}"
    return config.space.name, config.estimator.name, trained


def steps_of(config: RunConfig) -> int | None:
    """Return the steps of an epoch, or None if the settings do not say how many images there are.

    See :mod:`nasbench_snas.data.splits` for who gets which images.
    """
    data = config.data
    if (images := data.declared_train_images) is None:
        return None
    bilevel = config.search.level != "joint"
    share = 1.0 if data.protocol == "paper" else 1.0 - data.validation_fraction
    if bilevel:
        share *= 0.5 if data.protocol == "paper" else data.train_fraction
    return max(int(images * share) // config.search.batch_size, 1)


def work_of(registry: Registry, config: RunConfig) -> float | None:
    """Return the multiply-adds of a step, or None if the settings do not say the images' size.

    The channels that the space is built with count up to the next multiple of :data:`VECTOR`.
    """
    from nasbench_snas.cost.listing import space_summary

    if (sizes := config.data.declared_sizes) is None:
        return None
    parameters = dict(config.space.parameters)
    if isinstance(channels := parameters.get("channels"), int):
        parameters["channels"] = -(-channels // VECTOR) * VECTOR
    family = create(registry.space(config.space.name), parameters, "space")
    rows = space_summary(family.build(*sizes))
    one = rows["all operations"]["flops"] + rows["outside"]["flops"]
    return float(one * config.search.batch_size)


class Finished:
    """What finished work of some kind took on a device.

    Args:
        device: The name of the device, as runs record it.
        processes: How many share a run; by default as many as were started with this one.

    Attributes:
        measured: The finished work.
    """

    def __init__(self, device: str, processes: int | None = None) -> None:
        self.device, self.measured = device, list[Measured]()
        self.processes = processes or launch_number("WORLD_SIZE", 1)

    def read(
        self, run: RunFolder, look: Callable[[dict[str, Any]], tuple[Kind, float | None]]
    ) -> None:
        """Add a finished run of this device; damaged ones are left out.

        Args:
            run: Its folder.
            look: From its result to its kind and the work of a step (None: unknown).
        """
        try:
            result = run.result() or {}
            steps, seconds = int(result["steps"]), float(result["wall_s"])
            device = str(result.get("device_name"))
            if (device, result.get("n_devices", 1)) != (self.device, self.processes):
                return
            kind, work = look(result)
        except (NasbenchError, KeyError, TypeError, ValueError):
            return
        if work is not None and steps > 0 and seconds > 0:
            self.measured.append(Measured(kind, device, work, seconds / steps))

    def near(self, kind: Kind, work: float | None, steps: int | None) -> Expected | None:
        """Return what ``steps`` steps of some work will take, or None if nothing near is known."""
        alike = [m for m in self.measured if m.kind == kind]
        if steps is None or work is None or not alike:
            return None
        found = _seconds_of(work, alike)
        return None if found is None else Expected(found[0] * steps, found[1])

    @property
    def days(self) -> str:
        """The unit of days of work on this device."""
        return "CPU-days" if self.device.startswith("cpu") else "GPU-days"

    def in_words(self, found: Expected | None) -> str:
        """Return an estimate in words."""
        if found is None:
            return f"time unknown (no finished run near it on {self.device}; --measure times steps)"
        return f"about {duration(found.seconds)} ({told(found.sources)})"


class Times(Finished):
    """What the finished searches of a store took on a device.

    Args:
        registry: Where spaces come from.
        root: The store.
        device: The name of the device, as runs record it.
    """

    def __init__(self, registry: Registry, root: Path, device: str) -> None:
        super().__init__(device)
        self.registry = registry
        self._works: dict[str, float | None] = {}
        for run in run_folders(root):
            self.read(run, lambda _, file=run.config_file: self._look(file))  # type: ignore[misc]

    def _look(self, file: Path) -> tuple[Kind, float | None]:
        config = load_config(file)
        return kind_of(config), self.work(config)

    def work(self, config: RunConfig) -> float | None:
        """Return :func:`work_of`, counted once for equal networks."""
        key = f"{config.space.model_dump_json()} {config.data.declared_sizes}"
        key += f" {config.search.batch_size}"
        if key not in self._works:
            self._works[key] = work_of(self.registry, config)
        return self._works[key]

    def expected(self, plan: PlannedRun) -> Expected | None:
        """Return what ``plan`` will take, or None if nothing near it has finished."""
        config, steps = plan.config, steps_of(plan.config)
        steps = None if steps is None else steps * config.search.epochs
        return self.near(kind_of(config), self.work(config), steps)

    def told(self, plan: PlannedRun) -> str:
        """Return the estimate in words."""
        return self.in_words(self.expected(plan))


def _seconds_of(work: float, near: list[Measured]) -> tuple[float, tuple[Measured, ...]] | None:
    """Return the seconds of a step of ``work``, and from which runs they are."""
    below = [m for m in near if m.work <= work]
    above = [m for m in near if m.work >= work]
    low = _at(max((m.work for m in below), default=None), below)
    high = _at(min((m.work for m in above), default=None), above)
    if low and high and low[0] < high[0]:
        share = (work - low[0]) / (high[0] - low[0])
        return (1 - share) * low[1] + share * high[1], (*low[2], *high[2])
    for side in (low, high):
        if side and max(work / side[0], side[0] / work) <= REACH:
            return side[1] * math.sqrt(work / side[0]), side[2]
    return None


def _at(
    work: float | None, runs: list[Measured]
) -> tuple[float, float, tuple[Measured, ...]] | None:
    """Return a work, the mean seconds of the runs of that work, and those runs."""
    if work is None:
        return None
    same = tuple(m for m in runs if m.work == work)
    return work, sum(m.seconds for m in same) / len(same), same


def measure(
    config: RunConfig,
    registry: Registry,
    device: str,
    kernels: str = "auto",
    steps: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the seconds that the search of ``config`` takes, from a few of its steps here.

    Two steps warm up, ``steps`` more are timed (the median counts), then one validation. The
    measurement of the child after the search is not in it. Nothing is written.

    Args:
        config: The settings.
        registry: Where estimator and space come from.
        device: Where it runs.
        kernels: Backend of the parent network.
        steps: How many are timed.
        clock: Tells the seconds.

    Raises:
        NasbenchError: What the run would be refused for.
    """
    from nasbench_snas.search.search import Search

    epochs = config.search.epochs  # a run of that length waits for the compiler; so does this
    search = Search(config, registry, device, kernels, planned_epochs=epochs)
    step = seconds_of_step(search, lambda: search.sums["loss"], steps, clock)
    began = clock()
    search.validate()
    return (step * search.steps_per_epoch + clock() - began) * epochs


class Steps(Protocol):
    """A search or a retraining, as far as its steps can be timed."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""

    def one_step(self) -> None:
        """Do the next step."""


def seconds_of_step(
    work: Steps,
    loss: Callable[[], float],
    steps: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the median seconds of ``steps`` steps, after two that warm up.

    Args:
        work: What is timed; at most one epoch of it.
        loss: Reads the loss, and so waits for the device.
        steps: How many are timed.
        clock: Tells the seconds.
    """
    times = []
    for number in range(min(steps + 2, max(work.steps_per_epoch, 1))):
        began = clock()
        work.one_step()
        float(loss())
        times.append(clock() - began)
        if number == 1 and work.steps_per_epoch > 2:
            times.clear()
    return sorted(times)[len(times) // 2]


def told(sources: Iterable[Measured]) -> str:
    """Return where an estimate comes from: ``from 3 finished runs on cpu (2 cores)``."""
    runs = list(sources)
    devices = ", ".join(sorted({run.device for run in runs}))
    return f"from {len(runs)} finished run{'s' if len(runs) > 1 else ''} on {devices}"
