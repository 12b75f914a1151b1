"""The contract of an objective transformer: from the loss an estimator is given to another one.

The law of the estimators, ``surrogate(loss, dist, noise)``, holds for any loss that is a function
of one architecture. So a transformer may change which function that is, and nothing else: within a
step the loss that it returns is a fixed function of ``z``, the same for every replicate and draw.
What is random in it is drawn when the step begins, from a generator of its own; noise and
distribution of the estimator are never touched. Imports no torch.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from nasbench_snas.errors import PluginError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from nasbench_snas.api.estimator import Loss
    from nasbench_snas.architecture.distributions import Distribution
    from nasbench_snas.architecture.space import Space

Role = Literal["joint", "theta", "alpha"]
"""What a step trains: theta and alpha, or one of them."""


@dataclass(frozen=True)
class LossStep:
    """What a transformer knows of the step that its loss is for.

    Attributes:
        role: What is trained: ``joint`` (theta and alpha), ``theta`` or ``alpha``.
        progress: Fraction of the run, from 0 to 1.
        space: The space.
        generator: The only source of randomness: a stream of its own of the run's seed, on the
            device of ``z``.
    """

    role: Role
    progress: float
    space: Space
    generator: Generator


class LossTransformer(ABC):
    """Something that changes the objective, whatever the estimator: a perturbation, a penalty.

    A level says which images and which alternation; it makes the loss closure (``unrolled``: of the
    unrolled loss). The transformers of a run are then applied in the order in which they are named,
    the first one innermost, next to the network: ``t_2(t_1(loss))``. The estimator sees the last.
    They are applied in steps of theta as in steps of alpha; ``step.role`` tells which it is. The
    resource term ``eta E[C]`` is added outside.

    A subclass defines :meth:`transform`, :meth:`penalty` or both. In two declared ways it may act
    on the network itself: by the weight of auxiliary skip connections
    (:meth:`auxiliary_weight`), and by ending the training of single operations (:meth:`freeze`).
    What it needs beyond a loss of weights ``(R, n, E, K)`` it declares, and the parent is chosen
    to fit. Settings are keyword arguments of
    ``__init__`` with defaults; a run keeps them (``--set transformer.NAME.x=…``).

    Attributes:
        name: Key in settings and on the command line.
        summary: One line for listings.
        reference: A key of ``references.bib``, a BibTeX entry, or empty.
        captures: Whether it evaluates the loss once, at weights of which none is zero, so that a
            step may be captured as a CUDA graph.
        needs_double_backward: Whether it differentiates gradients of the loss.
        needs_cells: Whether it evaluates the loss at weights that differ between cells of one type,
            ``(R, n, C, E, K)`` with ``C`` the number of cells, of which each reads its own rows.
        auxiliary_skip: Whether the parent (and no child) has an auxiliary skip connection on every
            edge, with the weight :meth:`auxiliary_weight`.
        watches_operations: Whether it is shown the gradients of single operations.
        levels: The optimisation levels at which it is defined; others are refused.
        version: Raised when a change alters results; part of a run's identity.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str] = ""
    captures: ClassVar[bool] = False
    needs_double_backward: ClassVar[bool] = False
    needs_cells: ClassVar[bool] = False
    auxiliary_skip: ClassVar[bool] = False
    watches_operations: ClassVar[bool] = False
    levels: ClassVar[tuple[str, ...]] = ("joint", "bilevel", "unrolled")
    version: ClassVar[int] = 1

    def transform(self, loss: Loss, step: LossStep) -> Loss:
        """Return the loss that stands in the place of ``loss``, for one step.

        A function of one architecture, fixed once it is returned: draw here, not when it is
        evaluated. :func:`loss_at` and :func:`loss_plus` make what is mostly wanted.

        Args:
            loss: What is transformed; it may be evaluated several times, and differentiated.
            step: What is known of the step.
        """
        return loss

    def penalty(self, dist: Distribution, step: LossStep) -> Tensor | None:
        """Return what is added to the objective of alpha beside the loss, a scalar, or None.

        For what depends on the parameters of the distribution and on no architecture: it is no part
        of what an estimator estimates, and so its gradient is exact with every estimator. It
        counts where alpha is trained by the estimator's first update of a step.

        Args:
            dist: The distribution.
            step: What is known of the step; ``role`` is never ``theta``.
        """
        return None

    def auxiliary_weight(self, progress: float) -> float:
        """Return the weight of the auxiliary skip connections, where it has ``auxiliary_skip``.

        Args:
            progress: Fraction of the run, from 0 to 1.
        """
        return 1.0

    def freeze(self, train: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> Iterable[str]:
        """Return operations that are trained no further, where it ``watches_operations``.

        Called once a step in which alpha is trained. Frozen operations are shown no more.

        Args:
            train: Gradient of theta's loss by all weights of an operation, flat, by its name:
                cell, edge and operation.
            valid: That of alpha's loss, at the same theta.
        """
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and plain containers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  # the default: nothing
        """Restore what :meth:`state_dict` returned."""


def _same_shape(what: str, value: Any, shape: tuple[int, ...]) -> None:
    """Raise a :class:`PluginError` where broadcasting would mix architectures."""
    found = getattr(value, "shape", None)
    if found is None or tuple(found) != tuple(shape):
        raise PluginError(
            f"{what} shape {None if found is None else tuple(found)}, not {tuple(shape)}.",
            "Each architecture counts by itself: reduce over edges and operations only, "
            "dim=(-1, -2).",
        )


class _At:
    """A loss at other weights; see :func:`loss_at`."""

    def __init__(self, loss: Loss, change: Callable[[Tensor], Tensor]) -> None:
        self._loss, self._change = loss, change
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        changed = self._change(z)
        _same_shape("loss_at: the changed weights have", changed, z.shape)
        self._last = (z, changed)
        return self._loss(changed, run)

    def error(self, z: Tensor) -> Tensor:
        if self._last is not None and self._last[0] is z:
            return self._loss.error(self._last[1])  # free: the loss knows it
        return self._loss.error(self._change(z))


class _Plus:
    """A loss and a term; see :func:`loss_plus`."""

    def __init__(self, loss: Loss, term: Callable[[Tensor], Tensor]) -> None:
        self._loss, self._term = loss, term

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        value, term = self._loss(z, run), self._term(z)
        _same_shape("loss_plus: the term has", term, value.shape)
        return value + term

    def error(self, z: Tensor) -> Tensor:
        return self._loss.error(z)


def loss_at(loss: Loss, change: Callable[[Tensor], Tensor]) -> Loss:
    """Return the loss ``z -> loss(change(z))``.

    Args:
        loss: A loss.
        change: From weights ``(R, n, E, K)`` to weights of that shape, each architecture by itself.
    """
    return _At(loss, change)


def loss_plus(loss: Loss, term: Callable[[Tensor], Tensor]) -> Loss:
    """Return the loss ``z -> loss(z) + term(z)``; the error is that of ``loss``.

    Args:
        loss: A loss.
        term: From weights ``(R, n, E, K)`` to values ``(R, n)``, each architecture by itself.
    """
    return _Plus(loss, term)
