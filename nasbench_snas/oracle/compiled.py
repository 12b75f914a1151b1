"""A reference parent's logits by the kernels that searches run on.

The weights stay those of the reference parent: they are packed at every call, inside the autograd
graph, so that gradients by theta reach them. Running statistics are not touched.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from nasbench_snas.kernels import select_backend
from nasbench_snas.kernels.cpu import build
from nasbench_snas.kernels.cpu.backend import CpuKernels
from nasbench_snas.supernet.fast.packing import Piece
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent


class CompiledLogits:
    """Logits of weighted architectures, ``(S, B, classes)``, from compiled cells.

    Gradients of gradients are not offered.

    Args:
        parent: The parent, on CPU; its mode is followed.
        kernels: The compiled kernels.
    """

    def __init__(self, parent: ReferenceParent, kernels: CpuKernels) -> None:
        fast = FastParent(parent.space, torch.Generator().manual_seed(0), kernels=kernels)
        fast.stem, fast.blocks, fast.head = parent.stem, parent.blocks, parent.head
        self.parent, self.fast = parent, fast
        self._parameters = self._rows(dict(parent.named_parameters()))
        self._buffers = self._rows(dict(parent.named_buffers()))
        others = {id(tensor) for _, tensor in parent.named_buffers()}
        self._shared = {n: b for n, b in fast.named_buffers() if id(b) in others}

    @staticmethod
    def of(parent: ReferenceParent, wait: bool = False) -> CompiledLogits | None:
        """Return the compiled logits of ``parent``, or None where there are no compiled kernels.

        Args:
            parent: The parent.
            wait: Whether to wait for the compiler.
        """
        weight = next(parent.parameters())
        if parent.space.unfused:
            return None
        if weight.device.type != "cpu" or not (wait or build.is_built()):
            return None
        kernels, _ = select_backend("auto", "cpu", weight.dtype, wait=wait)
        if not isinstance(kernels, CpuKernels):
            return None
        compiled = CompiledLogits(parent, kernels)
        return compiled if compiled.fast.is_compiled else None

    def __call__(self, images: Tensor, z: Tensor, all_operations: bool | Tensor) -> Tensor:
        """Return logits; arguments as in :meth:`ReferenceParent.forward`."""
        self.fast.train(self.parent.training)
        tensors = {name: _pack(rows) for name, rows in self._parameters.items()}
        with torch.no_grad():
            tensors |= {name: _pack(rows) for name, rows in self._buffers.items()}
            tensors |= {name: buffer.clone() for name, buffer in self._shared.items()}
        options = {"all_operations": all_operations}
        logits: Tensor = functional_call(self.fast, tensors, (images, z), options)
        return logits

    def _rows(self, tensors: dict[str, Tensor]) -> dict[str, list[list[tuple[Piece, Tensor]]]]:
        """Return for every packed tensor the pieces of each row, with the parent's tensors."""
        result: dict[str, list[list[tuple[Piece, Tensor]]]] = {}
        for name, pieces in self.fast.packing.items():
            if pieces[0].canonical not in tensors:
                continue
            rows: dict[int, list[tuple[Piece, Tensor]]] = {}
            for piece in sorted(pieces, key=lambda piece: (piece.row, piece.columns)):
                rows.setdefault(piece.row, []).append((piece, tensors[piece.canonical]))
            result[name] = list(rows.values())
        return result


def _pack(rows: list[list[tuple[Piece, Tensor]]]) -> Tensor:
    packed = [[piece.pack(tensor) for piece, tensor in row] for row in rows]
    return torch.stack([row[0] if len(row) == 1 else torch.cat(row, dim=1) for row in packed])
