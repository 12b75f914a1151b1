"""Repeats the statistical tests on right estimators and looks at their p-values.

``python tests/testing/repetitions.py --out repetitions.md``: for every built-in estimator and every
kind of test, 200 repetitions with other seeds at a tenth of the draws of the slow checks. The
p-values of a right estimator are uniform: they are compared with the uniform law by
Kolmogorov-Smirnov, and the smallest is printed beside what is expected of so many.

* ``alpha``, ``theta``, ``value``: of unbiased estimators against the exact gradient and E[L];
* ``unequal``: the same of alpha where edges have three, two and one operation;
* ``theta law``: theta's gradient of hard samples against that of the declared law (not of those
  that enumerate: theirs has no noise);
* ``samples``: of the weights for theta against the declared law;
* ``hard``: of the distribution's samples against its probabilities;
* ``noise …``: the four tests of the noise against its declared law.

The kit's other statements about means (``consistent``, ``aligned_on``) are bounds with a margin:
their p-values are not uniform.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from nasbench_snas.api import Categorical, Estimator
from nasbench_snas.registry import Registry
from nasbench_snas.seeding import stream
from nasbench_snas.testing import EstimatorConformance
from nasbench_snas.testing.bench import Bench, tensors_in
from nasbench_snas.testing.claims import claim_of
from nasbench_snas.testing.course import law_of
from nasbench_snas.testing.exact import enumerate_architectures
from nasbench_snas.testing.examine import target_of
from nasbench_snas.testing.gradient import unequal_test
from nasbench_snas.testing.noise import hard_test, uniform_p_values, uniforms_of
from nasbench_snas.testing.problems import unequal_problem
from nasbench_snas.testing.proofs import draw, joint_test, value_score

DRAWS = 2_000
NOISES = 2_000


def p_values(cls: type[Estimator], repetition: int) -> Iterator[tuple[str, float]]:
    """Yield a kind of test and its p-value."""
    kit = type("TestOne", (EstimatorConformance,), {"estimator": cls})()
    bench, seed = kit.bench(), 1_000 + repetition
    estimator = bench.estimator
    law = claim_of(estimator, "samples")
    hard = law != "state" and (law is not None or estimator.search_view == "hard")
    draws = draw(bench, DRAWS, seed=seed, replicates=DRAWS)
    if estimator.bias == "unbiased" and not estimator.enumerates:
        alpha, theta, value = target_of(bench)
        yield "alpha", joint_test(draws.alpha, alpha).p
        yield "theta", joint_test(draws.theta, theta).p
        yield "value", 2 * float(stats.norm.sf(abs(value_score(draws.value, value))))
        other = kit.bench(unequal_problem())
        if type(other.dist) is Categorical:
            yield "unequal", unequal_test(other, DRAWS, seed).p
    elif hard and estimator.has_theta_gradient and not estimator.enumerates:
        right = theta_of_law(bench, law_of(bench, law))
        yield "theta law", joint_test(draws.theta, right).p
    if hard:
        yield "samples", samples_p(bench, law, repetition)
    yield "hard", hard_test(bench, DRAWS, seed).p
    noise_law = claim_of(estimator, "noise")
    if noise_law is not None or type(estimator).noise is Estimator.noise:
        noise = bench.noise(NOISES, "repeated", seed=repetition)
        if tensors_in(noise):
            for part in uniforms_of(bench, noise, noise_law or "gumbel", NOISES):
                for name, p in uniform_p_values(part.reshape(NOISES, -1)).items():
                    yield f"noise: {name}", p


def theta_of_law(bench: Bench, law: torch.Tensor) -> torch.Tensor:
    """Return theta's gradient of the mean loss of architectures with probabilities ``law``."""
    z = enumerate_architectures(bench.dist.num_edges, bench.dist.num_operations)
    (right,) = torch.autograd.grad((law * bench.loss(z[None])[0]).sum(), bench.loss.theta)
    return right[0]


def samples_p(bench: Bench, law: Any, repetition: int) -> float:
    """Return the p-value of the weights for theta against the declared law, or that of ``p``."""
    copies = bench.dist.replicate(DRAWS)
    with torch.no_grad():
        noise = bench.estimator.noise(copies, DRAWS, stream(repetition, "repeated/samples"))
        weights = bench.estimator.weights(copies, noise)[:, 0].flatten(1)
    z = enumerate_architectures(bench.dist.num_edges, bench.dist.num_operations).flatten(1)
    laws = (law_of(bench, law), law_of(bench, "p"))
    return max(joint_test(weights.numpy(), own @ z).p for own in laws)


def main() -> None:
    """Print a row for every estimator and kind of test."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="", help="Estimators whose name contains it.")
    options = parser.parse_args()
    lines = ["| estimator | test | n | smallest p | p of uniformity |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    uniformity, started = [], time.process_time()
    for entry in Registry().estimators():
        if entry.origin != "built-in" or options.only not in entry.name:
            continue
        cls, found = Registry().estimator(entry.name), {}
        for repetition in range(options.repetitions):
            for kind, p in p_values(cls, repetition):
                found.setdefault(kind, []).append(p)
        for kind, values in found.items():
            uniform = float(stats.kstest(values, "uniform").pvalue)
            uniformity.append(uniform)
            row = f"| {entry.name} | {kind} | {len(values)} | {min(values):.2g} | {uniform:.2g} |"
            lines.append(row)
            print(row, flush=True)
    worst = min(uniformity) * len(uniformity)
    spent = time.process_time() - started
    lines += [
        "",
        f"{len(uniformity)} tests; smallest p of uniformity times their number: "
        f"{worst:.3f}; {spent:.0f} s of processor time.",
    ]
    print(lines[-1])
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
