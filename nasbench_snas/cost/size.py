"""Whether a parent network fits into the machine, asked before any of it is built."""

from __future__ import annotations

import os

from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.table import operation_cost
from nasbench_snas.errors import ConfigError
from nasbench_snas.supernet.skeleton import positions

_COPIES = 3
"""Weights, their gradients, their momenta."""


def least_bytes(space: Space) -> int:
    """Return the bytes that the candidates' float32 weights need with gradients and momenta.

    Stem, head, preprocessing and activations come on top.
    """
    total = 0
    for position in positions(space):
        parameters = {
            operation.name: operation_cost(operation, position.layer.channels, 1, 1).parameters
            for operation in space.operation_specs
        }
        rows = space.candidates[space.rows[position.cell.name]]
        total += sum(parameters[name] for row in rows for name in row)
    return 4 * _COPIES * total


def check_memory(space: Space) -> None:
    """Raise a :class:`ConfigError` if the parent of ``space`` cannot fit into this machine."""
    needed = least_bytes(space)
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return
    if needed > there:
        channels = max(layer.channels for layer in space.layers)
        raise ConfigError(
            f"the parent network of {space.name!r} needs {needed / 2**30:.3g} GiB for its weights.",
            f"This machine has {there / 2**30:.3g} GiB; the widest layer has {channels} channels.",
            "Choose fewer space.channels, space.cells or space.nodes.",
        )
