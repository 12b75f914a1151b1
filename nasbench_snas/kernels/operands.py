"""What kernels are handed: specifications of units, norms, folds, and entries of a mix.

Formulas: :mod:`nasbench_snas.kernels.protocol`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from nasbench_snas.architecture.operations import Conv

EPS = 1e-5
"""The batch norms' epsilon (torch's default)."""

MOMENTUM = 0.1
"""Weight of a new batch in running statistics (torch's default)."""


@dataclass(frozen=True)
class UnitSpec:
    """One ReLU-convolution unit, without its weights.

    Attributes:
        kind: ``depthwise`` (then 1x1), ``point`` (1x1), ``shifted`` (factorised reduction: half of
            the output channels from the pixels (2h, 2w), half from (2h + 1, 2w + 1)), or ``dense``
            (any convolutions).
        kernel: Side of the depthwise kernel.
        dilation: Distance of its taps.
        stride: 1 or 2.
        convs: The convolutions, for ``dense`` only.
    """

    kind: Literal["depthwise", "point", "shifted", "dense"]
    kernel: int = 1
    dilation: int = 1
    stride: int = 1
    convs: tuple[Conv, ...] = ()

    def size(self, pixels: int) -> int:
        """Return the output's height (or width) for an input of that many pixels."""
        return (pixels - 1) // self.stride + 1


@dataclass(frozen=True)
class Norm:
    """A batch norm before a unit: ``scale * x + shift`` for every row of ``x``.

    Attributes:
        scale: ``gamma / sigma``, shape ``(Gx, C)``.
        shift: ``beta - gamma mu / sigma``, shape ``(Gx, C)``.
        mean: ``mu``, shape ``(Gx, C)``: sums for the norm's gradient are taken about it.
        inverse: ``1 / sigma``, shape ``(Gx, C)``.
    """

    scale: Tensor
    shift: Tensor
    mean: Tensor
    inverse: Tensor


@dataclass(frozen=True)
class Fold:
    """A 1x1 convolution that a mix makes itself, with the norm and the weight folded into it.

    Attributes:
        weight: Its weights, shape ``(E, C_in, C_out)``.
        rows: The row of ``weight`` for each row of the candidate.
        covariance: Biased covariance of its input, shape ``(rows, C_in, C_in)``, in training.
    """

    weight: Tensor
    rows: Tensor
    covariance: Tensor | None


@dataclass(frozen=True)
class Candidate:
    """One candidate operation's outputs, as the mix sees them.

    Attributes:
        y: Outputs before the last batch norm, shape ``(rows, B, H, W, C)``.
        mean: Means for the norm, shape ``(stats, C)``, or None without a norm.
        var: Biased variances, likewise.
        gamma: Learnt scales, shape ``(edges, C)``, or None.
        beta: Learnt shifts, likewise.
        fold: If given, ``y`` is the input of a 1x1 convolution (centred, in training), ``mean``
            and ``var`` are those of its output; only a backend that folds makes such candidates.
    """

    y: Tensor
    mean: Tensor | None = None
    var: Tensor | None = None
    gamma: Tensor | None = None
    beta: Tensor | None = None
    fold: Fold | None = None


@dataclass(frozen=True)
class Entries:
    """What is added to which node, with which weight; sorted by candidate, then row.

    Attributes:
        table: Integers, shape ``(Q, 6)``: candidate, row of its ``y``, row of its ``mean``, index
            of the target in ``out``, position in ``z``, row of ``gamma`` and ``beta``.
        starts: For each candidate, shape ``(rows + 1,)``: row ``i`` owns the entries
            ``starts[i]:starts[i + 1]``.
        counts: For each candidate, how many entries it has.
        mask: Factors ``m_q`` of the images, shape ``(Q, B)``, or None.
        cache: What a backend derives from the table once.
    """

    table: Tensor
    starts: tuple[Tensor, ...]
    counts: tuple[int, ...]
    mask: Tensor | None = None
    cache: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Upstream:
    """The gradient of a tensor ``y``, in the form ``sum_q m_q a_q g[index_q] + p y + r``.

    Attributes:
        g: Gradients, shape ``(M, B, H, W, C)``.
        index: Which of them, shape ``(Q,)``.
        starts: Row ``i`` of ``y`` owns the terms ``starts[i]:starts[i + 1]``, shape ``(rows +
            1,)``.
        a: Factors, shape ``(Q, C)``.
        p: Factors of ``y``, shape ``(rows, C)``, or None for zero.
        r: Constants, shape ``(rows, C)``, or None for zero.
        mask: Factors of the images, shape ``(Q, B)``, or None.
        matrices: Of a folded candidate: the gradient of its ``y`` (the input of the convolution)
            is ``sum_q g[index_q] matrices[0][q] + y matrices[1] + r``; ``a`` and ``p`` are unused.
            ``matrices[2]`` is the gradient of the convolution's weights, a row each.
    """

    g: Tensor
    index: Tensor
    starts: Tensor
    a: Tensor
    p: Tensor | None = None
    r: Tensor | None = None
    mask: Tensor | None = None
    matrices: tuple[Tensor, Tensor | None, Tensor] | None = None
