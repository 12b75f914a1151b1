"""What the registration calls exploratory: tuned rates, constraint levels, further correlations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from arms import arm, planned
from scipy import stats
from tables import estimators_table, markdown, number

from nasbench_snas.stats import median_interval

RATES = ("0.003", "0.01", "0.03")
LEVELS = ("none", "mild", "moderate", "aggressive")


def tuning(runs: pd.DataFrame) -> pd.DataFrame:
    """Return mean search validation accuracy of the child (inherited) by estimator and rate.

    Empty until the three arms are complete.
    """
    parts = {rate: arm(runs, f"unit-tuning-{rate}") for rate in RATES}
    if any(len(found) < planned(f"unit-tuning-{rate}") for rate, found in parts.items()):
        return pd.DataFrame()
    means = {
        rate: found.groupby("estimator")["child_valid_acc"].mean() for rate, found in parts.items()
    }
    return pd.DataFrame(means)


def chosen_rates(means: pd.DataFrame) -> pd.Series:
    """Return the rate with the highest mean of every estimator, ties to 0.01, as registered."""
    order = ["0.01", "0.003", "0.03"]
    best = means[order].eq(means.max(axis=1), axis=0)
    return best.idxmax(axis=1)


def constraint_rows(runs: pd.DataFrame) -> list[list[str]]:
    """Return accuracy and size of children, and paired differences from no constraint."""
    snas = arm(runs, "darts-core")
    every = pd.concat([snas[snas["estimator"] == "snas"], arm(runs, "constraints")])
    by = {level: found.set_index("seed") for level, found in every.groupby("constraint")}
    rows = []
    for level in (level for level in LEVELS if level in by):
        found = by[level]
        cells = [level, str(len(found))]
        for key, scale, digits in (
            ("child_valid_acc", 1, 1),
            ("params", 1e-3, 2),
            ("macs", 1e-3, 1),
        ):
            values = found[key].astype(float) * scale
            cells.append(f"{values.mean():.{digits}f} ± {values.std():.{digits}f}")
        for key, scale in (("child_valid_acc", 1.0), ("macs", 1e-3)):
            cells.append(_paired(found[key] * scale, by["none"][key] * scale, level))
        rows.append(cells)
    return rows


def _paired(one: pd.Series, none: pd.Series, level: str) -> str:
    difference = (one - none).dropna().to_numpy(dtype=float)
    if level == "none" or not difference.size:
        return "—"
    interval = median_interval(difference)
    ends = f" [{interval.low:.1f}, {interval.high:.1f}]" if interval else ""
    return f"{np.median(difference):.1f}{ends}"


def correlations(errors: pd.DataFrame, runs: pd.DataFrame, hard: pd.Series) -> list[list[str]]:
    """Return Spearman's rho of several measures with mean regret, plain and given exposure.

    Args:
        errors: An estimator a row, a measure a column.
        runs: Of the arms on ``snas-unit``.
        hard: Exposure of theta, by estimator.
    """
    regret = runs.groupby("estimator")["known_regret"].mean()
    own = runs.groupby("estimator")[["own_bias_sq", "own_cosine", "entropy"]].mean()
    measures = errors.join(own, how="outer")
    rows = []
    for name, values in measures.items():
        both = values.dropna().index.intersection(regret.index)
        if len(both) < 4 or values[both].nunique() < 2:
            continue
        x, y = values[both].to_numpy(dtype=float), regret[both].to_numpy(dtype=float)
        given = hard.reindex(both).to_numpy(dtype=float)
        rho = float(stats.spearmanr(x, y).statistic)
        rows.append([str(name), str(len(both)), f"{rho:.2f}", number(partial(x, y, given))])
    return rows


def partial(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Return Spearman's partial correlation of x and y given a third; NaN if that is constant."""
    a, b, c = (stats.rankdata(v) for v in (x, y, given))
    if np.ptp(c) == 0:
        return math.nan
    r = np.corrcoef([a, b, c])
    below = math.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    return float((r[0, 1] - r[0, 2] * r[1, 2]) / below) if below > 1e-12 else math.nan


def exploratory(
    runs: pd.DataFrame, errors: pd.DataFrame, exposure: Callable[[pd.DataFrame], pd.Series]
) -> list[str]:
    """Return the tables of what was not registered as a hypothesis, as far as there are runs."""
    parts = []
    if len(arm(runs, "constraints")):
        head = [
            "level",
            "n",
            "child (%), inherited",
            "parameters (thousand)",
            "multiply-adds (thousand)",
        ]
        head += ["child minus none, paired", "multiply-adds minus none"]
        parts += ["### SNAS with a resource constraint", markdown(head, constraint_rows(runs))]
    unit = pd.concat([arm(runs, "unit-core"), arm(runs, "unit-all")])
    late = errors[errors["point"] == "late"]
    measures = (
        late.groupby("estimator")[["bias_any", "variance", "mse_any", "cos_to_ref"]].mean()
        if len(late)
        else pd.DataFrame()
    )
    if rows := correlations(measures, unit, exposure(unit)):
        head = ["measure", "estimators", "rho with mean regret", "given exposure"]
        parts += ["### Further rank correlations (`snas-unit`, exploratory)", markdown(head, rows)]
    means = tuning(runs)
    if len(means):
        chosen = chosen_rates(means)
        rows = [
            [f"`{name}`", *(number(value, 1) for value in row), chosen[name]]
            for name, row in means.iterrows()
        ]
        head = ["estimator", *(f"rate {rate}" for rate in means), "chosen"]
        parts += [
            "### Learning rate of alpha: child (%), inherited, seeds 500–504",
            markdown(head, rows),
        ]
    if len(found := arm(runs, "unit-tuned")):
        columns = {
            "known_regret": ("regret (points)", 2),
            "child_valid_acc": ("child (%), inherited", 1),
        }
        parts += [
            "### `snas-unit` at the chosen learning rate",
            estimators_table(found, columns),
            sensitivity(runs),
        ]
    return parts


def sensitivity(runs: pd.DataFrame) -> str:
    """Return in words how the order of the estimators changes with the learning rate."""
    means = [
        arm(runs, name).groupby("estimator")["known_regret"].mean()
        for name in ("unit-core", "unit-tuned")
    ]
    both = means[0].index.intersection(means[1].index)
    if len(both) < 4:
        return ""
    rho = stats.spearmanr(means[0][both], means[1][both]).statistic
    preset, tuned = (float(found[both].mean()) for found in means)
    return (
        f"Spearman's rho of the mean regrets of {len(both)} estimators, preset rate against chosen "
        f"rate: {rho:.2f}; mean regret {preset:.2f} against {tuned:.2f} points."
    )
