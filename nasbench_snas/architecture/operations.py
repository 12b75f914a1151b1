"""The candidate operations, declared once for networks, kernels and cost.

An :class:`Operation` is data: how a module is built from it is in ``supernet/modules.py``, what it
costs is in ``cost/table.py``. Names and order follow DARTS (Liu et al. 2019, arXiv:1806.09055) and
Appendix G.1 of SNAS (arXiv:1812.09926): convolutions are applied as ReLU-Conv-BN, a separable
convolution is applied twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from nasbench_snas.errors import ConfigError, suggest


class OperationCost(NamedTuple):
    """What one operation costs for one image.

    Attributes:
        parameters: Trainable scalars.
        macs: Multiply-adds.
        access: Elements of feature maps and weights that are moved.
    """

    parameters: int
    macs: int
    access: int


class OwnModule(Protocol):
    """What an operation of the kind ``module`` brings; see ``candidates.CandidateOperation``."""

    def build(self, channels: int, stride: int, affine: bool) -> Any:
        """Return a new ``torch.nn.Module`` of the operation."""

    def cost(self, channels: int, stride: int, resolution: int, affine: bool) -> OperationCost:
        """Return what one module costs for one image."""


@dataclass(frozen=True)
class Conv:
    """One convolution inside a ReLU-Conv-BN unit.

    Attributes:
        kernel: Height and width.
        dilation: Distance between kernel taps.
        depthwise: One filter a channel (groups = channels); otherwise dense.
        strided: Whether the operation's stride applies to the height and to the width of this
            convolution (only where it is the first to be strided in its operation).
    """

    kernel: tuple[int, int]
    dilation: int = 1
    depthwise: bool = False
    strided: tuple[bool, bool] = (True, True)

    @property
    def padding(self) -> tuple[int, int]:
        """Padding that preserves the resolution at stride one."""
        return (self.dilation * (self.kernel[0] // 2), self.dilation * (self.kernel[1] // 2))


@dataclass(frozen=True)
class Operation:
    """A candidate operation of an edge.

    Attributes:
        name: Name in genotypes and settings.
        kind: ``zero`` (no edge), ``skip`` (identity, a factorised reduction at stride 2), ``pool``,
            ``conv``, ``noise`` (standard Gaussian numbers in the place of the input, RobustDARTS),
            or ``module`` (one's own, called as it is).
        units: For ``conv``: ReLU-Conv-BN units in order, each a tuple of convolutions between ReLU
            and BN.
        pool: For ``pool``: ``max`` or ``avg`` over 3x3 (averages do not count the padding).
        own: For ``module``: what makes it and says what it costs.
    """

    name: str
    kind: Literal["zero", "skip", "pool", "conv", "noise", "module"]
    units: tuple[tuple[Conv, ...], ...] = ()
    pool: Literal["", "max", "avg"] = ""
    own: OwnModule | None = None

    @property
    def strided(self) -> tuple[int, int]:
        """Index (unit, convolution) of the last convolution that carries a part of the stride."""
        first = self.units[0]
        return (0, max(i for i, conv in enumerate(first) if any(conv.strided)))


def _separable(name: str, kernel: int) -> Operation:
    depthwise = Conv((kernel, kernel), depthwise=True)
    still = Conv((kernel, kernel), depthwise=True, strided=(False, False))
    pointwise = Conv((1, 1), strided=(False, False))
    return Operation(name, "conv", units=((depthwise, pointwise), (still, pointwise)))


def _dilated(name: str, kernel: int) -> Operation:
    depthwise = Conv((kernel, kernel), dilation=2, depthwise=True)
    return Operation(name, "conv", units=((depthwise, Conv((1, 1), strided=(False, False))),))


_ALL = (
    Operation("none", "zero"),
    Operation("max_pool_3x3", "pool", pool="max"),
    Operation("avg_pool_3x3", "pool", pool="avg"),
    Operation("skip_connect", "skip"),
    _separable("sep_conv_3x3", 3),
    _separable("sep_conv_5x5", 5),
    _separable("sep_conv_7x7", 7),
    _dilated("dil_conv_3x3", 3),
    _dilated("dil_conv_5x5", 5),
    Operation("conv_1x1", "conv", units=((Conv((1, 1)),),)),
    Operation("conv_3x3", "conv", units=((Conv((3, 3)),),)),
    Operation(
        "conv_7x1_1x7",
        "conv",
        units=((Conv((1, 7), strided=(False, True)), Conv((7, 1), strided=(True, False))),),
    ),
    Operation("noise", "noise"),
)

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _ALL}
"""Every known operation by name (read-only by convention)."""

DARTS_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The eight candidates of DARTS and SNAS, in the order of the released code."""


_offered: dict[str, Callable[[], Operation]] = {}


def offer(name: str, load: Callable[[], Operation]) -> None:
    """Make an operation of a plug-in known: ``load`` imports it when it is first asked for."""
    _offered[name] = load


def known_operations() -> tuple[str, ...]:
    """Return the names of all operations: the built-in ones, then those of plug-ins."""
    return (*OPERATIONS, *(name for name in _offered if name not in OPERATIONS))


def is_known(name: str) -> bool:
    """Whether there is an operation called ``name``; nothing is imported."""
    return name in OPERATIONS or name in _offered


def operation(name: str) -> Operation:
    """Return the operation called ``name``.

    Raises:
        ConfigError: No such operation; the message suggests the nearest name.
        PluginError: The plug-in that brings it is broken, or has a name that is taken.
    """
    if name in _offered:
        return _offered[name]()
    if name not in OPERATIONS:
        raise ConfigError(
            f"unknown operation {name!r}.",
            suggest(name, known_operations()),
            "One of your own: --plugin my_operation.py, or install its package.",
        )
    return OPERATIONS[name]


def operations(names: Iterable[str]) -> tuple[Operation, ...]:
    """Return the operations called ``names``, in that order."""
    return tuple(operation(name) for name in names)
