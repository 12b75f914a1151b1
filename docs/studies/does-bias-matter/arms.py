"""The committed runs of the study: its arms, what is known of each child, and gradient errors."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import nasbench_snas
from nasbench_snas.truth.published import published
from nasbench_snas.truth.unit import unit_table

HERE = Path(__file__).resolve().parent
BUDGET = 100.0  # forward equivalents
TRAJECTORIES = {1000, 1001, 1002}
PROGRESS = {"init": 0.0, "mid": 1 / 3, "late": 1.0}


def read_runs() -> pd.DataFrame:
    """Return the searches, one a row, with what is known of the child beside its accuracy."""
    packs = sorted(str(path) for path in (HERE / "data").glob("*.tar.xz"))
    runs = nasbench_snas.load_results(packs)
    ended = runs["status"].isin(["done", "diverged", "failed"])
    runs = runs[(runs["stage"] == "search") & ended].copy()
    found = [json.loads(text) if isinstance(text, str) else {} for text in runs["truth"]]
    known = [next(iter(item.get("datasets", {}).values()), {}) for item in found]
    for key in ("regret", "tau", "accuracy", "among_best"):
        runs[f"known_{key}"] = [item.get(key) for item in known]
    for key in ("bias_sq", "cosine", "loss"):
        runs[f"own_{key}"] = [item.get("exact", {}).get(key) for item in found]
    failed = runs["status"].astype(str) != "done"
    for space, worst in worst_regret().items():
        runs.loc[failed & (runs["space"] == space), "known_regret"] = worst
    return runs


def worst_regret() -> dict[str, float]:
    """Return the regret of the worst architecture of each table, points."""
    own, known = unit_table().means, published().mean("cifar10")
    return {"snas-unit": own.max() - own.min(), "nasbench201": known.max() - known.min()}


def arm(runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the finished runs of one arm, as its sweep file names them.

    Args:
        runs: Of :func:`read_runs`.
        name: Of the file, without its ending.
    """
    plan = tomllib.loads((HERE / f"{name}.toml").read_text())
    low, high = (int(part) for part in plan["seeds"].split("-"))
    changed = tomllib.loads("\n".join(plan["set"]))
    found = runs[
        runs["estimator"].isin(plan["estimators"])
        & (runs["space"] == plan["spaces"][0])
        & runs["seed"].between(low, high)
        & runs["constraint"].isin(plan.get("constraints", ["none"]))
        & ((runs["dataset"] == "imagefolder") == ("data" in changed))
        & (runs["settings_from"] == changed["settings_from"])
    ]
    rate = changed.get("search", {}).get("alpha", {}).get("lr")
    rates = found["alpha_settings"].map(lambda text: json.loads(text)["lr"])
    return found if rate is None else found[rates == rate]


def planned(name: str) -> int:
    """Return how many runs an arm has."""
    plan = tomllib.loads((HERE / f"{name}.toml").read_text())
    low, high = (int(part) for part in plan["seeds"].split("-"))
    return len(plan["estimators"]) * (high - low + 1) * len(plan.get("constraints", ["none"]))


def own_temperature(estimator: str, progress: float) -> float | None:
    """Return the temperature that an estimator's own schedule has; None without a schedule."""
    made = nasbench_snas.make_estimator(estimator)
    if not hasattr(made, "tau_start"):
        return None
    made.set_progress(progress)
    return float(made.tau)


def read_errors() -> pd.DataFrame:
    """Return bias², variance and MSE at the budget of every estimator, point and trajectory.

    Relative to the squared length of the exact gradient; of several temperatures the nearest to the
    estimator's own; penalties are left out. Without an interval ``bias`` and ``mse`` are NaN,
    ``bias_any`` and ``mse_any`` the estimates all the same.
    """
    parts = []
    for path in sorted((HERE / "data").glob("gradients-*.csv")):
        rows = pd.read_csv(path)
        rows = rows[(rows["coord_set"] == "all") & ~rows["label"].str.contains("penalty")].copy()
        rows["trajectory"] = int(path.stem.split("-")[-1])
        rows["point"] = rows["point"].str.split("/").str[-1]
        parts.append(rows)
    if not parts:
        return pd.DataFrame(columns=["estimator", "point", "bias", "variance", "mse"])
    rows = pd.concat(parts)
    length = rows["bias_sq"] / rows["relative_bias_sq"]
    rows["bias"] = rows["relative_bias_sq"]
    rows["variance"] = rows["var_trace"] / length
    rows["mse"] = (
        rows["bias"].clip(lower=0) + rows["variance"] * rows["forward_equivalents"] / BUDGET
    )
    rows["bias_any"], rows["mse_any"] = rows["bias"], rows["mse"]
    rows.loc[rows["bias_sq_ci_lo"].isna(), ["bias", "mse"]] = math.nan
    return pd.concat(_nearest(rows)) if len(rows) else rows


def late_errors(errors: pd.DataFrame) -> pd.DataFrame:
    """Return bias² and MSE of every estimator at ``late``, means over the trajectories.

    NaN where one has no interval of the bias; no row until all trajectories are there.
    """
    late = errors[errors["point"] == "late"]
    if len(late) and set(late["trajectory"]) != TRAJECTORIES:
        late = late.iloc[:0]
    grouped = late.groupby("estimator")[["bias", "mse"]]
    return grouped.mean().where(grouped.count().eq(grouped.size(), axis=0))


def _nearest(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for (estimator, point), found in rows.groupby(["estimator", "point"]):
        temperature = found["label"].str.extract(r"λ=([\d.e-]+)")[0].astype(float)
        if temperature.notna().any():
            own = own_temperature(str(estimator), PROGRESS[str(point)]) or 1.0
            distance = (np.log(temperature) - math.log(own)).abs()
            found = found[distance <= distance.min() + 1e-9]
        yield found
