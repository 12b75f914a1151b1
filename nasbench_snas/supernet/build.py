"""Chooses the parent network: the fast one, or the reference one where only that will do."""

from __future__ import annotations

import torch

from nasbench_snas.kernels import select_backend
from nasbench_snas.space import Space
from nasbench_snas.supernet.fast import FastParent
from nasbench_snas.supernet.reference import ReferenceParent


def build_parent(
    space: Space,
    generator: torch.Generator,
    *,
    kernels: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    partial_channels: int = 1,
    double_backward: bool = False,
    synchronised: bool = False,
    recompute: bool = False,
) -> tuple[FastParent | ReferenceParent, str]:
    """Return a parent of ``space`` and one line that says which network and kernels run, and why.

    Args:
        space: The declaration.
        generator: Source of the initial weights, which are the same for every choice.
        kernels: ``auto``, ``reference``, ``cpu`` or ``triton``; see ``select_backend``.
        device: Where it runs.
        dtype: Its type.
        partial_channels: PC-DARTS's ``k``; more than 1 needs the reference parent.
        double_backward: Whether gradients of gradients will be taken; needs the reference parent.
        synchronised: Whether batch norms will be synchronised over processes; needs the reference
            parent, whose batch norms are modules.
        recompute: Whether activations are computed again in the backward pass, to save memory.
    """
    parent: FastParent | ReferenceParent
    if partial_channels > 1 or double_backward or synchronised:
        parent = ReferenceParent(space, generator, partial_channels=partial_channels)
        reason = "partial channels" if partial_channels > 1 else "gradients of gradients"
        if synchronised:
            reason = "synchronised batch norms"
        return (
            parent.to(device=device, dtype=dtype),
            f"parent: one module per operation (plain PyTorch), as {reason} need it",
        )
    backend, note = select_backend(kernels, device, dtype)
    parent = FastParent(space, generator, kernels=backend, recompute=recompute)
    return parent.to(device=device, dtype=dtype), f"parent: fused cells; {note}"
