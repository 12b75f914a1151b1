"""Lambda-DARTS: theta is trained to let the cells agree on the operations.

Cells of one type share their weights ``z``. With ``g_l = dL/dz_l``, the gradient by the weights of
the cell of layer ``l`` alone, their alignment is

    Lambda = mean_{i < j} <g_i, g_j> / (|g_i| |g_j|),

over all pairs of cells of one type, and theta is trained on ``L_train - lambda Lambda``; lambda
grows linearly from 0 to ``weight`` over the run. The loss of alpha is left as it is.

The gradient of Lambda by theta is taken exactly, by differentiating ``g``. It needs ``dL/dz`` of
all operations, and so runs them all, whatever the estimator draws.

Reference: Movahedi et al. 2023, arXiv:2210.07998, section 4; weight and its growth as in the
released code. Deviations: exact derivatives (there: a central difference of theta's gradients,
which a test compares); all types of cells are aligned unless ``cell`` names one (released code:
normal cells); the second regulariser of the paper (on signs) is not offered.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Loss, LossStep, LossTransformer, Space
from nasbench_snas.errors import ConfigError


def alignment(space: Space, gradients: Tensor, cell: str = "") -> Tensor:
    """Return Lambda, shape ``(R, n)``.

    Args:
        space: The space.
        gradients: ``dL/dz`` of each cell's own weights, shape ``(R, n, C, E, K)``.
        cell: The type of cells to align; empty: of every type.
    """
    total = gradients.new_zeros(gradients.shape[:2])
    pairs = 0
    for name, places in repeated(space, cell).items():
        own = gradients[:, :, places][..., space.rows[name], :].flatten(-2)
        smallest = torch.finfo(own.dtype).tiny
        unit = own * own.square().sum(dim=-1, keepdim=True).clamp_min(smallest).rsqrt()
        both = unit.sum(dim=2).square().sum(dim=-1) - unit.square().sum(dim=(-1, -2))
        total = total + both / 2
        pairs += len(places) * (len(places) - 1) // 2
    return total / pairs


def repeated(space: Space, cell: str = "") -> dict[str, list[int]]:
    """Return the numbers of the cells of each type that occurs at least twice."""
    cells = [layer.cell for layer in space.layers if layer.kind == "cell"]
    places = {name: [i for i, other in enumerate(cells) if other == name] for name in space.rows}
    return {n: found for n, found in places.items() if len(found) > 1 and cell in ("", n)}


class _Aligned:
    """``L - lambda Lambda`` of each architecture."""

    def __init__(self, loss: Loss, space: Space, weight: float, cell: str) -> None:
        self._loss, self._space, self._weight, self._cell = loss, space, weight, cell
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            apart = self._apart(z)
            if not apart.requires_grad:
                apart.requires_grad_()
            self._last = (z, apart)
            value = self._loss(apart, torch.ones_like(apart, dtype=torch.bool))
            (slope,) = torch.autograd.grad(value.sum(), apart, create_graph=wanted)
            value = value - self._weight * alignment(self._space, slope, self._cell)
        return value if wanted else value.detach()

    def error(self, z: Tensor) -> Tensor:
        known = self._last is not None and self._last[0] is z
        return self._loss.error(self._last[1] if known and self._last else self._apart(z))

    def _apart(self, z: Tensor) -> Tensor:
        count = sum(layer.kind == "cell" for layer in self._space.layers)
        return z[:, :, None].expand(-1, -1, count, -1, -1).clone()


class LambdaDarts(LossTransformer):
    """Aligned gradients of the cells.

    Args:
        weight: ``lambda`` at the end of the run. Default 0.125.
        cell: The type of cells to align, such as ``normal``; empty: of every type. Default ''.

    Raises:
        ConfigError: The weight is negative.
    """

    name = "lambda-darts"
    summary = "theta lets the gradients of the cells by their weights agree (Lambda-DARTS)"
    reference = "movahedi2023lambda"
    levels = ("bilevel", "unrolled")
    needs_cells = True
    needs_double_backward = True

    def __init__(self, weight: float = 0.125, cell: str = "") -> None:
        if weight < 0:
            raise ConfigError(f"transformer.{self.name}.weight must not be negative, got {weight}.")
        self.weight, self.cell = weight, cell

    def transform(self, loss: Loss, step: LossStep) -> Loss:
        """Return ``L - lambda Lambda``; alpha's own loss as it is.

        Raises:
            ConfigError: No cell of the space occurs twice.
        """
        if not repeated(step.space, self.cell):
            which = f"cell {self.cell!r}" if self.cell else "no type of cell"
            raise ConfigError(
                f"transformer {self.name} aligns cells of one type with each other.",
                f"In space {step.space.name!r} {which} "
                + ("does not occur twice." if self.cell else "occurs twice."),
                "Use more cells (space.cells), or leave the transformer out.",
            )
        weight = self.weight * step.progress
        if step.role == "alpha" or weight == 0:
            return loss
        return _Aligned(loss, step.space, weight, self.cell)
