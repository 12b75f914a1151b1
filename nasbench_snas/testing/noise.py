"""Checks of the law of the noise: a formula of a draw takes the noise as given, so it is apart.

Each tensor is brought to uniforms on [0, 1] by the distribution function of its declared law. Then
the Kolmogorov-Smirnov test and the variance of the normal scores look at all of them together,
every coordinate has the right mean, and correlations between coordinates, between replicates and
between tensors are zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from nasbench_snas.api import Distribution, Estimator
from nasbench_snas.seeding import stream
from nasbench_snas.testing.bench import Bench, tensors_in
from nasbench_snas.testing.claims import Point, claim_of
from nasbench_snas.testing.contract import BenchBuilder
from nasbench_snas.testing.problems import toy_problem

FALSE_ALARM = 1e-5
REPLICATES, REPLICATES_FULL = 20_000, 200_000
MOST_COORDINATES = 60  # whose correlations are looked at


def to_uniform(noise: Tensor, law: str, edges: int) -> Tensor:
    """Return ``noise`` through the distribution function of ``law``, uniform if the law holds."""
    x = noise.double()
    if law == "gumbel":
        return (-(-x).exp()).exp()
    if law == "exponential":
        return -(-x).expm1()
    if law == "normal":
        normal: Tensor = torch.special.ndtr(x)
        return normal
    if law == "logistic":
        return x.sigmoid()
    if law == "indices":
        fill = torch.rand(x.shape, generator=stream(0, "conformance/fill"), dtype=x.dtype)
        return (x + fill) / edges
    return x


def uniform_problem(uniforms: Tensor, level: float = FALSE_ALARM) -> str:
    """Return what is wrong with uniforms ``(R, m)`` that should be independent, or nothing.

    The level is shared out evenly (Bonferroni) over the five tests.
    """
    u = uniforms.detach().cpu().numpy()
    if not np.isfinite(u).all() or u.min() < 0 or u.max() > 1:
        return "values are outside of the law's support"
    rows, columns = u.shape
    flat = float(stats.kstest(u.ravel(), "uniform").pvalue)
    if flat < level / 5:
        return f"their distribution function is another (p = {flat:.1e})"
    normal = special.ndtri(u.clip(1e-15, 1 - 1e-15))
    spread = abs(float(np.square(normal).mean()) - 1) / (2 / normal.size) ** 0.5
    if spread > float(stats.norm.isf(level / 10)):
        return f"their spread is off by {spread:.1f} standard errors"
    means = np.abs(normal.mean(axis=0)).max() * rows**0.5
    limit = float(stats.norm.isf(level / 10 / columns))
    if means > limit:
        return f"a coordinate's mean is off by {means:.1f} standard errors"
    before = np.roll(normal[:, :1], 1, axis=0)  # of the preceding replicate
    moved = np.concatenate([normal[:, :MOST_COORDINATES], before], axis=1)
    pairs = moved.shape[1] * (moved.shape[1] - 1) / 2
    correlation = np.atleast_2d(np.corrcoef(moved.T))
    np.fill_diagonal(correlation, 0)
    worst = float(np.abs(np.arctanh(correlation.clip(-1 + 1e-15, 1 - 1e-15))).max())
    if worst * (rows - 3) ** 0.5 > float(stats.norm.isf(level / 10 / max(pairs, 1))):
        return f"values that should be independent have the correlation {np.tanh(worst):.3f}"
    return ""


class NoiseChecks(BenchBuilder):
    """The law of the noise, and of what the distribution makes of it."""

    def test_noise_has_the_declared_law(self) -> None:
        """Gumbel unless declared; independent over replicates, draws, edges and operations."""
        self._check_noise(REPLICATES)

    @pytest.mark.slow
    def test_noise_has_the_declared_law_closely(self) -> None:
        """The same with ten times the draws."""
        self._check_noise(REPLICATES_FULL)

    def _check_noise(self, count: int) -> None:
        estimator = self.make()
        law = claim_of(estimator, "noise")
        bench = self.bench(toy_problem("exponential", 3, 2))
        noise = bench.noise(count, "law")
        if not tensors_in(noise):
            assert law is None, "claims a law of noise, but draws none"
            pytest.skip("it draws no noise")
        if law is None and type(estimator).noise is not Estimator.noise:
            self.__dict__.setdefault("notes", []).append(
                "law of the noise not tested: noise() is the estimator's own and no claim says it"
            )
            return
        if law is None and type(bench.dist).noise is not Distribution.noise:
            pytest.skip("the distribution has noise of its own")
        parts = [
            part.reshape(count, -1) for part in uniforms_of(bench, noise, law or "gumbel", count)
        ]
        for number, part in enumerate(parts):
            problem = uniform_problem(part)
            assert not problem, f"noise, tensor {number}: {problem}"
        if len(parts) > 1:
            problem = uniform_problem(torch.cat([part[:, :12] for part in parts], dim=1))
            assert not problem, f"noise, all tensors together: {problem}"

    def test_distribution_agrees_with_itself(self) -> None:
        """Probabilities sum to one; samples, marginals, mode and entropy follow from them."""
        bench = self.bench()
        dist, count = bench.dist, 20_000
        index = torch.cartesian_prod(*[torch.arange(dist.num_operations)] * dist.num_edges)
        z = torch.eye(dist.num_operations, dtype=dist.dtype)[index.view(-1, dist.num_edges)]
        with torch.no_grad():
            p = dist.log_prob(z[None]).sum(dim=-1)[0].exp()
        assert abs(float(p.sum()) - 1) < 1e-9, f"probabilities sum to {float(p.sum()):.6f}"
        exact = torch.einsum("a,aek->ek", p, z)
        generator = bench.generator("marginals")
        tolerance = 1e-9 if dist.factorised else 0.05
        gap = float((dist.marginals(generator)[0] - exact).abs().max())
        assert gap < tolerance, f"marginals() is off by {gap:.2g}"
        if dist.factorised:
            assert torch.equal(dist.mode()[0].argmax(-1), exact.argmax(-1)), "mode() is another"
            entropy = torch.special.entr(exact).sum(dim=-1)
            torch.testing.assert_close(dist.entropy(generator)[0], entropy, rtol=1e-6, atol=1e-9)
        copies = dist.replicate(3)
        for own, copied in zip(dist.parameters(), copies.parameters(), strict=True):
            assert torch.equal(copied, own.expand_as(copied)), "replicate() changes the parameters"
        drawn = dist.replicate(count)
        with torch.no_grad():
            samples = drawn.hard(drawn.noise(count, 1, bench.generator("hard")))[:, 0]
        error = (exact * (1 - exact) / count).sqrt().clamp_min(1e-12)
        score = float(((samples.mean(dim=0) - exact) / error).abs().max())
        limit = float(stats.norm.isf(FALSE_ALARM / 2 / exact.numel()))
        assert score < limit, f"hard() is off its probabilities by {score:.1f} standard errors"


def uniforms_of(bench: Bench, noise: Any, law: Any, count: int) -> list[Tensor]:
    """Return the noise as uniforms, a tensor each, of ``count`` replicates."""
    if callable(law):
        loss = bench.loss.replicate(count)
        copies = bench.dist.replicate(count)
        return list(law(Point(bench.estimator, loss, copies, noise)))
    tensors = tensors_in(noise)
    names = [law] * len(tensors) if isinstance(law, str) else list(law)
    assert len(names) == len(tensors), f"{len(tensors)} tensors of noise, {len(names)} laws claimed"
    edges, parts = bench.dist.num_edges, []
    for tensor, name in zip(tensors, names, strict=True):
        tensor = tensor[..., :1] if name == "indices" else tensor  # the others exclude each other
        parts.append(to_uniform(tensor, name, edges))
    return parts
