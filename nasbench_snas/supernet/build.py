"""Chooses the parent network: the fast one, or the reference one where that will do better.

Without compiled kernels both run plain PyTorch. The fast parent then has more work for Python and
less for PyTorch: which of them is faster depends on the size of a node, and ``PLAIN_FROM`` is where
it changed when measured (``docs/performance.md``). The choice is a function of the settings alone,
and a continued run asks for what it ran on (``kernels_name``).
"""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from nasbench_snas.architecture.space import Space
from nasbench_snas.kernels import select_backend
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.supernet.skeleton import positions

PLAIN = "plain"
"""The name of the reference parent among kernels."""

PLAIN_FROM = 2**18
"""From that many values in a node of the first cell on (batch, pixels, channels), fused cells in
plain PyTorch are at least as fast as one module per operation, for soft and for one-hot weights."""

WAIT_FROM = 400
"""From that many steps on, a run that first waits for the compiler ends sooner than one in plain
PyTorch, even with the smallest networks and one core."""


def build_parent(
    space: Space,
    generator: torch.Generator,
    *,
    kernels: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    partial_channels: int = 1,
    double_backward: bool = False,
    plain_as: str = "",
    auxiliary_skip: bool = False,
    synchronised: bool = False,
    autocast: bool = False,
    recompute: bool = False,
    batch_size: int = 64,
    steps: int = 0,
) -> tuple[FastParent | ReferenceParent, str]:
    """Return a parent of ``space`` and one line that says which network and kernels run, and why.

    Args:
        space: The declaration. One whose operations differ from edge to edge, with auxiliary skip
            connections or operations that draw random numbers needs the reference parent.
        generator: Source of the initial weights, which are the same for every choice.
        kernels: ``auto``, ``reference``, ``cpu`` or ``triton`` (see ``select_backend``), or
            ``plain``: the reference parent.
        device: Where it runs.
        dtype: Its type.
        partial_channels: PC-DARTS's ``k``; more than 1 needs the reference parent.
        double_backward: Whether gradients of gradients will be taken; needs the reference parent.
        plain_as: Why else the reference parent is needed, in words; empty: it is not.
        auxiliary_skip: Whether every edge has an auxiliary skip connection that children of the
            space have not; needs the reference parent.
        synchronised: Whether batch norms will be synchronised over processes; needs the reference
            parent, whose batch norms are modules.
        autocast: Whether it is to compute in bfloat16. Triton's kernels store activations in it;
            elsewhere that needs the reference parent, under torch's autocast.
        recompute: Whether activations are computed again in the backward pass, to save memory.
        batch_size: Images of a step, for the choice between two parents in plain PyTorch.
        steps: Planned steps; from :data:`WAIT_FROM` on, ``auto`` waits for the compiler.
    """
    reason = ""
    needs = {
        "as synchronised batch norms need it": synchronised,
        "as partial channels need it": partial_channels > 1,
        "as gradients of gradients need it": double_backward,
        plain_as: bool(plain_as),
        "as auxiliary skip connections need it": auxiliary_skip,
        space.unfused: bool(space.unfused),
        "as autocast needs it": autocast and not _stores(kernels, device, dtype),
    }
    if any(needs.values()):
        reason = next(why for why, needed in needs.items() if needed)
    elif kernels == PLAIN:
        reason = "as asked for, or as this run began"
    if not reason:
        backend, note = select_backend(kernels, device, dtype, wait=steps >= WAIT_FROM)
        asked = os.environ.get("NASBENCH_KERNELS") or kernels
        fallback = asked == "auto" and backend.name == "reference"
        if not (fallback and plain_is_faster(space, batch_size, device)):
            storage = torch.bfloat16 if autocast else None
            fast = FastParent(
                space, generator, kernels=backend, recompute=recompute, storage=storage
            )
            note += "; activations in bfloat16, sums in float32" if autocast else ""
            return fast.to(device=device, dtype=dtype), f"parent: fused cells; {note}"
        why = note.split("; ", 1)[-1]
        reason = f"the faster one for nodes of this size; {why}"
    built = replace(space, auxiliary_skip=True) if auxiliary_skip else space
    plain = ReferenceParent(built, generator, partial_channels=partial_channels)
    plain.space = space  # what children are built of
    note = f"parent: one module per operation (plain PyTorch), {reason}"
    return plain.to(device=device, dtype=dtype), note


def _stores(kernels: str, device: torch.device | str, dtype: torch.dtype) -> bool:
    """Whether the kernels that would run store activations in 16 bits."""
    if kernels == PLAIN or torch.device(device).type != "cuda":
        return False
    return select_backend(kernels, device, dtype)[0].sources is not None


def plain_is_faster(space: Space, batch_size: int, device: torch.device | str) -> bool:
    """Whether the reference parent beats fused cells in plain PyTorch (measured on CPU only).

    Args:
        space: The declaration.
        batch_size: Images of a step.
        device: Where it runs; anything but CPU was not measured and takes the reference parent.
    """
    first = next(positions(space))
    values = batch_size * first.output_resolution**2 * first.layer.channels
    return torch.device(device).type != "cpu" or values < PLAIN_FROM


def kernels_name(parent: FastParent | ReferenceParent) -> str:
    """Return the ``kernels`` with which :func:`build_parent` makes this kind of parent again."""
    return parent.kernels.name if isinstance(parent, FastParent) else PLAIN
