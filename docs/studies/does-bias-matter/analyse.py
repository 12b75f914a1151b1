"""Makes results and figures of the study from the committed runs: ``python analyse.py``.

Reads ``data/`` beside this file (:mod:`arms`) and writes ``results.inc``, ``truth.inc`` and
``*.svg``. No run is started. Tests and measures are those of the registration,
``../does-bias-matter.md``.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from arms import BUDGET, HERE, arm, late_errors, planned, read_errors, read_runs
from explore import exploratory
from scipy import stats
from tables import estimators_table, markdown, number

from nasbench_snas.stats import holm, median_interval
from nasbench_snas.stats.reproducible import data_generator

RESAMPLES = 10_000


def rank_correlation(error: pd.Series, regret: pd.DataFrame) -> dict[str, float]:
    """Return Spearman's rho of error and mean regret over estimators, with p and an interval.

    Nothing (p = 1) where the errors or the mean regrets of all estimators are equal.

    Args:
        error: A value an estimator.
        regret: Estimator (rows) by seed (columns).
    """
    both = [name for name in error.dropna().index if name in regret.index]
    x, table = error[both].to_numpy(), regret.loc[both].to_numpy(dtype=float)
    means = np.nanmean(table, 1)
    if len(both) < 3 or np.ptp(x) == 0 or np.ptp(means) == 0:
        return _nothing(len(both))
    rho = float(stats.spearmanr(x, means).statistic)
    rng = data_generator(x, table)
    null = [stats.spearmanr(x, rng.permutation(means)).statistic for _ in range(RESAMPLES)]
    p = (1 + int((np.abs(null) >= abs(rho) - 1e-12).sum())) / (RESAMPLES + 1)
    draws = []
    for _ in range(RESAMPLES):
        rows = rng.integers(len(both), size=len(both))
        if np.ptp(x[rows]) == 0:
            continue  # one estimator only: no correlation
        seeds = rng.integers(table.shape[1], size=(len(both), table.shape[1]))
        drawn = np.nanmean(np.take_along_axis(table[rows], seeds, 1), 1)
        draws.append(stats.spearmanr(x[rows], drawn).statistic)
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return {"n": len(both), "value": rho, "low": float(low), "high": float(high), "p": p}


def exposure_difference(runs: pd.DataFrame) -> dict[str, float]:
    """Return one-hot minus mixture: medians over estimators of the mean child accuracy.

    An estimator none of whose runs has a child has no mean and is left out.
    """
    means = runs.groupby("estimator")["child_valid_acc"].mean().dropna()
    hard = exposure(runs).reindex(means.index).to_numpy() == 1
    values = means.to_numpy(dtype=float)
    if hard.all() or not hard.any():
        return _nothing(len(values))

    def difference(which: np.ndarray, of: np.ndarray) -> float:
        return float(np.median(of[which]) - np.median(of[~which]))

    rng = data_generator(values)
    value = difference(hard, values)
    null = [difference(rng.permutation(hard), values) for _ in range(RESAMPLES)]
    p = (1 + int((np.abs(null) >= abs(value) - 1e-12).sum())) / (RESAMPLES + 1)
    one, other = values[hard], values[~hard]
    draws = [
        np.median(rng.choice(one, one.size)) - np.median(rng.choice(other, other.size))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"n": len(values), "value": value, "low": float(low), "high": float(high), "p": p}


def exposure(runs: pd.DataFrame) -> pd.Series:
    """Return 1 for estimators that train theta on one-hot architectures, 0 on mixtures."""
    return (runs.groupby("estimator")["search_view"].first() == "hard").astype(int)


def _nothing(n: int) -> dict[str, float]:
    return {"n": n} | dict.fromkeys(("value", "low", "high"), math.nan) | {"p": 1.0}


def signed_ranks(difference: np.ndarray) -> float:
    """Return the two-sided p of Wilcoxon's signed ranks by all signs: exact with ties, too.

    Differences of zero are dropped, as Wilcoxon did.
    """
    found = difference[difference != 0]
    if found.size < 2:
        return 1.0

    def statistic(values: np.ndarray) -> float:
        return float(np.sign(values) @ stats.rankdata(np.abs(values)))

    every = stats.permutation_test(
        (found,), statistic, permutation_type="samples", n_resamples=math.inf
    )
    return float(every.pvalue)


def paired(runs: pd.DataFrame, column: str, first: str, second: str) -> dict[str, float]:
    """Return first minus second over shared seeds: median, its interval, p of signed ranks."""
    table = runs.pivot_table(index="seed", columns="estimator", values=column)
    if not {first, second} <= set(table):
        return _nothing(0)
    difference = (table[first] - table[second]).dropna().to_numpy(dtype=float)
    found = median_interval(difference) if difference.size else None
    return {
        "n": difference.size,
        "value": float(np.median(difference)),
        "low": found.low if found else math.nan,
        "high": found.high if found else math.nan,
        "p": signed_ranks(difference),
    }


def answer(row: dict[str, float], adjusted: float, sign: int, no: float) -> str:
    """Return yes, the opposite, no or open, as registered."""
    if adjusted <= 0.05 and abs(row["value"]) > 0:
        return "yes" if row["value"] * sign > 0 else "the opposite"
    return "no" if -no <= row["low"] and row["high"] <= no else "open"


def primary(runs: pd.DataFrame, errors: pd.DataFrame) -> str:
    """Return the table of the six hypotheses; one whose arms are not complete is not tested."""
    unit = pd.concat([arm(runs, "unit-core"), arm(runs, "unit-all")])
    darts = pd.concat([arm(runs, "darts-core"), arm(runs, "darts-all")])
    regret = unit.pivot_table(index="estimator", columns="seed", values="known_regret")
    late = late_errors(errors)
    tests = {
        "H1": (("unit-core", "unit-all"), lambda: rank_correlation(late["mse"], regret), 1, 0.3),
        "H2": (("unit-core", "unit-all"), lambda: rank_correlation(late["bias"], regret), 1, 0.3),
        "H3": (("darts-core", "darts-all"), lambda: exposure_difference(darts), 1, 5.0),
        "H4": (
            ("darts-core",),
            lambda: paired(arm(runs, "darts-core"), "child_gap", "snas", "darts"),
            -1,
            2.0,
        ),
        "H5": (
            ("unit-core",),
            lambda: paired(arm(runs, "unit-core"), "known_regret", "snas", "reinforce"),
            -1,
            5.5,
        ),
        "H6": (
            ("nasbench201-core",),
            lambda: paired(arm(runs, "nasbench201-core"), "known_regret", "snas", "random"),
            -1,
            0.5,
        ),
    }
    done = {
        name: test()
        for name, (arms, test, _, _) in tests.items()
        if all(len(arm(runs, item)) == planned(item) for item in arms)
        and (name not in ("H1", "H2") or len(late))
    }
    p = [done[name]["p"] if name in done else 1.0 for name in tests]
    rows = []
    for (name, (_, _, sign, no)), adjusted in zip(tests.items(), holm(p), strict=True):
        if name not in done:
            rows.append([name, "—", "—", "—", "—", "not yet run"])
            continue
        row = done[name]
        interval = f"[{number(row['low'])}, {number(row['high'])}]"
        told = answer(row, float(adjusted), sign, no)
        rows.append(
            [name, str(row["n"]), f"{number(row['value'])} {interval}", f"{row['p']:.2g}"]
            + [f"{adjusted:.2g}", f"**{told}**"]
        )
    note = (
        "" if len(done) == len(tests) else "\n\nHolm's method takes what is not yet run as p = 1."
    )
    if unknown := [f"`{name}`" for name in late.index[late["mse"].isna()]]:
        note += f"\n\nLeft out of H1 and H2, no interval of the bias: {', '.join(unknown)}."
    head = ["", "n", "value [95 % interval]", "p", "p (Holm, six)", "answer"]
    return markdown(head, rows) + note


def truth_table(runs: pd.DataFrame) -> str:
    """Return regret and tau of the core estimators in the arms whose truth is known."""
    arms = {
        "unit-core": "`snas-unit`, digits",
        "nasbench201-images": "`nasbench201`, images of CIFAR-10",
        "nasbench201-core": "`nasbench201`, digits",
    }
    parts = {name: arm(runs, name).groupby("estimator") for name in arms}
    head, rows = ["estimator"], []
    for name, words in arms.items():
        head += [f"{words}: n", "regret", "tau"] + (
            ["among the best"] if name == "unit-core" else []
        )
    for estimator in tomllib.loads((HERE / "unit-core.toml").read_text())["estimators"]:
        row = [f"`{estimator}`"]
        for name, grouped in parts.items():
            keys = ["known_regret", "known_tau"]
            if estimator not in grouped.groups:
                row += ["0", *["—"] * (3 if name == "unit-core" else 2)]
                continue
            found = grouped.get_group(estimator)
            row.append(str(len(found)))
            for key, digits in zip(keys, (1, 2), strict=True):
                values = found[key].dropna().astype(float)
                row.append(f"{number(values.mean(), digits)} ± {number(values.std(), digits)}")
            if name == "unit-core":
                row.append(f"{int(found['known_among_best'].astype(float).sum())} of {len(found)}")
        rows.append(row)
    return markdown(head, rows)


def draw(runs: pd.DataFrame, errors: pd.DataFrame, out: Path) -> list[str]:
    """Draw error against regret and child gap by exposure into ``out``; return what was drawn."""
    mpl.rcParams.update({"svg.hashsalt": "study", "font.size": 8, "svg.fonttype": "none"})
    drawn = []
    unit = pd.concat([arm(runs, "unit-core"), arm(runs, "unit-all")])
    late = late_errors(errors)
    if len(late) and len(unit):
        drawn.append(_saved(_error_figure(unit, late), out / "error-and-regret"))
    darts = pd.concat([arm(runs, "darts-core"), arm(runs, "darts-all")])
    if len(darts):
        drawn.append(_saved(_gap_figure(darts), out / "child-gap-and-exposure"))
    return drawn


def _error_figure(unit: pd.DataFrame, late: pd.DataFrame) -> plt.Figure:
    regret = unit.groupby("estimator")["known_regret"].mean()
    hard = exposure(unit)
    both = [name for name in late.index if name in regret.index]
    figure, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True, layout="constrained")
    for axis, key in zip(axes, ("bias", "mse"), strict=True):
        for value, marker, what in ((1, "o", "one-hot"), (0, "s", "mixture")):
            names = [name for name in both if hard[name] == value]
            x = late.loc[names, key].clip(lower=1e-3)
            axis.plot(x, regret[names], marker, ms=4, label=f"theta on {what}")
        axis.set_xscale("log")
        axis.set_xlabel("bias² / |g|²" if key == "bias" else f"MSE at {BUDGET:.0f} F / |g|²")
    axes[0].set_ylabel("mean regret (points)")
    axes[0].set_ylim(bottom=0)
    axes[1].legend()
    return figure


def _gap_figure(darts: pd.DataFrame) -> plt.Figure:
    order = darts.groupby("estimator")["child_gap"].median().sort_values().index
    hard = exposure(darts)
    figure, axis = plt.subplots(figsize=(7, 1 + 0.16 * len(order)), layout="constrained")
    for row, name in enumerate(order):
        gaps = darts.loc[darts["estimator"] == name, "child_gap"].astype(float)
        axis.plot(
            gaps, [row] * len(gaps), "o" if hard[name] else "s", ms=3, color=f"C{1 - hard[name]}"
        )
    axis.set_yticks(range(len(order)), list(order))
    axis.axvline(0, color="0.7", lw=0.8)
    axis.set_xlabel("child gap (points); discs: theta on one-hot architectures, squares: mixtures")
    return figure


def _saved(figure: plt.Figure, path: Path) -> str:
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
    return path.name


def arms_table(runs: pd.DataFrame) -> str:
    """Return how much of every arm is there."""
    rows = []
    for path in sorted(HERE.glob("*.toml")):
        if path.stem == "gradients":
            continue
        found = arm(runs, path.stem)
        failed = int((found["status"].astype(str) != "done").sum())
        hours = float(found["wall_s"].astype(float).sum()) / 3600
        rows.append(
            [f"`{path.stem}`", f"{len(found)} of {planned(path.stem)}", str(failed), f"{hours:.2f}"]
        )
    return markdown(["arm", "finished", "of them failed", "hours"], rows)


def main(out: Path = HERE) -> None:
    """Write ``results.inc``, ``truth.inc`` and the figures into ``out``."""
    runs, errors = read_runs(), read_errors()
    known = {
        "known_regret": ("regret (points)", 2),
        "known_tau": ("tau of the parent", 2),
        "child_valid_acc": ("child (%), inherited", 1),
        "child_valid_acc_recalibrated": ("recalibrated", 1),
        "child_gap": ("gap", 1),
    }
    own = {"own_bias_sq": ("bias² at its own end", 2), "own_cosine": ("cosine there", 2)}
    gap = {
        "child_gap": ("gap", 1),
        "search_valid_acc": ("search (%)", 1),
        "child_valid_acc": ("child (%), inherited", 1),
        "child_valid_acc_recalibrated": ("recalibrated", 1),
        "entropy": ("entropy (nats)", 2),
    }
    commits = sorted({str(sha)[:7] for sha in runs["git_sha"]})
    parts = [
        f"Code: commit {', '.join(commits)}; torch {', '.join(sorted(set(runs['torch'])))}.",
        arms_table(runs),
        "### Primary hypotheses",
        primary(runs, errors),
        "### `snas-unit`, digits: regret in our own table",
        estimators_table(pd.concat([arm(runs, "unit-core"), arm(runs, "unit-all")]), known | own),
    ]
    for name, head in (
        ("nasbench201-core", "`nasbench201`, searched on digits: published CIFAR-10 regret"),
        ("nasbench201-images", "`nasbench201`, searched on images of CIFAR-10: published regret"),
    ):
        if len(found := arm(runs, name)):
            parts += [f"### {head}", estimators_table(found, known)]
    darts = pd.concat([arm(runs, "darts-core"), arm(runs, "darts-all")])
    if len(darts):
        parts += ["### `darts-cnn`, digits: Table 1 of our own", estimators_table(darts, gap)]
    parts += exploratory(runs, errors, exposure)
    for name in draw(runs, errors, out):
        parts.append(f"```{{image}} does-bias-matter/{name}.svg\n```")
    (out / "results.inc").write_text("\n\n".join(parts) + "\n")
    (out / "truth.inc").write_text(truth_table(runs) + "\n")


if __name__ == "__main__":
    main()
