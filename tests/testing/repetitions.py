"""Repeats the statistical tests on right estimators and looks at their p-values.

``python tests/testing/repetitions.py --out repetitions.md``: for every built-in estimator and every
kind of test, 200 repetitions with other seeds at a tenth of the draws of the slow checks. The
p-values of a right estimator are uniform: they are compared with the uniform law by
Kolmogorov-Smirnov, and the smallest is printed beside what is expected of so many.

* ``alpha``, ``theta``: Hotelling's test of unbiased estimators against the exact gradient;
* ``samples``: of the weights for theta against the declared law;
* ``noise``: Kolmogorov-Smirnov's of the noise against its declared law.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from scipy import stats

from nasbench_snas.api import Estimator
from nasbench_snas.registry import Registry
from nasbench_snas.seeding import stream
from nasbench_snas.testing import EstimatorConformance
from nasbench_snas.testing.bench import Bench, tensors_in
from nasbench_snas.testing.claims import claim_of
from nasbench_snas.testing.course import law_of
from nasbench_snas.testing.exact import enumerate_architectures
from nasbench_snas.testing.examine import target_of
from nasbench_snas.testing.noise import uniforms_of
from nasbench_snas.testing.proofs import draw, joint_test

DRAWS = 2_000
NOISES = 2_000


def p_values(cls: type[Estimator], repetition: int) -> Iterator[tuple[str, float]]:
    """Yield a kind of test and its p-value."""
    kit = type("TestOne", (EstimatorConformance,), {"estimator": cls})()
    bench = kit.bench()
    if bench.estimator.bias == "unbiased" and not bench.estimator.enumerates:
        draws = draw(bench, DRAWS, seed=1_000 + repetition, replicates=DRAWS)
        alpha, theta, _ = target_of(bench)
        yield "alpha", joint_test(draws.alpha, alpha).p
        yield "theta", joint_test(draws.theta, theta).p
    claim = claim_of(bench.estimator, "samples")
    if bench.estimator.search_view == "hard" and claim is None:
        yield "samples", samples_p(bench, repetition)
    law = claim_of(bench.estimator, "noise")
    if law is not None or type(bench.estimator).noise is Estimator.noise:
        noise = bench.noise(NOISES, "repeated", seed=repetition)
        if tensors_in(noise):
            for part in uniforms_of(bench, noise, law or "gumbel", NOISES):
                yield "noise", float(stats.kstest(part.flatten().numpy(), "uniform").pvalue)


def samples_p(bench: Bench, repetition: int) -> float:
    """Return the p-value of the weights for theta against ``p``."""
    copies = bench.dist.replicate(DRAWS)
    with torch.no_grad():
        noise = bench.estimator.noise(copies, DRAWS, stream(repetition, "repeated/samples"))
        weights = bench.estimator.weights(copies, noise)[:, 0].flatten(1)
    z = enumerate_architectures(bench.dist.num_edges, bench.dist.num_operations).flatten(1)
    return joint_test(weights.numpy(), law_of(bench, "p") @ z).p


def main() -> None:
    """Print a row for every estimator and kind of test."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = ["| estimator | test | n | smallest p | p of uniformity |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    uniformity, started = [], time.process_time()
    for entry in Registry().estimators():
        if entry.origin != "built-in":
            continue
        cls, found = Registry().estimator(entry.name), {}
        for repetition in range(options.repetitions):
            for kind, p in p_values(cls, repetition):
                found.setdefault(kind, []).append(p)
        for kind, values in found.items():
            uniform = float(stats.kstest(values, "uniform").pvalue)
            uniformity.append(uniform)
            row = f"| {entry.name} | {kind} | {len(values)} | {min(values):.2g} | {uniform:.3f} |"
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
