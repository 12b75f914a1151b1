"""The objective transformers of a search, in order; see :mod:`nasbench_snas.api` for one of them.

With transformers ``A, B``, in the order in which they are named, every estimator sees

    L' = B(A(L)),   L the loss that the level makes of a batch:

the first named is innermost. Penalties are added to the objective of alpha beside the resource
term.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasbench_snas.api import Distribution, Loss, LossStep, LossTransformer, Role
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import PluginError
from nasbench_snas.search.operations import OperationWatch

_FROZEN = " frozen operations"
"""Key of what is frozen in the state, beside the names of transformers."""


class _Checked:
    """A transformed loss whose values are one for each architecture, or an error."""

    def __init__(self, loss: Loss, name: str) -> None:
        self._loss, self._name = loss, name

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        value = self._loss(z, run)
        self._check(value, z, "loss")
        return value

    def error(self, z: Tensor) -> Tensor:
        value = self._loss.error(z)
        self._check(value, z, "error")
        return value

    def _check(self, value: object, z: Tensor, what: str) -> None:
        told = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        if not isinstance(value, Tensor) or value.shape != z.shape[:2]:
            raise PluginError(
                f"transformer {self._name!r}: its {what} of weights {tuple(z.shape)} is {told}.",
                f"Expected one value for each architecture, shape {tuple(z.shape[:2])}.",
                "Sum or average over edges and operations only: dim=(-1, -2).",
            )


class Transformers:
    """The transformers of one search.

    Args:
        members: The first is innermost.
        generators: Each one's own source of randomness, by name.
        space: The space.

    Attributes:
        progress: Fraction of the run.
        watch: What shows gradients of operations to those that watch them; None: nobody does.
    """

    def __init__(
        self,
        members: Sequence[LossTransformer],
        generators: Mapping[str, torch.Generator],
        space: Space,
    ) -> None:
        self.members, self._generators, self._space = tuple(members), generators, space
        self.progress = 0.0
        self.watch: OperationWatch | None = None

    def loss(self, loss: Loss, role: Role) -> Loss:
        """Return the transformed loss of a step."""
        for member in self.members:
            made = member.transform(loss, self._step(member, role))
            if not callable(made) or not hasattr(made, "error"):
                raise PluginError(
                    f"transformer {member.name!r}: transform() returned {type(made).__name__}.",
                    "Expected a loss: an object with __call__(z, run=None) and error(z).",
                    "Return what loss_at or loss_plus make, or the loss as it is.",
                )
            loss = _Checked(made, member.name) if made is not loss else loss
        return loss

    def penalty(self, dist: Distribution, role: Role) -> Tensor | None:
        """Return the sum of the penalties, a scalar, or None.

        Raises:
            PluginError: One of them is no scalar.
        """
        total: Tensor | None = None
        for member in self.members:
            term = member.penalty(dist, self._step(member, role))
            if term is None:
                continue
            if not isinstance(term, Tensor) or term.numel() != 1:
                shape = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else repr(term)
                raise PluginError(
                    f"transformer {member.name!r}: its penalty is no scalar tensor: {shape}.",
                    "Expected a scalar.",
                    "Take the sum or the mean over edges.",
                )
            total = term.reshape(()) if total is None else total + term.reshape(())
        return total

    @property
    def adds_auxiliary_skip(self) -> bool:
        """Whether the parent has auxiliary skip connections for one of them."""
        return any(member.auxiliary_skip for member in self.members)

    @property
    def auxiliary_weight(self) -> float:
        """The weight of auxiliary skip connections now: the product of all that set one."""
        weights = [m.auxiliary_weight(self.progress) for m in self.members if m.auxiliary_skip]
        return math.prod(weights)

    def values(self) -> dict[str, float]:
        """Return what belongs in the event of an epoch."""
        values: dict[str, float] = {}
        if self.adds_auxiliary_skip:
            values["auxiliary_weight"] = self.auxiliary_weight
        if self.watch is not None:
            values["frozen_operations"] = float(len(self.watch.frozen))
        return values

    def attach(self, parent: nn.Module) -> None:
        """Let those that watch operations watch those of ``parent``."""
        watching = [member for member in self.members if member.watches_operations]
        self.watch = OperationWatch(parent, watching) if watching else None

    def _step(self, member: LossTransformer, role: Role) -> LossStep:
        return LossStep(role, self.progress, self._space, self._generators[member.name])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each by name, and what is frozen."""
        own = {} if self.watch is None else {_FROZEN: self.watch.state_dict()}
        return {member.name: member.state_dict() for member in self.members} | own

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for member in self.members:
            member.load_state_dict(state[member.name])
        if self.watch is not None:
            self.watch.load_state_dict(state[_FROZEN])
