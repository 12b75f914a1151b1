"""Pools of the suite's own draws on the toy cell, and what their means really are.

Every row of a gradient study (all estimators; temperature 1, some at 0.1) at the three stages of
the toy cell of 729 architectures (:func:`nasbench_snas.testing.problems.cell_problem`). Controllers
have four hidden units. A pool is kept in a file of its own, so that a run that was stopped goes on.

The mean of a draw is known

* exactly, where the estimator is unbiased for the expected loss or declares an objective: by
  enumeration of the 729 architectures; and where a draw is a function of one architecture alone;
* from :data:`NOISES` further draws otherwise; the error of that mean is part of the pool.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.api import Estimator
from nasbench_snas.oracle.draws import alpha_draws, warm_up
from nasbench_snas.oracle.exact import score_share
from nasbench_snas.registry import Registry
from nasbench_snas.seeding import stream
from nasbench_snas.stats.interval import FloatArray
from nasbench_snas.study.settings import StudySettings
from nasbench_snas.study.variants import Variant, variants
from nasbench_snas.testing.bench import Bench
from nasbench_snas.testing.exact import enumerate_architectures, exact_moments
from nasbench_snas.testing.examine import depends_on_samples_only, target_of
from nasbench_snas.testing.losses import ToyLoss
from nasbench_snas.testing.problems import Stage, cell_problem
from nasbench_snas.testing.proofs import exact

POOL, NOISES, PASS, WARM = 50_000, 400_000, 4_000, 64
SMALL = {
    "enas": "enas:hidden=4",
    "enas-ppo": "enas-ppo:hidden=4",
    "reinmax-rao": "reinmax-rao:samples=10",
    "reinmax-cv": "reinmax-cv:samples=10",
}
"""Rows whose draws would cost much, with settings that make them cheap."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Draws of one estimator at one stage.

    Attributes:
        label: Row of the study.
        stage: Stage of the toy cell.
        how: How the mean is known.
        draws: Shape ``(N, d)``.
        gradient: Exact gradient of the expected loss, shape ``(d,)``.
        mean: Mean of a draw, shape ``(d,)``.
        error: Squared standard error of ``mean``, summed over coordinates; 0 if exact.
        spread: ``tr S`` and ``delta' S delta`` of the draws behind ``mean``, ``delta`` the bias.
    """

    label: str
    stage: str
    how: str
    draws: FloatArray
    gradient: FloatArray
    mean: FloatArray
    error: float
    spread: FloatArray


class Tabulated:
    """A toy loss whose one-hot architectures, with their slopes, are looked up.

    Args:
        loss: The loss; relaxed weights go through it.
    """

    def __init__(self, loss: ToyLoss) -> None:
        self.loss, self.theta = loss, loss.theta
        z = enumerate_architectures(loss.num_edges, loss.num_operations)
        z.requires_grad_()
        losses = loss.viewed_by(True)(z[None])[0]
        (self.slopes,) = torch.autograd.grad(losses.sum(), z)
        self.losses = losses.detach()
        edges, operations = loss.num_edges, loss.num_operations
        self.places = operations ** torch.arange(edges - 1, -1, -1)

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the losses ``(R, n)``; see :class:`nasbench_snas.api.Loss`."""
        top, index = z.detach().max(dim=-1)
        if not bool(((top == 1) & (z.detach().sum(dim=-1) == 1)).all()):
            return self.loss(z, run)
        row = (index * self.places).sum(dim=-1)
        if not (z.requires_grad and torch.is_grad_enabled()):
            return self.losses[row]
        h = self.slopes[row]
        if not self.loss.all_operations:
            used = z.detach() != 0
            h = h * (used if run is None else used | run)
        return self.losses[row] + ((z - z.detach()) * h).sum(dim=(-2, -1))

    def error(self, z: Tensor) -> Tensor:
        """Return the errors of ``z``."""
        return self.loss.error(z)


def rows(registry: Registry) -> list[Variant]:
    """Return the rows of the study, without penalties, and with the settings of ``SMALL``."""
    cold: dict[str, Any] = {
        "temperatures": (1.0,),
        "sweep": ("snas", "st-gumbel", "gumbel-rao"),
        "sweep_temperatures": (0.1,),
    }
    found, _ = variants(StudySettings(**cold), registry)
    small = StudySettings(estimators=tuple(SMALL.values()), **cold)
    kept = [v for v in found if v.name not in SMALL] + variants(small, registry)[0]
    return [v for v in kept if "penalty" not in v.label]


def pool(folder: Path, registry: Registry, stage: Stage, variant: Variant) -> Pool:
    """Return the pool of one row at one stage, from its file if there is one."""
    file = folder / "pools" / stage / f"{slug(variant.label)}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(part, **_make(variant.create(registry).double(), stage))
        part.rename(file)
    with np.load(file, allow_pickle=False) as stored:
        values = {key: stored[key] for key in stored.files}
    how, error = str(values.pop("how")), float(values.pop("error"))
    values["draws"] = values["draws"].astype(np.float64)
    return Pool(variant.label, stage, how, error=error, **values)


def share_at(registry: Registry, stage: Stage, variant: Variant) -> float:
    """Return the effective share of draws of the score-function gradient at a stage."""
    bench = Bench.build(variant.create(registry).double(), cell_problem(stage))
    z = enumerate_architectures(bench.dist.num_edges, bench.dist.num_operations)
    with torch.no_grad():
        losses = bench.loss.viewed_by(True)(z[None])[0]
    return score_share(bench.dist, losses)


def _make(estimator: Estimator, stage: Stage) -> dict[str, np.ndarray]:
    bench = Bench.build(estimator, cell_problem(stage))
    if dict(estimator.named_buffers()) or estimator.tunes_variance:
        warm_up(estimator, bench.loss, bench.dist, WARM, stream(0, f"coverage/{stage}/warm-up"))
    first = next(_draws(bench, 64, f"coverage/{stage}/pool"))
    if np.ptp(first, axis=0).max() <= 1e-12 * np.abs(first).max():
        return _without_noise(first, exact(bench).alpha.numpy())
    draws = np.concatenate(list(_draws(bench, POOL, f"coverage/{stage}/pool")))
    gradient = exact(bench).alpha.numpy()
    if estimator.bias == "unbiased":
        how, mean, error = "enumeration", target_of(bench)[0].detach().numpy(), 0.0
        spread = _spread(draws, mean - gradient)
    elif estimator.n == 1 and depends_on_samples_only(bench):
        moments = exact_moments(estimator, bench.loss, bench.dist)
        how, mean, error = "enumeration", moments.alpha.numpy(), 0.0
        delta = mean - gradient
        covariance = moments.covariance.numpy()
        spread = np.array([np.trace(covariance), delta @ covariance @ delta])
    else:
        how, mean, error, spread = _sampled(bench, stage, gradient)
    return {
        "how": np.array(how),
        "draws": draws.astype(np.float32),
        "gradient": gradient,
        "mean": mean,
        "error": np.array(error),
        "spread": spread,
    }


def _without_noise(draws: FloatArray, gradient: FloatArray) -> dict[str, FloatArray]:
    return {
        "how": np.array("no noise"),
        "draws": draws,
        "gradient": gradient,
        "mean": draws[0],
        "error": np.array(0.0),
        "spread": np.zeros(2),
    }


def _sampled(
    bench: Bench, stage: Stage, gradient: FloatArray
) -> tuple[str, FloatArray, float, FloatArray]:
    total, squares, count = np.zeros(len(gradient)), np.zeros((len(gradient),) * 2), 0
    for block in _draws(bench, NOISES, f"coverage/{stage}/truth"):
        count += len(block)
        total += block.sum(axis=0)
        squares += block.T @ block
    mean = total / count
    covariance = squares / count - np.outer(mean, mean)
    trace, delta = float(np.trace(covariance)), mean - gradient
    return f"{count} noises", mean, trace / count, np.array([trace, delta @ covariance @ delta])


def _spread(draws: FloatArray, delta: FloatArray) -> FloatArray:
    covariance = np.cov(draws.T)
    return np.array([np.trace(covariance), delta @ covariance @ delta])


def _draws(bench: Bench, count: int, name: str) -> Iterator[FloatArray]:
    generator, loss = stream(0, name), Tabulated(bench.loss)
    for start in range(0, count, PASS):
        size = min(PASS, count - start)
        yield alpha_draws(bench.estimator, loss, bench.dist, size, generator).numpy()


def slug(text: str) -> str:
    """Return ``text`` as a file name."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("λ", "tau")).strip("-")
