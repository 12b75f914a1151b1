"""How often the intervals of tables cover, and how often tables claim what is not: by simulation.

Every cell of the simulation is one procedure on one law of accuracies with one number of rows and
seeds. Finished cells are in ``docs/statistics/simulated.csv`` and are not computed again, so a run
that was stopped continues; the page ``docs/table-statistics.md`` shows them.

    python benchmarks/table_statistics.py           # compute what is missing, write the page
    python benchmarks/table_statistics.py --page    # write the page only
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from scipy import stats as sps

from nasbench_snas.stats import (
    compare_family,
    detectable_difference,
    median_interval,
    performance_profile,
    smallest_sample,
    told_from_best,
)
from nasbench_snas.stats.bold import FEWEST
from nasbench_snas.stats.median import order
from nasbench_snas.stats.ranks import critical_range, scores

DOCS = Path(__file__).parents[1] / "docs"
CSV = DOCS / "statistics" / "simulated.csv"
PAGE = DOCS / "table-statistics.md"
REPLICATIONS = 2_000
LAWS = ("gaussian", "skewed", "bounded", "collapses 5 %", "collapses 10 %", "collapses 25 %")
TIED = "failed 10 %"
SCATTER, WORSE = "unequal scatter", "half are worse"
ONE_ARM, EQUAL_MEANS = "one arm collapses, equal medians", "one arm collapses, equal means"
BETA = (5, 2)


@dataclass(frozen=True)
class Cell:
    """One cell: what is measured, on which law, for how many rows and seeds."""

    what: str
    law: str
    rows: int
    n: int
    replications: int = REPLICATIONS

    @property
    def generator(self) -> np.random.Generator:
        words = f"{self.what}|{self.law}|{self.rows}|{self.n}"
        return np.random.default_rng(zlib.crc32(words.encode()))


def share_lost(law: str) -> float:
    """Return the share of collapsed (or failed) runs of a law."""
    return float(law.split()[1]) / 100 if law.endswith("%") else 0.0


def draw(law: str, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return accuracies in percent."""
    if law == "gaussian":
        return generator.normal(88, 1, size=shape)
    if law == "skewed":
        return 92 - generator.lognormal(1.0, 0.7, size=shape)
    kept = 86 + 4 * generator.beta(*BETA, size=shape)
    lost = generator.random(shape) < share_lost(law)
    collapsed = 10.0 if law == TIED else 10 + 5 * generator.random(shape)
    return np.where(lost, collapsed, kept)


def median_of(law: str) -> float:
    """Return the median of a law."""
    if law == "gaussian":
        return 88.0
    if law == "skewed":
        return 92 - math.exp(1.0)
    lost = share_lost(law)
    return float(86 + 4 * sps.beta.ppf((0.5 - lost) / (1 - lost), *BETA))


def mean_of(law: str) -> float:
    """Return the mean of a law."""
    if law == "gaussian":
        return 88.0
    if law == "skewed":
        return 92 - math.exp(1.0 + 0.7**2 / 2)
    lost = share_lost(law)
    collapsed = 10.0 if law == TIED else 12.5
    return (1 - lost) * (86 + 4 * BETA[0] / sum(BETA)) + lost * collapsed


def medians(cell: Cell) -> float:
    """Return how often the interval of a cell covers the median."""
    data = np.sort(draw(cell.law, cell.generator, (cell.replications, cell.n)))
    cut = order(cell.n, 0.95)
    if cut < 1:
        return math.nan
    truth = median_of(cell.law)
    return float(np.mean((data[:, cut - 1] <= truth) & (truth <= data[:, -cut])))


def medians_one_by_one(cell: Cell, interval: Callable = median_interval) -> float:
    """Return the same by the function that tables call, or by another one."""
    data = draw(cell.law, cell.generator, (cell.replications, cell.n))
    truth = median_of(cell.law)
    return float(np.mean([interval(sample).covers(truth) for sample in data]))


def t_of_means(cell: Cell) -> float:
    """Return how often Student's interval, which is not printed, covers the mean."""
    data = draw(cell.law, cell.generator, (cell.replications, cell.n))
    half = sps.t.ppf(0.975, cell.n - 1) * data.std(axis=1, ddof=1) / math.sqrt(cell.n)
    return float(np.mean(np.abs(data.mean(axis=1) - mean_of(cell.law)) <= half))


@cache
def shift_of(law: str) -> float:
    """Return what the collapsing arm gains on other seeds, so that medians (or means) are equal."""
    lost = 0.1
    if law == EQUAL_MEANS:
        centre = 86 + 4 * BETA[0] / sum(BETA)
        return lost * (centre - 12.5) / (1 - lost)
    generator = np.random.default_rng(0)
    gaps = np.subtract(*(86 + 4 * generator.beta(*BETA, size=(2, 4_000_000))))
    return float(np.quantile(gaps, 0.5 / (1 - lost)))  # P(X + shift > Y) = .5 / .9


def tables(cell: Cell) -> np.ndarray:
    """Return simulated tables, shape ``(replications, n, rows)``; the last rows are the best."""
    generator = cell.generator
    shape = (cell.replications, cell.n, cell.rows)
    if cell.law in (SCATTER, WORSE):
        data = generator.normal(88, 1, size=shape)
        half = data[..., : cell.rows // 2]
        half[...] = 88 + 2 * (half - 88) if cell.law == SCATTER else half - 1
        return data
    if cell.law in (ONE_ARM, EQUAL_MEANS):
        data = draw("bounded", generator, shape)
        lost = generator.random(shape[:2]) < 0.1
        collapsed = 10 + 5 * generator.random(shape[:2])
        data[..., 0] = np.where(lost, collapsed, data[..., 0] + shift_of(cell.law))
        return data
    return draw(cell.law, generator, shape)


def differences_claimed(cell: Cell) -> float:
    """Return how often some row is called different at 0.05 after Holm's adjustment.

    That is where the smallest p-value is at most 0.05 over the number of rows.
    """
    if cell.n < smallest_sample():
        return math.nan
    data = tables(cell)
    gaps = data[..., :-1] - data[..., -1:]
    more = np.maximum((gaps > 0).sum(axis=1), (gaps < 0).sum(axis=1))
    p = np.minimum(2 * sps.binom.sf(more - 1, cell.n, 0.5), 1.0)
    return float(np.mean(p.min(axis=1) * (cell.rows - 1) <= 0.05))


def differences_covered(cell: Cell) -> float:
    """Return how often all simultaneous intervals hold the median difference 0."""
    cut = order(cell.n, 1 - 0.05 / (cell.rows - 1))
    if cut < 1:
        return math.nan
    data = tables(cell)
    gaps = np.sort(data[..., :-1] - data[..., -1:], axis=1)
    held = (gaps[:, cut - 1] <= 0) & (gaps[:, -cut] >= 0)
    return float(np.mean(held.all(axis=1)))


def differences_one_by_one(cell: Cell, family: Callable = compare_family) -> tuple[float, float]:
    """Return both by the function that tables call, or by another one."""
    claims, held = [], []
    for table in tables(cell):
        rows = {f"row {j}": dict(enumerate(column)) for j, column in enumerate(table.T)}
        found = family(rows, f"row {cell.rows - 1}")
        claims.append(any(c.p_holm is not None and c.p_holm <= 0.05 for c in found))
        held.append(all(c.interval is None or c.interval.covers(0.0) for c in found))
    return float(np.mean(claims)), float(np.mean(held))


def best_called_worse(cell: Cell, told: Callable = told_from_best) -> float:
    """Return how often a row that nothing beats is told from the best."""
    if cell.n < FEWEST:
        return math.nan
    first = cell.rows // 2 if cell.law == WORSE else 0
    chosen = tables(cell)
    if told is told_from_best and cell.law != TIED:
        ranges = np.ptp(scores(np.argsort(np.argsort(chosen, axis=2), axis=2) + 1.0), axis=1)
        chosen = chosen[ranges >= critical_range(cell.n, cell.rows) - 1e-9]
    wrong = sum(any(i >= first for i in told(table)) for table in chosen)
    return wrong / cell.replications


@cache
def detectable(rows: int, n: int) -> float:
    """Return the printed detectable difference of Gaussian rows of scatter 1, median of 25."""
    generator = np.random.default_rng(rows * 100 + n)
    data = generator.normal(size=(25, n, rows))
    return float(np.median([detectable_difference(table) for table in data]))


def detectable_in_cell(cell: Cell) -> float:
    """Return it for a cell."""
    return detectable(cell.rows, cell.n)


def detected(cell: Cell) -> float:
    """Return how often a row that is worse by the printed detectable difference is told."""
    difference = detectable(cell.rows, cell.n)
    data = tables(cell)
    data[..., 0] -= difference
    return float(np.mean([0 in told_from_best(table) for table in data]))


def profiles(cell: Cell) -> float:
    """Return how often the band of a profile over two spaces holds the share above a score."""
    scores = cell.generator.random((cell.replications, 2, cell.n))
    bands = (performance_profile(list(pair), [0.3]) for pair in scores)
    return float(np.mean([band.low[0] <= 0.7 <= band.high[0] for band in bands]))


MEASURES: dict[str, Callable[[Cell], float]] = {
    "coverage: median of a cell": medians,
    "coverage: mean by Student's t (not printed)": t_of_means,
    "level: paired differences": differences_claimed,
    "coverage: simultaneous differences": differences_covered,
    "level: bold": best_called_worse,
    "detectable difference: bold": detectable_in_cell,
    "power: bold": detected,
    "coverage: profile": profiles,
}
COVERED, STUDENT, CLAIMED, SIMULTANEOUS, BOLD, DETECTABLE, POWER, PROFILE = MEASURES


def cells() -> Iterator[Cell]:
    """Yield every cell of the simulation."""
    for what, law, n in itertools.product(
        (COVERED, STUDENT), (*LAWS, TIED), (3, 4, 5, 6, 8, 10, 15, 20)
    ):
        yield Cell(what, law, 1, n)
    for what, law, rows, n in itertools.product(
        (CLAIMED, SIMULTANEOUS), (*LAWS, TIED), (3, 10, 31), (3, 5, 6, 8, 10, 20)
    ):
        yield Cell(what, law, rows, n)
    for what, law, n in itertools.product(
        (CLAIMED, SIMULTANEOUS), (ONE_ARM, EQUAL_MEANS), (6, 8, 10, 20)
    ):
        if (what, law) != (SIMULTANEOUS, EQUAL_MEANS):
            yield Cell(what, law, 2, n)
    for law, rows, n in itertools.product(
        (*LAWS, SCATTER, WORSE), (2, 3, 5, 10, 31), (3, 5, 6, 8, 10, 20)
    ):
        yield Cell(BOLD, law, rows, n)
    for rows, n in itertools.product((3, 5), (6, 8, 10)):  # ties have a law of each table's own
        yield Cell(BOLD, TIED, rows, n)
    for what, rows, n in itertools.product((DETECTABLE, POWER), (3, 5, 10, 31), (6, 8, 10, 20)):
        yield Cell(what, "gaussian", rows, n)
    for n in (3, 6, 10, 20):
        yield Cell(PROFILE, "uniform scores", 1, n)


HEAD = [*(field.name for field in fields(Cell)), "share"]


def known(path: Path = CSV) -> dict[Cell, float]:
    """Return the cells that are computed, in order; NaN where nothing is claimed."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {
        Cell(r["what"], r["law"], int(r["rows"]), int(r["n"]), int(r["replications"])): r["share"]
        for r in rows
    }
    return {cell: float(found[cell]) for cell in cells() if cell in found}


def compute(path: Path = CSV) -> None:
    """Compute the missing cells, each written as soon as it is known."""
    done = known(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        path.write_text(",".join(HEAD) + "\n", encoding="utf-8")
    for cell in cells():
        if cell in done:
            continue
        share = MEASURES[cell.what](cell)
        with path.open("a", encoding="utf-8", newline="") as file:
            row = asdict(cell) | {"share": f"{share:.4f}"}
            csv.DictWriter(file, HEAD, lineterminator="\n").writerow(row)
        print(cell, f"{share:.3f}", flush=True)


def pivot(found: dict[Cell, float], what: str, rows: bool) -> list[str]:
    """Return a Markdown table: laws (and numbers of rows) down, seeds across."""
    chosen = {(c.law, c.rows, c.n): share for c, share in found.items() if c.what == what}
    seeds = sorted({n for _, _, n in chosen})
    lines = ["| law |" + (" rows |" if rows else "") + "".join(f" n = {n} |" for n in seeds)]
    lines.append("| --- |" + (" ---: |" if rows else "") + " ---: |" * len(seeds))
    for law, count in dict.fromkeys((law, count) for law, count, _ in chosen):
        shares = (chosen.get((law, count, n)) for n in seeds)
        shown = ["" if s is None else "none" if math.isnan(s) else f"{s:.3f}" for s in shares]
        head = f"| {law} |" + (f" {count} |" if rows else "")
        lines.append(head + "".join(f" {text} |" for text in shown))
    return lines


def page(text: str, found: dict[Cell, float]) -> str:
    """Return the page with its tables replaced; each stands between two marks."""
    single = (COVERED, STUDENT, PROFILE)
    blocks = {what: pivot(found, what, what not in single) for what in MEASURES}
    for name, lines in blocks.items():
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(start)
        after = rest[rest.index(end) :]
        text = before + start + "\n" + "\n".join(lines) + "\n\n" + after
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="write the page only")
    if not parser.parse_args().page:
        compute()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), known()), encoding="utf-8")


if __name__ == "__main__":
    main()
