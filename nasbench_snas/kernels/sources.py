"""What a backend offers that runs all candidates of a source together, not primitive by primitive.

The candidates of a source share its node, and their outputs are added to the same targets. A
backend that is handed all of them at once decides itself what it computes in one go and what it
keeps for the backward pass. Formulas: :mod:`nasbench_snas.kernels.protocol`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, device

from nasbench_snas.kernels.operands import Entries, UnitSpec


class UnitWeights(Protocol):
    """Weights and norm of one unit on its rows, as a backend sees them.

    Attributes:
        mean: Running means, shape ``(rows, C_out)``.
        var: Running variances, shape ``(rows, C_out)``.
        count: Batches that the running statistics hold, shape ``(rows,)``.
        norm: Whether there is a norm.
    """

    mean: Tensor
    var: Tensor
    count: Tensor
    norm: bool

    @property
    def gamma(self) -> Tensor | None:
        """Learnt scales, shape ``(rows, C_out)``, or None."""

    @property
    def beta(self) -> Tensor | None:
        """Learnt shifts, shape ``(rows, C_out)``, or None."""

    @property
    def weights(self) -> list[Tensor]:
        """The weights, one tensor a convolution (in the order of ``Kernels``)."""

    @property
    def running(self) -> tuple[Tensor, Tensor, Tensor]:
        """Running mean, running variance and number of batches."""


@dataclass(frozen=True)
class CandidatePlan:
    """One operation on all wanted edges of a source, for all draws.

    Attributes:
        kind: ``conv`` (a chain of units), ``pool`` or ``identity``.
        pool: Which pooling.
        specs: The units' specifications at this source's stride.
        units: Their weights (for a pooling, its norm alone).
        x_rows: For every row of the first unit's output, the row of the source node.
        w_rows: For every row, the row of the weights.
        chain: ``0, 1, …, rows``: the rows of the later units' inputs, and ``starts`` of their
            gradients.
        every: ``chain`` without its end.
        starts: First entry of each row (and the end), see ``Entries``.
        update_rows: Rows whose statistics enter the running ones, in the order of the draws.
        update_weights: The row of the running statistics for each of them.
    """

    kind: str
    pool: str
    specs: tuple[UnitSpec, ...]
    units: tuple[UnitWeights, ...]
    x_rows: Tensor
    w_rows: Tensor
    chain: Tensor
    every: Tensor
    starts: Tensor
    update_rows: Tensor
    update_weights: Tensor


@dataclass(frozen=True)
class Offer:
    """One operation as a space offers it at a source, whether it is wanted or not.

    Attributes:
        kind: As in :class:`CandidatePlan`.
        pool: Which pooling.
        specs: The units' specifications at this source's stride.
        number: Of the operation in the space.
        units: Their weights (for a pooling, its norm alone).
        rows: The row of the weights by edge of the cell; None: the edge itself.
    """

    kind: str
    pool: str
    specs: tuple[UnitSpec, ...]
    number: int = 0
    units: tuple[UnitWeights, ...] = ()
    rows: Mapping[int, int] | None = None

    def row(self, edge: int) -> int:
        """Return the row of the weights of an edge of the cell."""
        return edge if self.rows is None else self.rows[edge]


@dataclass(frozen=True)
class Choice:
    """One draw's operation on one edge that leaves a source, chosen on the device.

    Attributes:
        edge: The edge, among those of the cell.
        row: Row of the source's node.
        target: Row of the targets.
        place: Where the edge's weights begin in the flat ``z`` of the cell.
        position: Of the choice, among those of all draws and edges of the space.
    """

    edge: int
    row: int
    target: int
    place: int
    position: int


@dataclass(frozen=True)
class Source:
    """All candidates that leave a node, or the preprocessing of an input.

    Attributes:
        candidates: Their plans.
        entries: What they add to which target; no mask.
        entry_edges: The edge of each entry, for masks, or None.
        stride: Of the first units and of poolings.
        training: Whether norms use the statistics of the batch.
        offers: All operations that there could be, wanted or not: what a kernel is compiled for is
            chosen by them, so that other wanted operations need no other kernels.
        rows: Rows of the node.
        targets: How many nodes (times draws) the entries add to.
        units: All units of the cell, whose order numbers them in every plan.
        shared: What a backend derives from the units once; kept with the cell.
        choices: One operation for each draw and edge, chosen on the device (there are then no
            candidates and no entries); empty: what is wanted is planned.
        operations: Operations of the space.
    """

    candidates: tuple[CandidatePlan, ...]
    entries: Entries
    entry_edges: Tensor | None
    stride: int
    training: bool
    offers: tuple[Offer, ...]
    rows: int
    targets: int
    units: tuple[UnitWeights, ...]
    shared: dict[str, Any]
    choices: tuple[Choice, ...] = ()
    operations: int = 0

    @property
    def cache(self) -> dict[str, Any]:
        """What a backend derives from the plan once; kept with it."""
        return self.entries.cache


@dataclass(frozen=True)
class Slots:
    """Gradients of parameters in one flat tensor of zeros.

    Attributes:
        flat: The tensor.
        offsets: Where each parameter's gradient begins, by ``id(parameter)``.
    """

    flat: Tensor
    offsets: dict[int, int]

    def of(self, parameter: Tensor) -> Tensor:
        """Return the gradient of a parameter, a view."""
        first = self.offsets[id(parameter)]
        return self.flat[first : first + parameter.numel()].view(parameter.shape)


class SourceKernels(Protocol):
    """What a backend offers that runs all candidates of a source together."""

    def prepare(self, sources: Sequence[Source], device: device) -> None:
        """Get ready to run sources that a pass needs: all at once, before the first one runs."""

    def choosing(
        self, sources: Sequence[Source], device: device
    ) -> Callable[[Tensor], list[Source]] | None:
        """Return what makes sources whose operations are chosen on the device; None: it cannot.

        Its argument has the shape ``(draws * edges,)``: the number of the operation that a draw has
        on an edge of the space, or the number of operations for none.
        """

    def source_forward(
        self, source: Source, x: Tensor, z: Tensor, mask: Tensor | None, out: Tensor, add: bool,
        update: bool,
    ) -> list[Tensor]:  # fmt: skip
        """Add all entries to ``out`` and return what the backward pass needs besides ``x``.

        Args:
            source: The source.
            x: Its node, shape ``(rows, B, H, W, C)``.
            z: Weights, flat.
            mask: Factors of the edges for each image, shape ``(edges, B)``, or None.
            out: Targets, shape ``(targets, B, H', W', C')``.
            add: Whether to add to ``out`` (else it is uninitialised).
            update: Whether running statistics move.
        """

    def source_backward(
        self, source: Source, kept: list[Tensor], x: Tensor, z: Tensor, mask: Tensor | None,
        g: Tensor, dz: Tensor, dx: Tensor, overwrite: bool, slots: Slots | None,
    ) -> None:  # fmt: skip
        """Set ``dz`` of the entries, add to ``dx``, set the gradients of the source's weights.

        Args:
            source: The source.
            kept: What the forward pass returned.
            x: As in the forward pass.
            z: Likewise.
            mask: Likewise.
            g: Gradient of the targets.
            dz: Gradient of ``z``.
            dx: Gradient of ``x``, added to.
            overwrite: Whether ``dx`` is uninitialised.
            slots: Gradients of the weights, or None if nobody wants them.
        """
