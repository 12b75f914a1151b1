"""Parameters, FLOPs and memory access of every operation of a search space (eqs. 35-40).

For one convolution with filter ``f x k``, ``I`` input and ``O`` output channels, ``g`` groups and
output ``H x W`` (SNAS, arXiv:1812.09926, Appendix F)::

    parameters = f k I O / g          FLOPs = H W f k I O / g         (35, 36)
    MAC = H W (I + O) + f k I O / g                                   (37)

FLOPs are multiply-adds, counted once; MAC is the number of feature-map and weight elements moved.
An operation is the sum of its convolutions. Where the paper and its released code disagree there
are three conventions:

``sound`` (default)
    Every input pixel is read (a strided convolution reads four for one it writes); a 3x3 pooling
    needs 9 operations for each output element; a skip of stride 2 is the factorised reduction it
    is; the scale and shift of an affine batch norm are parameters. Exact at odd resolutions.
``released``
    The authors' code (SNAS-Series): as ``sound``, but batch norms do not count and an odd
    resolution is halved downwards.
``paper``
    Eqs. 35-40 to the letter: pooling costs ``H W f k I O`` (eq. 38, ``I O`` times too much), only
    output pixels are counted (eq. 37), and a skip is free of parameters and FLOPs even at stride 2
    (eqs. 39, 40).

ReLU, batch-norm arithmetic and the sums at nodes are not counted, as in the paper. An operation of
one's own that is a module counts what it declares.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nasbench_snas.architecture.operations import (
    OPERATIONS,
    Conv,
    Operation,
    OperationCost,
)
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.settings import Convention
from nasbench_snas.errors import ConfigError, PluginError, suggest
from nasbench_snas.supernet.skeleton import CellPosition, positions

CONVENTIONS = ("sound", "released", "paper")
CRITERIA = ("parameters", "flops", "access")
"""Names of the last axis of a cost table: parameters, FLOPs, memory access."""


class Cost(NamedTuple):
    """What one operation costs.

    Attributes:
        parameters: Trainable scalars (eq. 35).
        macs: Multiply-adds of its convolutions (eq. 36).
        pooling: Operations of its pooling (eq. 38).
        access: Elements moved (eqs. 37, 40).
    """

    parameters: int = 0
    macs: int = 0
    pooling: int = 0
    access: int = 0

    @property
    def flops(self) -> int:
        """All operations: multiply-adds of convolutions plus those of pooling."""
        return self.macs + self.pooling

    def __add__(self, other: object) -> Cost:
        """Return the sum, entry by entry."""
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


def check_convention(convention: str) -> None:
    """Raise a :class:`ConfigError` unless ``convention`` is known."""
    if convention not in CONVENTIONS:
        raise ConfigError(
            f"unknown cost convention {convention!r}.", suggest(convention, CONVENTIONS)
        )


# Implements SNAS (35, 36, 37).
def conv_cost(
    c_in: int,
    c_out: int,
    kernel: tuple[int, int],
    groups: int,
    size_in: tuple[int, int],
    size_out: tuple[int, int],
    *,
    all_inputs: bool = True,
) -> Cost:
    """Return the cost of one convolution without bias (eqs. 35-37).

    Args:
        c_in: ``I``.
        c_out: ``O``.
        kernel: ``f, k``.
        groups: ``g``.
        size_in: Height and width of the input in pixels.
        size_out: Height and width of the output in pixels (``H, W``).
        all_inputs: Count every input pixel; otherwise ``H W`` of them, as eq. 37 does.
    """
    weights = kernel[0] * kernel[1] * c_in * c_out // groups
    n_out = size_out[0] * size_out[1]
    n_in = size_in[0] * size_in[1] if all_inputs else n_out
    return Cost(weights, n_out * weights, 0, n_in * c_in + n_out * c_out + weights)


def norm_parameters(channels: int, affine: bool) -> Cost:
    """Return the parameters of a batch norm."""
    return Cost(parameters=2 * channels if affine else 0)


def reduction_cost(c_in: int, c_out: int, resolution: int, affine: bool) -> Cost:
    """Return the cost of a factorised reduction: two strided 1x1 convolutions."""
    size, half = (resolution, resolution), (-(-resolution // 2),) * 2
    parts = (c_out - c_out // 2, c_out // 2)
    costs = [conv_cost(c_in, part, (1, 1), 1, size, half) for part in parts]
    return costs[0] + costs[1] + norm_parameters(c_out, affine)


# Implements SNAS (35, 36, 37, 38, 39, 40).
def operation_cost(
    operation: Operation,
    channels: int,
    stride: int,
    resolution: int,
    *,
    affine: bool = False,
    pool_norm: bool = True,
    convention: Convention = "sound",
) -> Cost:
    """Return the cost of ``operation`` on an edge.

    Args:
        operation: The declaration.
        channels: Channels of the source and of the target node.
        stride: Stride of the edge.
        resolution: Height and width of the source node in pixels.
        affine: Whether batch norms have a learnt scale and shift.
        pool_norm: Whether pooling is followed by a batch norm.
        convention: See the module's docstring.
    """
    check_convention(convention)
    affine = affine and convention == "sound"
    if convention == "released":
        resolution -= resolution % stride
    out = -(-resolution // stride)
    if operation.kind == "zero":
        return Cost()
    if operation.kind == "noise":
        return Cost(access=out * out * channels)
    if operation.own is not None:
        own = _declared_cost(
            operation.name, operation.own.cost(channels, stride, resolution, affine)
        )
        return Cost(own.parameters, own.macs, 0, own.access)
    if operation.kind == "conv":
        return _convolutions(operation, channels, stride, resolution, affine, convention)
    read = resolution if convention != "paper" else out
    moved = (read * read + out * out) * channels
    if operation.kind == "pool":
        ops = 9 * out * out * channels * (channels if convention == "paper" else 1)
        return Cost(0, 0, ops, moved) + norm_parameters(channels, affine and pool_norm)
    if stride == 1 or convention == "paper":
        return Cost(access=moved)
    return reduction_cost(channels, channels, resolution, affine)


def edge_cost(
    operation: Operation,
    channels: int,
    stride: int,
    resolution: int,
    *,
    auxiliary_skip: bool,
    affine: bool = False,
    pool_norm: bool = True,
    convention: Convention = "sound",
) -> Cost:
    """Return the cost of an edge that chose ``operation``, its auxiliary skip connection included.

    Args:
        operation: The declaration.
        channels: As :func:`operation_cost`, and so are all but the next.
        stride: As there.
        resolution: As there.
        auxiliary_skip: Whether the network has such connections; a dropped edge has none.
        affine: As there.
        pool_norm: As there.
        convention: As there.
    """
    run = [operation]
    if auxiliary_skip and operation.kind != "zero":
        run.append(OPERATIONS["skip_connect"])
    costs = (
        operation_cost(
            part,
            channels,
            stride,
            resolution,
            affine=affine,
            pool_norm=pool_norm,
            convention=convention,
        )
        for part in run
    )
    return sum(costs, Cost())


def _declared_cost(name: str, cost: object) -> OperationCost:
    """Return what an operation of one's own says that it costs.

    Raises:
        PluginError: It is not three whole numbers from 0 on.
    """
    if not isinstance(cost, OperationCost):
        raise PluginError(
            f"operation {name!r}: cost() returned {type(cost).__name__}.",
            "Expected nasbench_snas.api.OperationCost(parameters, macs, access).",
        )
    if wrong := [v for v in cost if not isinstance(v, int | float) or v < 0 or v != v // 1]:
        raise PluginError(
            f"operation {name!r}: cost() returned the value {wrong[0]!r}.",
            f"It said {cost}.",
            "Return whole numbers from 0 on: parameters, multiply-adds, elements moved.",
        )
    return OperationCost(*map(int, cost))


def _convolutions(
    operation: Operation,
    channels: int,
    stride: int,
    resolution: int,
    affine: bool,
    convention: Convention,
) -> Cost:
    total, size = Cost(), (resolution, resolution)
    for unit, convs in enumerate(operation.units):
        for conv in convs:
            after = _strided(conv, size, stride if unit == 0 else 1)
            groups = channels if conv.depthwise else 1
            total += conv_cost(
                channels,
                channels,
                conv.kernel,
                groups,
                size,
                after,
                all_inputs=convention != "paper",
            )
            size = after
        total += norm_parameters(channels, affine)
    return total


def _strided(conv: Conv, size: tuple[int, int], stride: int) -> tuple[int, int]:
    steps = [stride if on else 1 for on in conv.strided]
    return (-(-size[0] // steps[0]), -(-size[1] // steps[1]))


def position_table(
    space: Space, position: CellPosition, convention: Convention = "sound"
) -> Tensor:
    """Return the costs of one cell's edges.

    Returns:
        Shape ``(edges of the cell type, K, 3)``, float64, last axis :data:`CRITERIA`.
    """
    table = torch.zeros(len(position.cell.edges), space.num_operations, 3, dtype=torch.float64)
    candidates = space.candidate_specs[space.rows[position.cell.name]]
    for row, (source, _) in enumerate(position.cell.edges):
        inner = source >= position.cell.num_inputs
        for column, operation in enumerate(candidates[row]):
            cost = edge_cost(
                operation,
                position.layer.channels,
                position.stride(source),
                position.output_resolution if inner else position.resolution,
                affine=space.affine,
                pool_norm=space.pool_norm,
                auxiliary_skip=space.auxiliary_skip,
                convention=convention,
            )
            values = (cost.parameters, cost.flops, cost.access)
            table[row, column] = torch.tensor(values, dtype=torch.float64)
    return table


# Implements SNAS (10).
def cost_table(space: Space, convention: Convention = "sound") -> Tensor:
    """Return ``C(O_ij)`` of eq. 10, summed over the cells that share an edge.

    Returns:
        Shape ``(E, K, 3)``, float64, last axis :data:`CRITERIA`.
    """
    shape = (space.num_edges, space.num_operations, 3)
    table = torch.zeros(shape, dtype=torch.float64)
    for position in positions(space):
        table[space.rows[position.cell.name]] += position_table(space, position, convention)
    return table


def mean_cost(space: Space, table: Tensor) -> Tensor:
    """Return the mean of ``table``, ``(E, K, ...)``, over each edge's candidates, ``(E, ...)``."""
    if not space.absent:
        return table.mean(dim=1)
    uniform = torch.tensor(space.uniform, dtype=table.dtype)
    return torch.einsum("ek,ek...->e...", uniform, table)
