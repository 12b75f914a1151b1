"""Packed parameters and their canonical names.

The fast parent keeps the weights of one operation on all edges of a cell in one tensor; checkpoints
hold the canonical tensors, named as in :class:`~nasbench_snas.supernet.reference.ReferenceParent`.
Every conversion only moves numbers, so a round trip is bit-exact, for parameters, buffers and an
optimiser's momenta alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["same", "depthwise", "point"]


@dataclass(frozen=True)
class Piece:
    """Where one canonical tensor lies in a packed one.

    Attributes:
        canonical: Its canonical name.
        row: Row of the packed tensor.
        layout: ``same``; ``depthwise``: ``(C, 1, k, k)`` is packed as ``(k * k, C)``; ``point``:
            ``(C_out, C_in, 1, 1)`` is packed as columns of ``(C_in, C_out)``.
        columns: For ``point``, the columns it fills, as (start, stop); (0, 0) means all.
    """

    canonical: str
    row: int
    layout: Layout = "same"
    columns: tuple[int, int] = (0, 0)

    def view(self, packed: Tensor) -> Tensor:
        """Return the part of ``packed`` that this piece occupies, in the packed layout."""
        row = packed[self.row]
        return row[:, slice(*self.columns)] if self.columns != (0, 0) else row

    def unpack(self, packed: Tensor) -> Tensor:
        """Return the canonical tensor (a copy)."""
        part = self.view(packed)
        if self.layout == "depthwise":
            side = round(part.shape[0] ** 0.5)
            part = part.t().reshape(-1, 1, side, side)
        elif self.layout == "point":
            part = part.t()[:, :, None, None]
        return part.contiguous().clone()

    def pack(self, tensor: Tensor) -> Tensor:
        """Return a canonical tensor in the packed layout."""
        return tensor if self.layout == "same" else tensor.flatten(1).t()


Packing = dict[str, tuple[Piece, ...]]
"""For every packed tensor's name, the canonical tensors it holds."""


def unpack_all(packing: Packing, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``tensors`` (any subset, by own names) by canonical names; unknown names are kept."""
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in packing:
            result.update({piece.canonical: piece.unpack(tensor) for piece in packing[name]})
        else:
            result[name] = tensor
    return result


def pack_all(
    packing: Packing, shapes: dict[str, torch.Size], tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return canonical ``tensors`` by own names.

    A packed tensor of which only some pieces are given (momenta of operations that were never
    drawn) has zeros elsewhere; one of which no piece is given is absent.

    Args:
        packing: The packing.
        shapes: Shape of every packed tensor.
        tensors: Canonical tensors; names that are in no packed tensor are kept.
    """
    packed_names = {piece.canonical for pieces in packing.values() for piece in pieces}
    result = {name: tensor for name, tensor in tensors.items() if name not in packed_names}
    for name, pieces in packing.items():
        given = [piece for piece in pieces if piece.canonical in tensors]
        if not given:
            continue
        like = tensors[given[0].canonical]
        packed = torch.zeros(shapes[name], dtype=like.dtype, device=like.device)
        for piece in given:
            piece.view(packed).copy_(piece.pack(tensors[piece.canonical]))
        result[name] = packed
    return result


def prefixed(prefix: str, packing: Packing) -> Iterable[tuple[str, tuple[Piece, ...]]]:
    """Yield the items of ``packing`` with ``prefix`` before every own name."""
    return ((f"{prefix}{name}", pieces) for name, pieces in packing.items())
