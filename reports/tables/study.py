"""Tables of a gradient study as the terminal shows them: one for each point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .gradients import at_point, cosine, number, point_heading
from .model import Column, Table, Value, slug, text


def study_tables(result: dict[str, Any]) -> list[Table]:
    """Return one table for each point, the best estimator at equal compute first."""
    budget = result["settings"]["budget"]
    columns = (
        Column("estimator", "estimator", numeric=False),
        Column("relative_bias_sq", "bias²"),
        Column("standard_error", "± SE"),
        Column("excluded_relative_bias", "bias <"),
        Column("relative_variance", "variance"),
        Column("cosine", "cos"),
        Column("equivalents", "F"),
        Column("relative_mse", f"MSE@{budget:g}F"),
        Column("n", "n", core=False),
        Column("theta_relative_bias_sq", "θ bias²", core=False),
    )
    meaning = (
        "bias², variance and MSE: over the squared length of the exact gradient; bias²: debiased, "
        "below zero by noise; bias <: what the draws exclude, the root of the end of bias²; cos: "
        "with the exact gradient (n.r.: not resolved); F: forward passes of a draw; "
        f"MSE@{budget:g}F: of the mean of as many draws as so many forward passes buy; n: draws"
    )
    return [
        Table(
            key="gradients",
            title=point_heading(point),
            columns=columns,
            rows=tuple(_row(cell) for cell in at_point(result, point["point"])),
            notes=(meaning,),
            slug=slug(f"study-{point['point']}"),
        )
        for point in result["points"]
    ]


def _row(cell: Mapping[str, Any]) -> tuple[Value, ...]:
    a, theta = cell["alpha"]["all"], cell.get("theta")
    return (
        text(cell["label"]),
        Value(number(a["relative_bias_sq"]["estimate"])),
        Value(number(a["relative_bias_sq"]["standard_error"], 2)),
        Value(number(a["excluded_relative_bias"], 2)),
        Value(number(a["relative_trace"]["estimate"])),
        Value(cosine(a["cosine"])),
        Value(number(cell["cost"]["equivalents"])),
        Value(number(cell["budget"]["relative_mse"])),
        Value(str(cell["n"])),
        Value(number(theta["relative_bias_sq"]["estimate"], 2) if theta else "–"),
    )
