"""Operations of one's own: what a plug-in declares, and the operation that it declares."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, ClassVar

from nasbench_snas.architecture.operations import Conv, Operation, OperationCost
from nasbench_snas.errors import PluginError

if TYPE_CHECKING:
    from torch import nn


class CandidateOperation(ABC):
    """A candidate operation of one's own; a subclass says what it computes in one of two ways.

    *Units*: a chain of ReLU-convolution-norm units, as data (:attr:`units`). Networks, compiled
    kernels, cost and children then follow.

    *A module*: :meth:`build` returns any ``torch.nn.Module``, :meth:`cost` what it costs. Other
    operations of the same cell keep their fast kernels; this one is called as it is.

    A candidate has no settings: another kernel size is another operation, with another name.

    Attributes:
        name: Name in genotypes and settings.
        summary: One line for listings.
        reference: A key of ``references.bib``, a BibTeX entry, or empty.
        units: ReLU-convolution-norm units in order, each a tuple of :class:`Conv` between ReLU and
            norm; the first unit carries the stride of the edge.
        version: Raised when a change alters results; a run records it, and it is part of the run's
            identity where the space has a setting ``operations`` that names it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str] = ""
    units: ClassVar[tuple[tuple[Conv, ...], ...]] = ()
    version: ClassVar[int] = 1

    def build(self, channels: int, stride: int, affine: bool) -> nn.Module:
        """Return a new module of the operation, called once for every edge of every cell.

        It maps ``(B, channels, H, W)`` to ``(B, channels, ceil(H / stride), ceil(W / stride))`` and
        treats every image alike in evaluation mode. Weights are drawn from torch's generator, which
        is seeded around the call; a pass draws no random numbers.

        Args:
            channels: Channels of the source and of the target node.
            stride: 1, or 2 to halve the resolution.
            affine: Whether batch norms have a learnt scale and shift.
        """
        raise NotImplementedError

    def cost(self, channels: int, stride: int, resolution: int, affine: bool) -> OperationCost:
        """Return what one module costs for one image.

        Args:
            channels: As :meth:`build`.
            stride: As :meth:`build`.
            resolution: Height and width of the source node in pixels.
            affine: As :meth:`build`.
        """
        raise NotImplementedError


def declared(cls: type[CandidateOperation]) -> Operation:
    """Return the operation that a plug-in declares.

    Raises:
        PluginError: It declares neither units nor a module with its cost, or both.
    """
    own = [getattr(cls, part) is not getattr(CandidateOperation, part) for part in _PARTS]
    if bool(cls.units) == any(own) or any(own) != all(own):
        raise PluginError(
            f"operation {cls.name!r} must declare its units, or a module and its cost.",
            f"It has {len(cls.units)} units"
            + "".join(f", {part}()" for part, has in zip(_PARTS, own, strict=True) if has)
            + ".",
            "Set `units`, or define both build() and cost().",
        )
    if cls.units:
        _check_units(cls.name, cls.units)
        return Operation(cls.name, "conv", units=cls.units)
    return Operation(cls.name, "module", own=cls())


def _check_units(name: str, units: tuple[tuple[Conv, ...], ...]) -> None:
    """Raise a :class:`PluginError` for units that change the resolution otherwise than asked."""
    even = [conv.kernel for unit in units for conv in unit if not all(k % 2 for k in conv.kernel)]
    if even or not all(units):
        raise PluginError(
            f"operation {name!r}: "
            + (f"a kernel of {even[0]} changes the resolution." if even else "a unit is empty."),
            "Every unit has at least one convolution, and every kernel is odd in both sides.",
        )
    times = [sum(conv.strided[axis] for conv in units[0]) for axis in (0, 1)]
    if times != [1, 1]:
        raise PluginError(
            f"operation {name!r}: its first unit carries the stride {times[0]} times in height and "
            f"{times[1]} times in width.",
            "Once each: the convolutions of a unit are strided unless they say otherwise.",
            "Write strided=(False, False) for all but one, for example the pointwise one.",
        )


_PARTS = ("build", "cost")
