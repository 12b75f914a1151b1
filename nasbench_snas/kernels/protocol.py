"""What a kernel backend offers: the primitives that the fast parent network is built from.

Activations are ``(G, B, H, W, C)``: ``G`` groups (edges, architecture draws, or both) of
channels-last images. A candidate operation is a chain of *units* ``y = conv(relu(scale * x +
shift))``; a unit that follows a batch norm takes that norm as ``scale`` and ``shift``, so that no
normalised tensor is ever stored. A node is

    x_j[n, c] = sum_q  m_q[b] z_q (gamma_q (y_q[n, c] - mu_q) / sigma_q + beta_q)

over its *entries* ``q`` (edge, operation): eq. (2) of SNAS (arXiv:1812.09926) with the last batch
norms written out. Its backward pass needs only ``<g, y_q>`` and ``<g, 1>`` for each channel; they
give ``dL/dz`` (the credits of eq. 8) and both means of the batch-norm gradient, and the gradient of
``y_q`` is the combination

    dL/dy_q = m_q[b] a_q g + p_q y_q + r_q,          a, p, r: one number a channel,

which the units' backward passes form while they load (:class:`Upstream`), so that it is not stored
either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor

from nasbench_snas.architecture.operations import Conv

if TYPE_CHECKING:
    from nasbench_snas.kernels.sources import SourceKernels

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


class Kernels(Protocol):
    """A backend. All tensors are contiguous, of one dtype and on one device; index tensors are
    int64.

    ``x_rows`` and ``w_rows`` (shape ``(G,)``) say which row of ``x`` and of the weights each of the
    ``G`` outputs uses. Weights: ``depthwise`` ``((E, k * k, C_in), (E, C_in, C_out))``, ``point``
    and ``shifted`` ``((E, C_in, C_out),)``, ``dense`` one ``(E, C_out, C_in, kh, kw)`` for each
    convolution.
    """

    name: str

    sources: SourceKernels | None
    """If given, cells are run source by source through it, not primitive by primitive."""

    def indices(self, values: Sequence[int], device: object) -> Tensor:
        """Return an index tensor where this backend wants it."""

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance of every channel of each row, both ``(G, C)``."""

    def unit_forward(
        self,
        spec: UnitSpec,
        x: Tensor,
        norm: Norm | None,
        weights: Sequence[Tensor],
        x_rows: Tensor,
        w_rows: Tensor,
        statistics: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return ``y``, ``(G, B, H', W', C_out)``, and, if asked for, its statistics."""

    def unit_backward(
        self,
        spec: UnitSpec,
        x: Tensor,
        norm: Norm | None,
        weights: Sequence[Tensor],
        x_rows: Tensor,
        w_rows: Tensor,
        y: Tensor,
        upstream: Upstream,
        dx: Tensor,
        overwrite: bool,
        dweights: Sequence[Tensor] | None,
    ) -> Tensor | None:
        """Add to ``dx`` the gradient ``d`` of ``scale * x + shift``, and to ``dweights`` the
        weights'.

        Args:
            spec: The unit.
            x: Its input.
            norm: The batch norm before it, or None.
            weights: Its weights.
            x_rows: As in the forward pass.
            w_rows: As in the forward pass.
            y: Its output.
            upstream: The gradient of ``y``.
            dx: Where ``d`` goes.
            overwrite: Whether ``dx`` is uninitialised: store ``d`` instead of adding it.
            dweights: Gradients of the weights, added to, or None if nobody wants them.

        Returns:
            With a norm, ``<d, 1>`` and ``<d, x - mean>`` for each channel, shape ``(2, Gx, C)``,
            float64; else None.
        """

    def norm_forward(
        self, mean: Tensor, var: Tensor, gamma: Tensor | None, beta: Tensor | None, rows: Tensor
    ) -> Norm:
        """Return a batch norm in the form that units apply while they load.

        Args:
            mean: Means, shape ``(G, C)``.
            var: Biased variances, likewise.
            gamma: Learnt scales, shape ``(E, C)``, or None.
            beta: Learnt shifts, likewise.
            rows: The row of ``gamma`` and ``beta`` for each of the ``G``.
        """

    def norm_backward(
        self,
        norm: Norm,
        sums: Tensor,
        rows: Tensor,
        dgamma: Tensor | None,
        dbeta: Tensor | None,
        values: int,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Add to ``dgamma`` and ``dbeta``; return ``p`` and ``r`` of the norm's input.

        Args:
            norm: The norm.
            sums: What ``unit_backward`` returned for it.
            rows: As in the forward pass.
            dgamma: Gradient of ``gamma``, added to.
            dbeta: Likewise.
            values: Values a channel that ``mean`` and ``var`` were taken of, or 0 if they are
                constants (``p`` and ``r`` are then None).
        """

    def pool_forward(
        self, kind: str, stride: int, x: Tensor, statistics: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the 3x3 ``max`` or ``avg`` pooling of ``x`` and, if asked for, its statistics."""

    def pool_backward(
        self, kind: str, stride: int, x: Tensor, y: Tensor, upstream: Upstream, dx: Tensor
    ) -> None:
        """Add the gradient of the pooling's input to ``dx``."""

    def add_upstream(self, upstream: Upstream, dx: Tensor) -> None:
        """Add ``upstream`` (with ``p`` and ``r`` None) to ``dx``."""

    def mix_forward(
        self, z: Tensor, entries: Entries, candidates: Sequence[Candidate], out: Tensor
    ) -> None:
        """Add all entries to ``out``, shape ``(targets, B, H, W, C)``; ``z`` is flat."""

    def mix_backward(
        self,
        z: Tensor,
        entries: Entries,
        candidates: Sequence[Candidate],
        g: Tensor,
        dz: Tensor,
        dgammas: Sequence[Tensor | None],
        dbetas: Sequence[Tensor | None],
        batch_statistics: bool,
    ) -> list[Upstream]:
        """Add to ``dz`` (flat, like ``z``), ``dgammas`` and ``dbetas``; return each candidate's
        upstream gradient.

        Args:
            z: Weights, flat.
            entries: As in the forward pass.
            candidates: As in the forward pass.
            g: Gradient of ``out``.
            dz: Gradient of ``z``, added to.
            dgammas: For each candidate, the gradient of ``gamma``, added to.
            dbetas: Likewise of ``beta``.
            batch_statistics: Whether ``mean`` and ``var`` are those of ``y`` (training), or
                constants.
        """

    def update_running(
        self,
        running: tuple[Tensor, Tensor, Tensor],
        mean: Tensor,
        var: Tensor,
        rows: Tensor,
        w_rows: Tensor,
        count: int,
    ) -> None:
        """Update running statistics with ``mean[rows[i]]``, ``var[rows[i]]``, one ``i`` after
        another.

        Args:
            running: Running mean and variance, both ``(E, C)``, and number of batches, ``(E,)``; in
                place.
            mean: Means of a batch, ``(G, C)``.
            var: Its biased variances (the running one is unbiased).
            rows: Rows of ``mean`` and ``var``, in the order of the updates.
            w_rows: The row of ``running`` each of them goes to.
            count: Values a channel.
        """

    def concrete_forward(self, logits: Tensor, noise: Tensor, tau: float) -> Tensor:
        """Return ``softmax((logits + noise) / tau)`` over the last dimension (eq. 6 of SNAS)."""

    def concrete_backward(self, z: Tensor, g: Tensor, tau: float) -> Tensor:
        """Return the gradient of ``logits + noise``: ``z (g - <g, z>) / tau``."""
