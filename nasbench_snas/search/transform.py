"""Objective transformers: from a loss closure to a loss closure, whatever the estimator.

With transformers ``A, B`` (in the order in which they are named) every estimator sees

    L' = B(A(L)),   L the loss of the parent on a batch:

the first named is innermost. They are applied to the loss of every step: of theta and alpha
together (``joint``), of theta, and of alpha (of the unrolled loss where the level unrolls). What
depends on the distribution's parameters and on no architecture is no part of a loss; a transformer
returns it as a penalty, which is added beside the resource term, so that its gradient is exact with
every estimator.

The law of the estimators, ``surrogate(loss, dist, noise)``, holds for any loss that is a function
of one architecture. So a transformer may change which function that is, and nothing else: within a
step the loss it returns is a fixed function of ``z``, the same for every replicate and draw. What is
random in it is drawn when the step begins, from a generator of its own; noise and distribution of
the estimator are never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Loss
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import PluginError

Role = Literal["joint", "theta", "alpha"]


@dataclass(frozen=True)
class Step:
    """What a transformer knows of the step that its loss is for.

    Attributes:
        role: What is trained: ``joint`` (theta and alpha), ``theta`` or ``alpha``.
        progress: Fraction of the run, from 0 to 1.
        space: The space.
        generator: Source of all its randomness; on the device of ``z``.
    """

    role: Role
    progress: float
    space: Space
    generator: torch.Generator


class Transformer:
    """An objective transformer: a plug-in of the kind ``transformer``.

    Its settings are the keyword arguments of its constructor (``--set transformer.NAME.x=…``). The
    class attributes must be literals: listings read them without importing anything.

    Attributes:
        name: Key in settings (``transformers``, ``--transform NAME``) and files.
        summary: One line for listings.
        reference: A key of ``references.bib``, or a BibTeX entry; empty: there is none.
        version: Raised when a change alters results; part of a run's identity.
        needs_double_backward: Whether it differentiates gradients of the loss.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    version: ClassVar[int] = 1
    needs_double_backward: ClassVar[bool] = False

    def transform(self, loss: Loss, step: Step) -> Loss:
        """Return the loss of this step: a function of one architecture; by default ``loss``.

        :func:`at` and :func:`plus` make what is mostly needed. Draw from ``step.generator`` here,
        never when the loss is evaluated.
        """
        return loss

    def penalty(self, dist: Distribution, step: Step) -> Tensor | None:
        """Return what is added to the objective of alpha, a scalar, or None.

        A function of the distribution's parameters alone, for example of ``dist.alpha``. It is no
        part of what an estimator estimates: its gradient is taken as it is.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and plain containers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class _At:
    """A loss at other weights; see :func:`at`."""

    def __init__(self, loss: Loss, change: Callable[[Tensor], Tensor]) -> None:
        self._loss, self._change = loss, change
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        changed = self._change(z)
        self._last = (z, changed)
        return self._loss(changed, run)

    def error(self, z: Tensor) -> Tensor:
        if self._last is not None and self._last[0] is z:
            return self._loss.error(self._last[1])  # free: the inner loss knows it
        return self._loss.error(self._change(z))


class _Plus:
    """A loss and a term; see :func:`plus`."""

    def __init__(self, loss: Loss, term: Callable[[Tensor], Tensor]) -> None:
        self._loss, self._term = loss, term

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        return self._loss(z, run) + self._term(z)

    def error(self, z: Tensor) -> Tensor:
        return self._loss.error(z)


def at(loss: Loss, change: Callable[[Tensor], Tensor]) -> Loss:
    """Return ``z -> loss(change(z))``.

    Args:
        loss: A loss.
        change: From weights ``(R, n, E, K)`` to weights of that shape, each architecture by itself.
    """
    return _At(loss, change)


def plus(loss: Loss, term: Callable[[Tensor], Tensor]) -> Loss:
    """Return ``z -> loss(z) + term(z)``; the error is that of ``loss``.

    Args:
        loss: A loss.
        term: From weights ``(R, n, E, K)`` to values ``(R, n)``, each architecture by itself.
    """
    return _Plus(loss, term)


class Transformers:
    """The transformers of one search, in order.

    Args:
        members: The first is innermost.
        generators: Each one's own source of randomness, by name.
        space: The space.

    Attributes:
        progress: Fraction of the run.
    """

    def __init__(
        self,
        members: Sequence[Transformer],
        generators: Mapping[str, torch.Generator],
        space: Space,
    ) -> None:
        self.members, self._generators, self._space = tuple(members), generators, space
        self.progress = 0.0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.members)

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

    def _step(self, member: Transformer, role: Role) -> Step:
        return Step(role, self.progress, self._space, self._generators[member.name])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each by name."""
        return {member.name: member.state_dict() for member in self.members}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for member in self.members:
            member.load_state_dict(state[member.name])
