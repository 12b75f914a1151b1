"""DARTS-ES: stop when the loss becomes sharp in the architecture; a diagnostic on the way.

After each epoch the largest eigenvalue of the Hessian of the loss by the logits is measured,

    lambda(i) = lambda_max( d^2 L(theta, softmax(alpha)) / d alpha^2 ),

on images that alpha is trained on. With ``mean(i)`` its mean over the ``window`` epochs around
``i``, the search ends when

    mean(i - window) / mean(i) < ratio,

and the architecture is that of epoch ``i - window``. As the mean around ``i`` needs
``window // 2`` epochs after ``i``, an end comes so much later. ``ratio`` 0 never ends a search:
the eigenvalue is then a diagnostic alone.

The loss at ``softmax(alpha)`` is that of the mixture, whatever the estimator hands out; a
distribution without logits is measured at the logarithms of its probabilities. The eigenvalue comes
from the Lanczos iteration on exact Hessian-vector products, with all vectors kept orthogonal, from
a random start. ``hessian_error`` bounds the distance of the value from an eigenvalue.

Reference: Zela et al. 2020, arXiv:1909.09656, section 4 and appendix; window 5 and ratio 0.75 as
there. Deviations: Lanczos in the place of the whole matrix; the same images after every epoch
(there: a random minibatch); theta is that of the last epoch, where the paper trains anew; nothing
ends where the later mean is not positive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, EarlyStop, EpochState, Verdict
from nasbench_snas.errors import ConfigError


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], size: int, steps: int, generator: torch.Generator
) -> tuple[float, float]:
    """Return the largest eigenvalue of a symmetric matrix by the Lanczos iteration.

    Args:
        product: The matrix times a vector, both of shape ``(size,)``, float64.
        size: Rows of the matrix.
        steps: Products at most; with ``size`` of them the value is exact.
        generator: Source of the start.

    Returns:
        The value, and a bound of its distance from an eigenvalue.
    """
    start = torch.randn(size, generator=generator, device=generator.device, dtype=torch.float64)
    basis = [start / start.norm()]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for _ in range(min(steps, size)):
        vector = product(basis[-1])
        diagonal.append(vector @ basis[-1])
        known = torch.stack(basis)
        for _ in range(2):  # twice is enough, once is not
            vector = vector - known.T @ (known @ vector)
        beside.append(vector.norm())
        scale = max(float(torch.stack(diagonal).abs().max()), float(beside[0]))
        if float(beside[-1]) <= 1e-12 * scale:
            break
        basis.append(vector / beside[-1])
    count = len(diagonal)
    small = torch.diag(torch.stack(diagonal))
    if count > 1:
        off = torch.diag(torch.stack(beside[: count - 1]), 1)
        small = small + off + off.T
    values, vectors = torch.linalg.eigh(small.cpu())
    return float(values[-1]), float(beside[-1]) * abs(float(vectors[-1, -1]))


class Hessian(EarlyStop):
    """Ends a search when the largest eigenvalue grows too fast.

    Args:
        window: Epochs of a mean, and between two means; odd. Default 5.
        ratio: Ends below this ratio of the earlier to the later mean; 0: never. Default 0.75.
        start: First epoch whose architecture may be returned. Default 1.
        images: Images that the loss is measured on. Default 256.
        iterations: Hessian-vector products of an epoch, at most. Default 20.

    Raises:
        ConfigError: A setting is impossible.
    """

    name = "hessian"
    summary = "the largest eigenvalue of the Hessian by alpha grows (DARTS-ES); ratio 0: log only"
    reference = "zela2020rdarts"
    needs_double_backward = True

    def __init__(
        self,
        window: int = 5,
        ratio: float = 0.75,
        start: int = 1,
        images: int = 256,
        iterations: int = 20,
    ) -> None:
        for which, value in (
            ("window", window),
            ("start", start),
            ("images", images),
            ("iterations", iterations),
        ):
            if value < 1:
                raise ConfigError(f"stop.{self.name}.{which} must be at least 1, got {value}.")
        if window % 2 == 0:
            raise ConfigError(
                f"stop.{self.name}.window is {window}.",
                "The mean is over the epochs around one: as many after as before.",
                "Choose an odd number.",
            )
        if not 0 <= ratio < 1:
            raise ConfigError(
                f"stop.{self.name}.ratio is {ratio}.",
                "Expected a number from 0 (never ends) to below 1.",
            )
        self.window, self.ratio, self.start = window, ratio, start
        self.images, self.iterations = images, iterations
        self.values: list[float] = []

    @property
    def memory(self) -> int:
        """Epochs from the returned architecture to the decision."""
        return self.window + self.window // 2

    def decide(self, state: EpochState) -> Verdict | None:
        """Measure the eigenvalue; return a verdict where it has grown too fast."""
        value, error = self.eigenvalue(state)
        self.values.append(value)
        state.log("hessian_lambda_max", value)
        state.log("hessian_error", error)
        window, back = self.window, self.memory
        if len(self.values) < 2 * window or self.ratio == 0:
            return None
        later = sum(self.values[-window:]) / window
        earlier = sum(self.values[-2 * window : -window]) / window
        if state.epoch - back < self.start or not (later > 0 and earlier < self.ratio * later):
            return None
        return Verdict(
            f"lambda_max grew from {earlier:.3g} to {later:.3g} in {window} epochs "
            f"(ratio {earlier / later:.2f} < {self.ratio:g})",
            back,
        )

    def eigenvalue(self, state: EpochState) -> tuple[float, float]:
        """Return the largest eigenvalue after this epoch, and the bound of its error."""
        logits = _logits(state)
        alpha = logits.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = state.loss(self.images)(alpha.softmax(dim=-1)[None, None]).sum()
            (slope,) = torch.autograd.grad(value, alpha, create_graph=True)

        def product(vector: Tensor) -> Tensor:
            along = vector.to(alpha).view_as(alpha)
            (found,) = torch.autograd.grad(slope, alpha, grad_outputs=along, retain_graph=True)
            return found.detach().double().flatten()

        return largest_eigenvalue(product, alpha.numel(), self.iterations, state.generator)

    def state_dict(self) -> dict[str, Any]:
        """Return the eigenvalues so far."""
        return {"values": list(self.values)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.values = [float(value) for value in state["values"]]


def _logits(state: EpochState) -> Tensor:
    """Return logits whose softmax the probabilities are, shape ``(E, K)``."""
    if isinstance(state.dist, Categorical):
        return state.dist.logits.detach()[0]
    return state.probs.clamp_min(torch.finfo(state.probs.dtype).tiny).log()
