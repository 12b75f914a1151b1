"""Bias and variance of estimators on a function of one's own, against the enumerated gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nasbench_snas.api import Estimator, one_hot
from nasbench_snas.errors import ConfigError
from nasbench_snas.functional.estimation import MOST_STATES, Function, estimate, make_estimator
from nasbench_snas.outside import html_table

if TYPE_CHECKING:
    import pandas as pd

BLOCKS = 20  # of the jackknife


@dataclass(frozen=True)
class GradientRow:
    """What the draws of one estimator say; squared lengths are in units of ``|g|^2``.

    Attributes:
        estimator: Its name.
        bias2: Squared bias with the noise of the mean subtracted; near 0, also below, if unbiased.
        bias2_error: Its standard error, by a jackknife over 20 blocks of draws.
        variance: Trace of the covariance of one draw.
        cosine: Of the mean draw to the exact gradient.
        samples: Evaluated states per draw.
    """

    estimator: str
    bias2: float
    bias2_error: float
    variance: float
    cosine: float
    samples: float


@dataclass(frozen=True, repr=False)
class Comparison:
    """The exact gradient and a row for each estimator.

    Attributes:
        value: ``E[f]``.
        exact: Its gradient for the logits, shape ``(E, K)``.
        draws: Draws of each estimator.
        rows: In the order that was asked for.
    """

    value: float
    exact: Tensor
    draws: int
    rows: tuple[GradientRow, ...]

    def __str__(self) -> str:
        """Return the rows as a table of text."""
        head = f"{'estimator':<20}{'bias2':>10}{'+-':>9}{'variance':>10}{'cosine':>8}{'f/draw':>8}"
        lines = [
            f"{r.estimator:<20}{r.bias2:>10.4f}{r.bias2_error:>9.4f}{r.variance:>10.3f}"
            f"{r.cosine:>8.3f}{r.samples:>8.1f}"
            for r in self.rows
        ]
        return "\n".join([head, *lines])

    __repr__ = __str__

    def table(self) -> pd.DataFrame:
        """Return the rows as a table, one column for each attribute of :class:`GradientRow`."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def _repr_html_(self) -> str:
        """Return the rows as a table of a notebook."""
        heads = ("estimator", "bias²", "±", "variance", "cosine", "states a draw")
        rows = [
            (
                row.estimator,
                f"{row.bias2:.4f}",
                f"{row.bias2_error:.4f}",
                f"{row.variance:.3f}",
                f"{row.cosine:.3f}",
                f"{row.samples:.1f}",
            )
            for row in self.rows
        ]
        caption = f"{self.draws} draws each, in units of the exact gradient's squared length"
        return html_table(rows, heads, caption)


class Counted:
    """``f`` of unbatched logits for many replicates at once, counting the states it is given."""

    def __init__(self, f: Function) -> None:
        self.f, self.states = f, 0

    def __call__(self, z: Tensor) -> Tensor:
        """Return values ``(S, R)`` for ``z`` of shape ``(S, R, E, K)``."""
        self.states += z.shape[0] * z.shape[1]
        return self.f(z.flatten(0, 1)).reshape(z.shape[:2])


def exact_gradient_of(logits: Tensor, f: Function) -> tuple[float, Tensor]:
    """Return ``E[f]`` and its gradient, shape ``(E, K)``, by enumeration of all states.

    Raises:
        ConfigError: There are more than 20,000 states.
    """
    edges, values = logits.shape
    if values**edges > MOST_STATES:
        raise ConfigError(
            f"{values}^{edges} states are too many to enumerate.",
            f"At most {MOST_STATES} are.",
            "Compare on fewer variables, or with fewer values.",
        )
    index = torch.cartesian_prod(*[torch.arange(values)] * edges).view(-1, edges)
    z = one_hot(index.to(logits.device), values, logits.dtype)
    leaf = logits.detach().clone().requires_grad_()
    with torch.no_grad():
        found = f(z)
    mean = ((z * leaf.log_softmax(dim=-1)).sum(dim=(-2, -1)).exp() * found).sum()
    (gradient,) = torch.autograd.grad(mean, leaf)
    return float(mean.detach()), gradient


def compare_gradients(
    logits: Tensor,
    f: Function,
    estimators: Sequence[str | type[Estimator] | Estimator],
    *,
    generator: torch.Generator,
    draws: int = 1000,
    chunk: int = 500,
) -> Comparison:
    """Return bias and variance of ``estimators`` for ``E[f(z)]``, against the exact gradient.

    Args:
        logits: Shape ``(E, K)``, at most 20,000 states.
        f: Maps ``z``, ``(S, E, K)``, to ``(S,)``.
        estimators: Names, classes (both with default settings), or objects; what keeps state is
            measured as it stands (frozen).
        generator: Source of all randomness.
        draws: Independent gradient draws of each, at least 40.
        chunk: Draws in one evaluation, to bound memory.

    Raises:
        ConfigError: Shapes or settings do not fit, or the exact gradient is zero.
        PluginError: An estimator is unknown.
    """
    if logits.dim() != 2 or draws < 2 * BLOCKS:
        raise ConfigError(
            f"logits of shape {tuple(logits.shape)}, {draws} draws.",
            f"Expected logits (E, K) and at least {2 * BLOCKS} draws.",
        )
    value, exact = exact_gradient_of(logits, f)
    if not bool(exact.any()):
        raise ConfigError("the exact gradient is zero: nothing can be relative to it.")
    rows = []
    for item in estimators:
        method = item if isinstance(item, Estimator) else make_estimator(item)
        training = method.training
        method.eval()
        rows.append(_row(method, logits, f, exact, draws, chunk, generator))
        method.train(training)
    return Comparison(value, exact, draws, tuple(rows))


def _row(
    method: Estimator,
    logits: Tensor,
    f: Function,
    exact: Tensor,
    draws: int,
    chunk: int,
    generator: torch.Generator,
) -> GradientRow:
    counted, parts = Counted(f), []
    for start in range(0, draws, chunk):
        count = min(chunk, draws - start)
        leaf = logits.detach().expand(count, *logits.shape).clone().requires_grad_()
        total = estimate(leaf, counted, estimator=method, generator=generator).sum()
        parts.append(torch.autograd.grad(total, leaf)[0].flatten(1))
    sample, g = torch.cat(parts).double(), exact.flatten().double()
    scale = float(g.square().sum())
    bias2, variance = _moments(sample, g)
    blocks = torch.arange(draws) % BLOCKS
    left = torch.tensor([_moments(sample[blocks != b], g)[0] for b in range(BLOCKS)])
    error = float(((BLOCKS - 1) / BLOCKS * (left - left.mean()).square().sum()).sqrt())
    cosine = float(torch.nn.functional.cosine_similarity(sample.mean(dim=0), g, dim=0))
    return GradientRow(
        method.name, bias2 / scale, error / scale, variance / scale, cosine, counted.states / draws
    )


def _moments(sample: Tensor, exact: Tensor) -> tuple[float, float]:
    """Return the debiased squared bias and the trace of the covariance of draws ``(N, d)``."""
    variance = float(sample.var(dim=0).sum())
    distance = float((sample.mean(dim=0) - exact).square().sum())
    return distance - variance / len(sample), variance
