"""One cell of a study: one estimator variant at one point. Draws are kept as block moments on disk.

A cell's file is replaced whole after every block of draws, so that a killed study goes on where
it stood. The noise of pass ``i`` is the stream ``<point>/alpha/<i>``: nothing of the generator
needs to be stored, a continued study draws what an uninterrupted one would, and estimators whose
noise has the same form share it.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasbench_snas.api import Estimator
from nasbench_snas.architecture.distributions import Distribution
from nasbench_snas.errors import CheckpointError
from nasbench_snas.oracle.draws import (
    DrawCost,
    alpha_draws,
    measure_cost,
    theta_draws,
    warm_up,
)
from nasbench_snas.oracle.network import BatchedLoss
from nasbench_snas.runs.folder import write_atomic
from nasbench_snas.seeding import stream
from nasbench_snas.stats.decomposition import decompose_draws
from nasbench_snas.stats.gradient_summary import Reference, summarise_gradient
from nasbench_snas.stats.moments import GradientMoments
from nasbench_snas.study.settings import StudySettings
from nasbench_snas.study.variants import Variant

_WARM_UP = 64
_THETA_BLOCKS = 10


@dataclass
class Cell:
    """Estimator, point and what has been drawn.

    Attributes:
        variant: The row of the study.
        estimator: The estimator.
        dist: Its distribution at the point.
        reference: The gradient it is measured against.
        groups: Coordinate groups (edges, operations) of the architecture gradient, or empty.
        file: Where the cell is kept.
        seed: The study's seed.
        point: Name of the point.
        moments: Block moments of the draws.
        passes: Finished passes.
        extra: Results that are measured once: cost, theta, decomposition.
    """

    variant: Variant
    estimator: Estimator
    dist: Distribution
    reference: Reference
    groups: dict[str, npt.NDArray[np.intp]]
    file: Path
    seed: int
    point: str
    moments: GradientMoments = field(init=False)
    passes: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Continue from the file, if there is one."""
        size = len(self.reference.value)
        direction = self.reference.value
        self.moments = GradientMoments(size, direction=direction, groups=self.groups)
        if self.file.exists():
            try:
                with np.load(self.file, allow_pickle=False) as stored:
                    state = {key: stored[key] for key in stored.files}
                meta = json.loads(str(state.pop("meta")))
                self.moments.load_state(state)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise CheckpointError(
                    f"cannot read {self.file}: {error}", fix="Delete the file to draw it anew."
                ) from error
            self.passes, self.extra = meta["passes"], meta["extra"]

    @property
    def relative_error(self) -> float:
        """Standard error of the mean draw over the length of the reference."""
        if self.moments.n < 2 * self.moments.n_blocks:
            return float("inf")
        summary = summarise_gradient(self.moments, self.reference)
        return summary.bias_se / max(summary.reference_norm, 1e-300)

    def warm_up(self, loss: BatchedLoss) -> None:
        """Bring the estimator's own state to where it stands at this point."""
        generator = stream(self.seed, f"{self.point}/warm-up")
        if dict(self.estimator.named_buffers()) or self.estimator.tunes_variance:
            warm_up(self.estimator, loss, self.dist, _WARM_UP, generator)

    def draw(self, loss: BatchedLoss, replicates: int) -> None:
        """Draw one pass of the architecture gradient."""
        generator = stream(self.seed, f"{self.point}/alpha/{self.passes}")
        rows = alpha_draws(self.estimator, loss, self.dist, replicates, generator)
        self.moments.update(rows.detach().numpy())
        self.passes += 1

    def measure(self, loss: BatchedLoss) -> None:
        """Measure what a draw costs."""
        generator = stream(self.seed, f"{self.point}/cost")
        cost = measure_cost(self.estimator, loss, self.dist, generator)
        derived = {
            "equivalents": cost.equivalents,
            "joint_equivalents": cost.joint_equivalents,
        }
        self.extra["cost"] = asdict(cost) | derived

    @property
    def cost(self) -> DrawCost:
        """What a draw costs, as measured."""
        names = DrawCost.__dataclass_fields__
        return DrawCost(**{k: v for k, v in self.extra["cost"].items() if k in names})

    def draw_theta(self, loss: BatchedLoss, reference: Reference, settings: StudySettings) -> None:
        """Draw the theta-gradient and keep its statistics."""
        moments = GradientMoments(
            len(reference.value), n_blocks=_THETA_BLOCKS, direction=reference.value
        )
        generator = stream(self.seed, f"{self.point}/theta")
        for start in range(0, settings.theta_samples, 16):
            count = min(16, settings.theta_samples - start)
            rows = theta_draws(self.estimator, loss, self.dist, count, generator)
            moments.update(rows.detach().numpy())
        summary = summarise_gradient(moments, reference, confidence=settings.confidence)
        self.extra["theta"] = asdict(summary)

    def decompose(self, losses: list[BatchedLoss], settings: StudySettings) -> None:
        """Split the variance into minibatch and architecture sampling."""
        draws = []
        for index, loss in enumerate(losses):
            generator = stream(self.seed, f"{self.point}/batch/{index}")
            rows = alpha_draws(self.estimator, loss, self.dist, settings.draws_per_batch, generator)
            draws.append(rows.detach())
        parts = decompose_draws(torch.stack(draws).numpy(), confidence=settings.confidence)
        self.extra["decomposition"] = asdict(parts)

    def save(self) -> None:
        """Write the cell, whole or not at all."""
        buffer = io.BytesIO()
        meta = json.dumps({"passes": self.passes, "extra": self.extra})
        state: dict[str, Any] = dict(self.moments.state())
        np.savez(buffer, meta=np.array(meta), **state)
        write_atomic(self.file, buffer.getvalue())


def save_arrays(file: Path, arrays: dict[str, Tensor]) -> None:
    """Write tensors as an npz file, whole or not at all."""
    buffer = io.BytesIO()
    plain: dict[str, Any] = {key: value.detach().numpy() for key, value in arrays.items()}
    np.savez(buffer, **plain)
    write_atomic(file, buffer.getvalue())


def load_arrays(file: Path) -> dict[str, Tensor]:
    """Return the tensors of :func:`save_arrays`; empty if there is no file.

    Raises:
        CheckpointError: The file is damaged.
    """
    if not file.exists():
        return {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {key: torch.from_numpy(stored[key].copy()) for key in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"cannot read {file}: {error}", fix="Delete the file to compute it anew."
        ) from error
