"""The weights of single operations: their gradients, and freezing some of them.

A transformer that ``watches_operations`` is shown, once a step, the gradients of every operation's
weights on the batch of alpha and on that of theta, both at the same theta, and names the operations
that are trained no further. Their weights keep their values: neither a gradient, nor momentum, nor
weight decay moves them. They still run, and alpha is trained as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from nasbench_snas.api import LossTransformer
from nasbench_snas.errors import PluginError


class OperationWatch:
    """Watches the operations of a reference parent.

    Args:
        parent: The parent; names of its parameters are ``CELL.edges.EDGE.operations.NAME.…``.
        members: Who is shown the gradients.

    Attributes:
        frozen: The operations that are trained no further, in order.
    """

    def __init__(self, parent: nn.Module, members: Iterable[LossTransformer]) -> None:
        self._members = tuple(members)
        self._weights: dict[str, list[nn.Parameter]] = {}
        for name, parameter in parent.named_parameters():
            before, found, rest = name.partition(".operations.")
            if found:
                operation = before + found + rest.split(".")[0]
                self._weights.setdefault(operation, []).append(parameter)
        self.frozen: list[str] = []
        self._valid: dict[str, Tensor] = {}

    def parameters(self) -> list[nn.Parameter]:
        """Return the weights of all operations that are trained."""
        frozen = set(self.frozen)
        return [p for name, own in self._weights.items() if name not in frozen for p in own]

    def after_alpha(self) -> None:
        """Remember the gradients of alpha's batch."""
        self._valid = self._gradients()

    def after_theta(self) -> None:
        """Show both gradients; freeze what is named.

        Raises:
            PluginError: A transformer names what is no operation.
        """
        if not self._valid:  # alpha is not trained yet
            return
        train = self._gradients()
        for member in self._members:
            for name in member.freeze(train, self._valid):
                if name not in self._weights:
                    raise PluginError(
                        f"transformer {member.name!r} freezes {name!r}, which is no operation.",
                        "Expected keys of the gradients that it was shown.",
                    )
                self.freeze([name])
        self._valid = {}

    def freeze(self, names: Iterable[str]) -> None:
        """Train these operations no further."""
        for name in names:
            if name not in self.frozen:
                self.frozen.append(name)
            for parameter in self._weights[name]:
                parameter.requires_grad_(False)
                parameter.grad = None

    def _gradients(self) -> dict[str, Tensor]:
        frozen = set(self.frozen)
        return {
            name: torch.cat([_gradient(p).flatten() for p in own])  # a copy
            for name, own in self._weights.items()
            if name not in frozen
        }

    def state_dict(self) -> Mapping[str, list[str]]:
        """Return what is frozen."""
        return {"frozen": list(self.frozen)}

    def load_state_dict(self, state: Mapping[str, list[str]]) -> None:
        """Restore it."""
        self.freeze(state["frozen"])


def _gradient(parameter: nn.Parameter) -> Tensor:
    gradient = parameter.grad
    return torch.zeros_like(parameter) if gradient is None else gradient.detach()
