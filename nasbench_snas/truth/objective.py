"""A table of losses as an estimator's objective: look-ups, the multilinear extension, exact values.

``L`` holds a number for each of ``K^E`` architectures. For factorised probabilities ``p``, shape
``(E, K)``, the expected loss is the contraction of ``L`` with one row of ``p`` along each axis,

    J(p) = sum_{k_1 .. k_E} L[k_1, .., k_E] p_1[k_1] .. p_E[k_E],

and the same polynomial at any real weights is the *multilinear extension* of the table: it agrees
with the table at every architecture, and at a mixture it is the expectation under independent
choices. A relaxed estimator is given the extension. That a soft mixture is worth its expectation
holds for no network, so an estimator without bias here may have one there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nasbench_snas.oracle.exact import architecture_index


def contract(table: Tensor, weights: Tensor) -> Tensor:
    """Return the multilinear extension of ``table`` at ``weights``, graph attached.

    Args:
        table: One number for each architecture, shape ``(K,) * E``.
        weights: Real weights, shape ``(S, E, K)``.

    Returns:
        Shape ``(S,)``.
    """
    last = weights[:, -1]
    value = (table.flatten(0, -2) @ last.T).T  # (S, K^(E-1)): the dearest axis first
    for edge in range(weights.shape[1] - 2, -1, -1):
        rest = value.view(len(weights), -1, weights.shape[2])
        value = torch.bmm(rest, weights[:, edge, :, None])[..., 0]
    return value[:, 0]


def exact_gradient(table: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``J`` and its gradient for logits, one tensor contraction each way.

    Args:
        table: Shape ``(K,) * E``.
        logits: Shape ``(S, E, K)``.

    Returns:
        Shapes ``(S,)`` and ``(S, E, K)``, detached.
    """
    leaf = logits.detach().requires_grad_()
    with torch.enable_grad():
        value = contract(table, leaf.softmax(dim=-1))
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


class TableObjective:
    """The loss that an estimator sees; implements :class:`nasbench_snas.api.Loss`.

    Args:
        table: Losses, shape ``(K,) * E``, float64.
        all_operations: Whether ``dL/dz`` of operations with weight zero is passed on.
        looked_up: Told of every look-up: numbers of architectures ``(R, n)``, and whether the
            extension was evaluated instead, at weights that are no architecture or with a slope.

    Attributes:
        relaxed: Whether the extension was ever evaluated.
    """

    def __init__(
        self,
        table: Tensor,
        *,
        all_operations: bool = False,
        looked_up: Callable[[Tensor, bool], None] | None = None,
    ) -> None:
        self.table, self.all_operations = table, all_operations
        self.looked_up, self.relaxed = looked_up, False

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return losses ``(R, n)`` of ``z``, shape ``(R, n, E, K)``; see ``api.Loss``.

        A one-hot ``z`` without a graph is one gather; anything else is the extension, whose slope
        is passed on for the operations of weight zero only where ``run`` or ``all_operations``
        asks for it, as a parent network does.
        """
        with torch.no_grad():
            hard = bool(((z == 0) | (z == 1)).all() and (z.sum(dim=-1) == 1).all())
        if hard and not (z.requires_grad and torch.is_grad_enabled()):
            index = architecture_index(z.detach())
            self._tell(index, extension=False)
            return self.table.flatten()[index].to(z.dtype)
        self.relaxed = True
        self._tell(architecture_index(z.detach()), extension=True)
        wanted = z.detach() != 0 if run is None else (z.detach() != 0) | run.bool()
        kept = z if self.all_operations else torch.where(wanted, z, torch.zeros_like(z))
        value = contract(self.table.to(z.dtype), kept.flatten(0, 1))
        return value.view(z.shape[:2])

    def error(self, z: Tensor) -> Tensor:
        """Return the losses without a graph: a table has no other error."""
        with torch.no_grad():
            return self(z)

    def _tell(self, index: Tensor, *, extension: bool) -> None:
        if self.looked_up is not None:
            self.looked_up(index, extension)
