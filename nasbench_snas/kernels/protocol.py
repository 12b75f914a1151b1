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

:class:`Kernels` documents every argument once; the backends' docstrings say only what is their own.
Their signatures repeat its signatures on purpose: so every override is checked against the protocol
argument by argument, no bundle is packed and unpacked on the hot path, and tensors in, tensors out
is also what the compiled modules take. What backends share is inherited instead: ``folded`` and
``cpu`` extend ``reference`` and override only what they do differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from nasbench_snas.kernels.operands import (
    Candidate,
    Entries,
    Norm,
    UnitSpec,
    Upstream,
)
from nasbench_snas.kernels.sources import SourceKernels


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
        """Return ``softmax((logits + noise) / tau)`` over the last dimension (eq. 5 of SNAS)."""

    def concrete_backward(self, z: Tensor, g: Tensor, tau: float) -> Tensor:
        """Return the gradient of ``logits + noise``: ``z (g - <g, z>) / tau``."""
