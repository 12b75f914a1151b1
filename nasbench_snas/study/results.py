"""The result of a study as plain containers, and its flat rows for tables."""

from __future__ import annotations

import io
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_snas.runs.folder import SCHEMA_VERSION, write_atomic
from nasbench_snas.stats.budget import Costed, mse_at_budget
from nasbench_snas.stats.gradient_summary import GradientSummary, summarise_groups
from nasbench_snas.study.cells import Cell
from nasbench_snas.study.settings import StudySettings


def plain(value: Any) -> Any:
    """Return ``value`` with numbers that are not finite as None, for JSON."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def cell_row(cell: Cell, settings: StudySettings) -> dict[str, Any]:
    """Return all statistics of a cell.

    The groups of coordinates (``edge e``, ``op k``) are there where the distribution has one logit
    for every edge and operation.
    """
    summaries = summarise_groups(cell.moments, cell.reference, confidence=settings.confidence)
    whole = summaries["all"]
    row = {
        "point": cell.point,
        "estimator": cell.variant.name,
        "label": cell.variant.label,
        "temperature": cell.variant.temperature,
        "parameters": cell.variant.parameters,
        "declared": cell.variant.bias,
        "n": cell.moments.n,
        "alpha": {name: asdict(summary) for name, summary in summaries.items()},
        **cell.extra,
    }
    cost = cell.cost
    row["budget"] = at_budget(whole, cost.equivalents, settings.budget)
    row["joint_budget"] = at_budget(whole, cost.joint_equivalents, settings.budget)
    return dict(plain(row))


def at_budget(summary: GradientSummary, cost: float, budget: float) -> dict[str, float]:
    """Return relative MSE and cosine of the mean of as many draws as the budget buys.

    ``cosine = <E g, g> / (|g| sqrt(|E g|² + trace c / B))``.

    Args:
        summary: Statistics of a draw.
        cost: Forward equivalents of a draw, ``c``.
        budget: ``B``.
    """
    square = summary.reference_norm**2
    if square == 0 or cost == 0:
        return {"budget": budget, "relative_mse": math.nan, "cosine": math.nan}
    bias, trace = summary.relative_bias_sq.estimate, summary.trace.estimate / square
    mse = mse_at_budget(Costed(bias, max(trace, 0.0), cost), budget)
    scale = summary.scale.estimate
    signal = bias - 1 + 2 * scale
    length = math.sqrt(max(signal, 0.0) + trace * cost / budget)
    cosine = scale / length if length > 0 else math.nan
    return {"budget": budget, "relative_mse": mse, "cosine": cosine}


def assemble(
    settings: StudySettings,
    sites: list[dict[str, Any]],
    cells: list[dict[str, Any]],
    skipped: dict[str, str],
    claims: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the result of a study."""
    return dict(
        plain(
            {
                "schema_version": SCHEMA_VERSION,
                "settings": settings.model_dump(mode="json"),
                "points": sites,
                "cells": cells,
                "skipped": skipped,
                "claims": claims,
                "rows": [row for cell in cells for row in flat_rows(cell)],
            }
        )
    )


def flat_rows(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one flat row for each set of coordinates of a cell, theta included."""
    sets = dict(cell["alpha"])
    if cell.get("theta"):
        sets["theta"] = cell["theta"]
    seconds = cell["cost"]["seconds"]
    rows = []
    for name, summary in sets.items():
        trace, bias = summary["trace"], summary["bias_sq"]
        rows.append(
            {
                "stage": "gradients",
                "point": cell["point"],
                "estimator": cell["estimator"],
                "label": cell["label"],
                "n_samples": summary["n"],
                "coord_set": name,
                "bias_l2": summary["bias"],
                "bias_se": summary["bias_se"],
                "bias_sq": bias["estimate"],
                "bias_sq_ci_lo": bias["low"],
                "bias_sq_ci_hi": bias["high"],
                "relative_bias_sq": summary["relative_bias_sq"]["estimate"],
                "excluded_relative_bias": summary["excluded_relative_bias"],
                "var_trace": trace["estimate"],
                "var_ci_lo": trace["low"],
                "var_ci_hi": trace["high"],
                "mse": summary["mse"]["estimate"],
                "cos_to_ref": summary["cosine"]["estimate"],
                "snr": summary["snr"]["estimate"],
                "ms_per_sample": 1000 * seconds,
                "var_x_time": None if trace["estimate"] is None else trace["estimate"] * seconds,
                "forward_equivalents": cell["cost"]["equivalents"],
            }
        )
    return rows


def merge_samples(file: Path, cells: list[Path]) -> None:
    """Write the block moments of all cells into one npz file: ``<point>/<cell>/<array>``."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for cell in cells:
        with np.load(cell, allow_pickle=False) as stored:
            for key in stored.files:
                arrays[f"{cell.parent.name}/{cell.stem}/{key}"] = stored[key]
    buffer = io.BytesIO()
    everything: dict[str, Any] = dict(arrays)
    np.savez(buffer, **everything)
    write_atomic(file, buffer.getvalue())
