"""How often the intervals of a gradient study cover what they are for.

``python benchmarks/coverage.py --folder FOLDER --out docs/figures/gradients/coverage.csv``: for
every pool of :mod:`coverage_pools`, :data:`STUDIES` studies of ``--n`` draws each are resampled and
summarised as a study is (:func:`nasbench_snas.stats.summarise_gradient`). A row holds

* ``expected``: effective draws of as many of the score-function gradient, from the exact law;
* ``given``, ``given_spread``: the shares of studies that give intervals of a square or direction,
  and of a spread; the others say that a few rare large draws rule the variance;
* for each quantity the share of intervals given that cover the truth;
* ``wrong``: the share of all studies whose interval of bias² or of the cosine misses.

Pools and rows are kept in FOLDER, one file each: a run that was stopped goes on. ``--part I/M``
takes every M-th row, so that M processes share the work.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from coverage_pools import Pool, pool, rows, share_at, slug

from nasbench_snas.registry import Registry
from nasbench_snas.stats import GradientMoments, Reference, summarise_gradient
from nasbench_snas.stats.gradient_summary import GradientSummary
from nasbench_snas.testing.problems import STEPS

STUDIES = 2_000
QUANTITIES = ("bias_sq", "bound", "cosine", "directional_bias", "scale", "trace", "mse", "snr")
SPREAD = QUANTITIES.index("trace")


def truths(pool: Pool) -> dict[str, float]:
    """Return what the intervals should cover."""
    delta, g2 = pool.mean - pool.gradient, float(pool.gradient @ pool.gradient)
    mean_sq = float(pool.mean @ pool.mean) - pool.error
    along, trace = float(pool.mean @ pool.gradient) / math.sqrt(g2), float(pool.spread[0])
    cosine, bias_sq = along / math.sqrt(mean_sq), float(delta @ delta) - pool.error
    return {
        "bias_sq": bias_sq,
        "bound": math.sqrt(max(bias_sq, 0.0) / g2),
        "cosine": min(cosine, 1.0),
        "directional_bias": math.sqrt(max(1 - cosine**2, 0.0)),
        "scale": along / math.sqrt(g2),
        "trace": trace,
        "mse": bias_sq + trace,
        "snr": math.sqrt(mean_sq / trace),
    }


def covers(summary: GradientSummary, truth: dict[str, float]) -> Iterator[float]:
    """Yield for each quantity whether its interval covers, up to rounding; NaN if not given."""
    for name in QUANTITIES:
        slack = 1e-7 * (1 + abs(truth[name]))
        low, high = -math.inf, summary.excluded_relative_bias
        if name != "bound":
            interval = getattr(summary, name)
            low, high = interval.low, interval.high
        if math.isnan(high):
            yield math.nan
        else:
            yield float(low - slack <= truth[name] <= high + slack)


def row(pool: Pool, n: int, share: float) -> dict[str, object]:
    """Return the row of one pool and one size of a study.

    Args:
        pool: The draws.
        n: Draws of a study.
        share: See :func:`coverage_pools.share_at`.
    """
    found: dict[str, object] = {"stage": pool.stage, "row": pool.label, "n": n, "truth": pool.how}
    if pool.how == "no noise":
        return found
    truth, reference = truths(pool), Reference.exact(pool.gradient, share)
    # the error of bias², as that of a square of a mean: 4 delta' S delta / M + 2 tr² / M² at most
    draws = float(pool.spread[0]) / pool.error if pool.error else math.inf
    error = math.sqrt(4 * float(pool.spread[1]) / draws + 2 * pool.error**2)
    found |= {"bias_sq_relative": truth["bias_sq"] / float(pool.gradient @ pool.gradient)}
    found |= {"error": error / float(pool.gradient @ pool.gradient), "cosine_true": truth["cosine"]}
    q = np.square(pool.draws - pool.mean).sum(axis=1)
    found["effective"] = n * q.mean() ** 2 / np.square(q).mean()
    found["expected"] = n * share
    rng, hits = np.random.default_rng(n), []
    for _ in range(STUDIES):
        moments = GradientMoments(len(pool.mean))
        moments.update(pool.draws[rng.integers(0, len(pool.draws), n)])
        hits.append(list(covers(summarise_gradient(moments, reference), truth)))
    table = np.array(hits)
    given = ~np.isnan(table)
    found |= {"given": given[:, 0].mean(), "given_spread": given[:, SPREAD].mean()}
    found["wrong"] = ((table[:, 0] == 0) | (table[:, 2] == 0)).mean()
    for index, name in enumerate(QUANTITIES):
        if given[:, index].any():
            found[name] = table[given[:, index], index].mean()
    return found


def main() -> None:
    """Make what is missing, and write the table of the rows that there are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--n", type=int, nargs="+", default=[512])
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--collect", action="store_true", help="Make nothing, write the table.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    registry, (index, parts) = Registry(), map(int, options.part.split("/"))
    cases = [(n, stage, v) for n in options.n for stage in STEPS for v in rows(registry)]
    found = []
    for number, (n, stage, variant) in enumerate(cases):
        file = options.folder / "rows" / f"{n}-{stage}-{slug(variant.label)}.json"
        if not file.exists() and number % parts == index and not options.collect:
            started = time.process_time()
            share = share_at(registry, stage, variant)
            values = row(pool(options.folder, registry, stage, variant), n, share)
            values["seconds"] = time.process_time() - started
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
            print(json.dumps(values), flush=True)
        if file.exists():
            found.append(json.loads(file.read_text()))
    print(f"{len(found)} of {len(cases)} rows", flush=True)
    if options.out and found:
        names = list(dict.fromkeys(key for values in found for key in values))
        with options.out.open("w", newline="") as out:
            writer = csv.DictWriter(out, names)
            writer.writeheader()
            for values in found:
                short = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in values.items()}
                writer.writerow(short)


if __name__ == "__main__":
    main()
