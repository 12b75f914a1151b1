"""Checks of the law of the noise: a formula of a draw takes the noise as given, so it is apart.

Each tensor is brought to uniforms on [0, 1] by the distribution function of its declared law. Then
the Kolmogorov-Smirnov test and the variance of the normal scores look at all of them together,
every coordinate has the right mean, and correlations between coordinates, between replicates and
between tensors are zero.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from nasbench_snas.api import Distribution, Estimator
from nasbench_snas.seeding import stream
from nasbench_snas.stats import Hotelling
from nasbench_snas.testing.bench import Bench, tensors_in
from nasbench_snas.testing.claims import Point, claim_of
from nasbench_snas.testing.contract import BenchBuilder
from nasbench_snas.testing.exact import enumerate_architectures
from nasbench_snas.testing.problems import toy_problem
from nasbench_snas.testing.proofs import joint_test

FALSE_ALARM = 1e-5
REPLICATES = 20_000
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


def uniform_p_values(uniforms: Tensor) -> dict[str, float]:
    """Return the p-values of the tests that uniforms ``(R, m)`` are such, and independent."""
    u = uniforms.detach().cpu().numpy()
    rows, columns = u.shape
    normal = special.ndtri(u.clip(1e-15, 1 - 1e-15))
    spread = abs(float(np.square(normal).mean()) - 1) / (2 / normal.size) ** 0.5
    mean = np.abs(normal.mean(axis=0)).max() * rows**0.5
    before = np.roll(normal[:, :1], 1, axis=0)  # of the preceding replicate
    moved = np.concatenate([normal[:, :MOST_COORDINATES], before], axis=1)
    pairs = moved.shape[1] * (moved.shape[1] - 1) // 2
    correlation = np.atleast_2d(np.corrcoef(moved.T))
    np.fill_diagonal(correlation, 0)
    apart = float(np.abs(np.arctanh(correlation.clip(-1 + 1e-15, 1 - 1e-15))).max())
    return {
        "distribution function": float(stats.kstest(u.ravel(), "uniform").pvalue),
        "spread": 2 * float(stats.norm.sf(spread)),
        "means": _largest(float(stats.norm.sf(mean)), columns),
        "correlations": _largest(float(stats.norm.sf(apart * (rows - 3) ** 0.5)), pairs),
    }


def _largest(tail: float, count: int) -> float:
    """Return the p-value of the largest of ``count`` independent scores with this upper tail."""
    return float(-np.expm1(count * np.log1p(-min(2 * tail, 1 - 1e-16))))


def uniform_problem(uniforms: Tensor, level: float = FALSE_ALARM) -> str:
    """Return what is wrong with uniforms ``(R, m)`` that should be independent, or nothing.

    The level is shared out evenly (Bonferroni) over the tests.
    """
    u = uniforms.detach()
    if not bool(torch.isfinite(u).all()) or float(u.min()) < 0 or float(u.max()) > 1:
        return "values are outside of the law's support"
    found = uniform_p_values(uniforms)
    worst = min(found, key=lambda name: found[name])
    if found[worst] >= level / len(found):
        return ""
    words = {
        "distribution function": "their distribution function is another",
        "spread": "their spread is off",
        "means": "a coordinate's mean is off",
        "correlations": "values that should be independent have a correlation",
    }
    return f"{words[worst]} (p = {found[worst]:.1e})"


class NoiseChecks(BenchBuilder):
    """The law of the noise, and of what the distribution makes of it.

    Attributes:
        noise_draws_full: Draws of the slow check.
    """

    noise_draws_full: ClassVar[int] = 200_000

    def test_noise_has_the_declared_law(self) -> None:
        """Gumbel unless declared; independent over replicates, draws, edges and operations."""
        self._check_noise(REPLICATES)

    @pytest.mark.slow
    def test_noise_has_the_declared_law_closely(self) -> None:
        """The same with ten times the draws."""
        self._check_noise(self.noise_draws_full)

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
        result = hard_test(bench, count)
        assert result.p > FALSE_ALARM, (
            f"hard() is off its probabilities: p = 1e{result.log10_p:.1f}"
        )


def hard_test(bench: Bench, count: int, seed: int = 0) -> Hotelling:
    """Test that ``hard()`` has the distribution's own probabilities, with ``count`` samples."""
    dist, drawn = bench.dist, bench.dist.replicate(count)
    z = enumerate_architectures(dist.num_edges, dist.num_operations, dist.dtype)
    with torch.no_grad():
        p = dist.log_prob(z[None]).sum(dim=-1)[0].exp()
        samples = drawn.hard(drawn.noise(count, 1, bench.generator("hard", seed)))[:, 0]
    return joint_test(samples.flatten(1).double().numpy(), (p @ z.flatten(1)).double())


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
