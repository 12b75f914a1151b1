"""Streaming moments of gradient draws, in blocks: nothing is kept but counts, means and squares.

N draws ``g_i`` in R^d are dealt to ``n_blocks`` blocks in turn (draw i goes to block i mod
n_blocks), so that any statistic of means and variances gets a delete-a-block jackknife error
without the draws. Means and squared deviations are merged by Chan's formula
``M = M_a + M_b + (m_b - m_a)² n_a n_b / (n_a + n_b)``, which keeps a draw without noise at
(rounding) zero variance. Memory: ``2 n_blocks d`` doubles. What intervals need of the covariance of
the draws comes from the block means, so there is no ``d x d`` matrix and the state holds nothing
else: counts, means, squares, cosine sums, and the settings that they depend on.

Reference: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
Variances, 1979.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nasbench_snas.errors import CheckpointError, ConfigError, DataError, DivergedError
from nasbench_snas.stats.interval import FloatArray

IndexArray = npt.NDArray[np.intp]
WHOLE = "all"
DEFAULT_BLOCKS = 50


def as_draws(draws: npt.ArrayLike, dimension: int | None = None) -> FloatArray:
    """Return draws as float64, shape ``(n, d)``.

    Raises:
        DataError: Wrong shape.
        DivergedError: A draw is not finite.
    """
    array = np.asarray(draws, dtype=np.float64)
    if array.ndim != 2 or (dimension is not None and array.shape[1] != dimension):
        raise DataError(
            f"draws have shape {array.shape}",
            f"expected (n, {dimension if dimension is not None else 'd'}), one gradient a row",
            "flatten each gradient",
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        raise DivergedError(
            f"{bad} of {len(array)} gradient draws hold NaN or infinity",
            "moments of such draws have no meaning",
            "use float64 or a higher temperature, or look at the loss",
        )
    return array


class GradientMoments:
    """Block moments of iid gradient draws.

    Args:
        dimension: d, length of a flattened gradient.
        n_blocks: Number of jackknife blocks; fixed for the life of a study.
        direction: The gradient that single draws are compared with by cosine, shape ``(d,)``; None
            to leave the per-draw cosine out.
        groups: Name to coordinate indices (one edge, one operation …) for per-draw cosines within
            a group. Every other statistic takes any index array afterwards.

    Attributes:
        count: Draws a block, shape ``(n_blocks,)``.
        mean: Block means, shape ``(n_blocks, d)``.
        squares: Sums of squared deviations from the block mean, shape ``(n_blocks, d)``.
        cosine: Sums of per-draw cosines, shape ``(n_blocks, 1 + len(groups))``; first column: all.
    """

    def __init__(
        self,
        dimension: int,
        n_blocks: int = DEFAULT_BLOCKS,
        direction: FloatArray | None = None,
        groups: Mapping[str, IndexArray] | None = None,
    ) -> None:
        if n_blocks < 3 or dimension < 1:
            raise ConfigError(
                f"{n_blocks} blocks of dimension {dimension}",
                "expected at least 3 blocks and 1 dimension",
                "use the default of 50 blocks",
            )
        self.dimension, self.n_blocks = dimension, n_blocks
        self.groups = {name: np.asarray(i, dtype=np.intp) for name, i in (groups or {}).items()}
        if WHOLE in self.groups:
            raise ConfigError(f"a group is named {WHOLE!r}", "that name stands for all coordinates")
        self.direction = None if direction is None else as_draws([direction], dimension)[0]
        self.count = np.zeros(n_blocks, dtype=np.int64)
        self.mean = np.zeros((n_blocks, dimension))
        self.squares = np.zeros((n_blocks, dimension))
        self.cosine = np.zeros((n_blocks, 1 + len(self.groups)))

    @property
    def n(self) -> int:
        """Number of draws so far."""
        return int(self.count.sum())

    def update(self, draws: npt.ArrayLike) -> None:
        """Add draws.

        Args:
            draws: Shape ``(n, d)``, one gradient a row; any n, also smaller than ``n_blocks``.
        """
        rows = as_draws(draws, self.dimension)
        cosines = self._cosines(rows)
        start, whole = self.n, len(rows) - len(rows) % self.n_blocks
        for part in (slice(0, whole), slice(whole, None)):  # full rounds, then the rest
            size = min(len(rows[part]), self.n_blocks)
            if size:
                blocks = (start + np.arange(size)) % self.n_blocks
                deal = rows[part].reshape(-1, size, self.dimension)
                mean = deal[0] + (deal - deal[0]).mean(axis=0)  # exact for identical draws
                count = np.full(size, len(deal), dtype=np.int64)
                self._merge(blocks, count, mean, np.square(deal - mean).sum(axis=0))
                self.cosine[blocks] += cosines[part].reshape(len(deal), size, -1).sum(axis=0)

    def merge(self, other: GradientMoments) -> None:
        """Add the draws of ``other`` (another process), block by block.

        Raises:
            DataError: Different dimension, blocks, groups or direction.
        """
        self._check_alike(other.state(), DataError)
        self._merge(np.arange(self.n_blocks), other.count, other.mean, other.squares)
        self.cosine += other.cosine

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return copies of everything that changes, and what it depends on, as plain arrays."""
        direction = np.zeros(0) if self.direction is None else self.direction
        signature = [np.r_[len(i), i] for i in self.groups.values()]
        return {
            "count": self.count.copy(),
            "mean": self.mean.copy(),
            "squares": self.squares.copy(),
            "cosine": self.cosine.copy(),
            "direction": direction.copy(),
            "group_names": np.array(list(self.groups), dtype=np.str_),
            "group_indices": np.concatenate([np.zeros(0, np.int64), *signature]).astype(np.int64),
        }

    def load_state(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Continue from :meth:`state` of an accumulator with the same settings.

        Raises:
            CheckpointError: The state belongs to other settings or another reference gradient.
        """
        self._check_alike(state, CheckpointError)
        self.count = np.array(state["count"], dtype=np.int64)
        self.mean = np.array(state["mean"], dtype=np.float64)
        self.squares = np.array(state["squares"], dtype=np.float64)
        self.cosine = np.array(state["cosine"], dtype=np.float64)

    def _merge(
        self, blocks: IndexArray, n: npt.NDArray[np.int64], mean: FloatArray, squares: FloatArray
    ) -> None:
        """Merge ``n (b,)`` draws with means and squared deviations ``(b, d)`` into ``blocks``."""
        before = self.count[blocks]
        share = n / np.maximum(before + n, 1)
        shift = mean - self.mean[blocks]
        self.count[blocks] = before + n
        self.mean[blocks] += shift * share[:, None]
        self.squares[blocks] += squares + np.square(shift) * (before * share)[:, None]

    def _cosines(self, rows: FloatArray) -> FloatArray:
        """Cosines of each draw with the direction, ``(n, 1 + G)``; 0 where a length is 0."""
        out = np.zeros((len(rows), self.cosine.shape[1]))
        if self.direction is None:
            return out
        everything = np.arange(self.dimension)
        for column, index in enumerate([everything, *self.groups.values()]):
            part, goal = rows[:, index], self.direction[index]
            length = np.linalg.norm(part, axis=1) * np.linalg.norm(goal)
            np.divide(part @ goal, length, out=out[:, column], where=length > 0)
        return out

    def _check_alike(
        self,
        state: Mapping[str, npt.NDArray[np.generic]],
        error: type[DataError] | type[CheckpointError],
    ) -> None:
        """Raise ``error`` unless ``state`` comes from the same settings."""
        mine = self.state()
        for key, value in mine.items():
            other = state.get(key)
            fixed = key in ("direction", "group_names", "group_indices")
            if (
                other is None
                or other.shape != value.shape
                or (fixed and not np.array_equal(other, value))
            ):
                raise error(
                    f"gradient moments differ in {key!r}",
                    "expected the same dimension, blocks, groups and reference gradient",
                    "start the study anew, or resume it with its own settings",
                )
