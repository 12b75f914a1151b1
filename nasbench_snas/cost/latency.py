"""Latency of every operation of a space on this device, by timing, as a table for a search.

Operations of equal channels, stride and resolution are one *part*: it is built once, in evaluation
mode, and called on random images. Every round times every part once, in an order of its own, so
that a drift of the machine meets all parts alike; ``n`` rounds give a median and quartiles. The
table has, for each edge and operation, the sum of the medians over the cells that share the edge:
linear in the choice, as a network that runs operation after operation is, up to what sums and
concatenations at nodes take. ``none`` costs nothing, as its edge is absent.

The quartiles of a sum are given as sums of quartiles: those of delays that come together, and so
the widest that they can be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.file_table import FORMAT, sizes_of
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import seeded_init
from nasbench_snas.supernet.modules import auxiliary_skip, build_operation, build_preprocess
from nasbench_snas.supernet.skeleton import (
    Head,
    Stem,
    output_channels,
    positions,
    residual_layers,
)

WARM_UP = 3
"""Rounds that are not counted."""


@dataclass(frozen=True)
class Part:
    """A module that is timed: what it is, and the shape of one image that it sees."""

    what: str
    channels: int
    stride: int
    resolution: int
    build: Callable[[], nn.Module]
    chosen: bool = False

    @property
    def key(self) -> tuple[str, int, int, int, bool]:
        """What tells parts apart; a search chooses an operation, the rest stands."""
        return self.what, self.channels, self.stride, self.resolution, self.chosen


@dataclass(frozen=True)
class Timed:
    """The latency of a part in milliseconds: quartiles over ``n`` rounds."""

    part: Part
    lower: float
    median: float
    upper: float
    n: int


@dataclass(frozen=True)
class Latency:
    """The latencies of a space.

    Attributes:
        space: The space.
        parts: Every part, operations first.
        batch: Images of a call.
        device: Where it ran, in words.
        threads: Threads of torch.
    """

    space: Space
    parts: tuple[Timed, ...]
    batch: int
    device: str
    threads: int

    def table(self, which: str = "median") -> list[list[float]]:
        """Return the sums over the cells that share an edge, shape ``(E, K)``, in milliseconds.

        Args:
            which: ``lower``, ``median`` or ``upper`` quartile of the parts.
        """
        found = {timed.part.key: float(getattr(timed, which)) for timed in self.parts}
        rows = np.zeros((self.space.num_edges, self.space.num_operations))
        for edge, column, part in _edge_parts(self.space):
            rows[edge, column] += found[part.key]
        return [[float(value) for value in row] for row in rows]

    def _by_name(self, which: str) -> list[list[float]]:
        """Return :meth:`table` with a column for each of the space's operations."""
        table, width = self.table(which), len(self.space.operations)
        result = [[0.0] * width for _ in table]
        for column, name in enumerate(self.space.operations):
            for edge, k in self.space.places(name):
                result[edge][column] = table[edge][k]
        return result

    def outside(self, which: str = "median") -> float:
        """Return stem, preprocessing, residual blocks and head, in milliseconds."""
        found = {timed.part.key: float(getattr(timed, which)) for timed in self.parts}
        return sum(found[part.key] for part in _outside_parts(self.space))

    def content(self) -> dict[str, Any]:
        """Return what a file of the criterion ``table`` holds, with the spread of every number."""
        return {
            "format": FORMAT,
            "what": "latency",
            "unit": "ms",
            "space": self.space.name,
            "sizes": sizes_of(self.space),
            "device": self.device,
            "threads": self.threads,
            "batch": self.batch,
            "torch": torch.__version__,
            "n": self.parts[0].n,
            "edges": list(self.space.edge_names),
            "operations": list(self.space.operations),
            "table": self._by_name("median"),
            "lower_quartile": self._by_name("lower"),
            "upper_quartile": self._by_name("upper"),
            "outside": self.outside(),
        }


def _edge_parts(space: Space) -> Iterator[tuple[int, int, Part]]:
    """Yield edge, operation and part of everything that a search chooses from, but ``none``."""
    for position in positions(space):
        first = space.rows[position.cell.name].start
        for row, (source, _) in enumerate(position.cell.edges):
            inner = source >= position.cell.num_inputs
            size = position.output_resolution if inner else position.resolution
            channels, stride = position.layer.channels, position.stride(source)
            for column, spec in enumerate(space.candidate_specs[first + row]):
                if spec.kind != "zero":

                    def build(
                        spec: Any = spec, channels: int = channels, stride: int = stride
                    ) -> nn.Module:
                        module = build_operation(
                            spec, channels, stride, affine=space.affine, pool_norm=space.pool_norm
                        )
                        return _with_skip(space, module, channels, stride)

                    yield first + row, column, Part(spec.name, channels, stride, size, build, True)


class _Beside(nn.Module):
    """An operation and the auxiliary skip connection of its edge."""

    def __init__(self, operation: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.operation, self.skip = operation, skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both."""
        result: torch.Tensor = self.operation(x) + self.skip(x)
        return result


def _with_skip(space: Space, module: nn.Module, channels: int, stride: int) -> nn.Module:
    """Return what an edge with an operation runs: the auxiliary skip connection, too, if any."""
    if not space.auxiliary_skip:
        return module
    return _Beside(module, auxiliary_skip(channels, stride, space.affine))


def _outside_parts(space: Space) -> Iterator[Part]:
    """Yield what every architecture runs besides."""
    size = space.resolution
    yield Part("stem", space.in_channels, 1, size, lambda: Stem(space))
    for position in positions(space):
        pairs = zip(position.input_channels, position.input_reduces, strict=True)
        for c_in, reduces in pairs if space.preprocess else ():
            width = position.layer.channels

            def build(c_in: int = c_in, width: int = width, reduces: bool = reduces) -> nn.Module:
                return build_preprocess(c_in, width, reduces, space.affine)

            name = f"preprocess to {width}"
            before = 2 * position.resolution if reduces else position.resolution
            yield Part(name, c_in, 2 if reduces else 1, before, build)
    width = space.stem_channels
    for index, layer in enumerate(space.layers):
        if layer.kind == "residual":

            def build_block(block: str = str(index)) -> nn.Module:
                return residual_layers(space)[block]

            yield Part(f"block to {layer.channels}", width, layer.stride, size, build_block)
        width = layer.channels * (space.cell(layer.cell).width if layer.kind == "cell" else 1)
        size = -(-size // layer.stride)
    yield Part("head", output_channels(space), 1, size, lambda: Head(space))


def measure_latency(
    space: Space,
    *,
    device: torch.device | str = "cpu",
    name: str = "",
    batch: int = 1,
    rounds: int = 30,
) -> Latency:
    """Return the latency of every operation of ``space`` on this device.

    Args:
        space: The space.
        device: Where it is timed.
        name: The device in words.
        batch: Images of a call.
        rounds: Timings of every part.

    Raises:
        ConfigError: A size is not positive.
    """
    if batch < 1 or rounds < 1:
        raise ConfigError(f"batch and rounds must be at least 1, got {batch} and {rounds}.")
    where = torch.device(device)
    every = [part for _, _, part in _edge_parts(space)] + list(_outside_parts(space))
    parts = list({part.key: part for part in every}.values())
    generator = torch.Generator().manual_seed(0)
    prepared = []
    for part in parts:
        with seeded_init(generator):
            module = part.build().to(where).eval()
        size = (batch, part.channels, part.resolution, part.resolution)
        prepared.append((module, torch.randn(size, generator=generator).to(where)))
    seconds = np.zeros((rounds, len(parts)))
    with torch.no_grad():
        for number in range(-WARM_UP, rounds):
            for place in torch.randperm(len(parts), generator=generator).tolist():
                module, x = prepared[place]
                taken = _seconds(module, x, where)
                if number >= 0:
                    seconds[number, place] = taken
    quartiles = 1e3 * np.quantile(seconds, (0.25, 0.5, 0.75), axis=0)
    timed = [
        Timed(part, float(lower), float(median), float(upper), rounds)
        for part, (lower, median, upper) in zip(parts, quartiles.T, strict=True)
    ]
    words = name or str(where)
    return Latency(space, tuple(timed), batch, words, torch.get_num_threads())


def _seconds(module: nn.Module, x: torch.Tensor, where: torch.device) -> float:
    """Return how long one call takes, until its result is there."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    began = time.perf_counter()
    module(x)
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    return time.perf_counter() - began
