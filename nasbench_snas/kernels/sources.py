"""What a backend offers that runs all candidates of a source together, not primitive by primitive.

The candidates of a source share its node, and their outputs are added to the same targets. A
backend that is handed all of them at once decides itself what it computes in one go and what it
keeps for the backward pass. Formulas: :mod:`nasbench_snas.kernels.protocol`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from nasbench_snas.kernels.protocol import Entries

if TYPE_CHECKING:
    from nasbench_snas.supernet.fast.plan import CandidatePlan


@dataclass(frozen=True)
class Source:
    """All candidates that leave a node, or the preprocessing of an input.

    Attributes:
        candidates: Their plans.
        entries: What they add to which target; no mask.
        entry_edges: The edge of each entry, for masks, or None.
        stride: Of the first units and of poolings.
        training: Whether norms use the statistics of the batch.
    """

    candidates: tuple[CandidatePlan, ...]
    entries: Entries
    entry_edges: Tensor | None
    stride: int
    training: bool

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
