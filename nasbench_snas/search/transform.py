"""The objective transformers of a search, in order; see :mod:`nasbench_snas.api` for one of them.

With transformers ``A, B``, in the order in which they are named, every estimator sees

    L' = B(A(L)),   L the loss that the level makes of a batch:

the first named is innermost. Penalties are added to the objective of alpha beside the resource
term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Loss, LossStep, LossTransformer
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import PluginError

Role = Literal["joint", "theta", "alpha"]


class Transformers:
    """The transformers of one search.

    Args:
        members: The first is innermost.
        generators: Each one's own source of randomness, by name.
        space: The space.

    Attributes:
        progress: Fraction of the run.
    """

    def __init__(
        self,
        members: Sequence[LossTransformer],
        generators: Mapping[str, torch.Generator],
        space: Space,
    ) -> None:
        self.members, self._generators, self._space = tuple(members), generators, space
        self.progress = 0.0

    def loss(self, loss: Loss, role: Role) -> Loss:
        """Return the transformed loss of a step."""
        for member in self.members:
            loss = member.transform(loss, self._step(member, role))
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
            if term.numel() != 1:
                raise PluginError(
                    f"transformer {member.name!r}: its penalty has shape {tuple(term.shape)}.",
                    "Expected a scalar.",
                    "Take the sum or the mean over edges.",
                )
            total = term.reshape(()) if total is None else total + term.reshape(())
        return total

    def _step(self, member: LossTransformer, role: Role) -> LossStep:
        return LossStep(role, self.progress, self._space, self._generators[member.name])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each by name."""
        return {member.name: member.state_dict() for member in self.members}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for member in self.members:
            member.load_state_dict(state[member.name])
