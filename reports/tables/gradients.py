"""Tables of a gradient study: one row for each estimator, one table for each point.

Relative means over the squared length of the exact gradient. ``bias²`` is the debiased estimate
with its interval (it may be negative); the bound is the smallest relative bias that the draws
exclude at one-sided confidence. A cosine with a standard error above 0.15, or behind which a few
rare large draws stand, is not resolved (``n.r.``). The word "unbiased" is a declaration of the
method, never a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasbench_snas.outside import csv_line

Cells = Sequence[dict[str, Any]]

HEADERS = (
    "estimator",
    "n",
    "bias² / |g|² [CI]",
    "bias/SE",
    "bias <",
    "variance / |g|² [CI]",
    "cosine",
    "SNR",
    "F",
    "F joint",
    "MSE@B",
    "cos@B",
    "θ bias²",
    "ms",
    "arch. share",
)


def number(value: float | None, digits: int = 3) -> str:
    """Return ``value`` with significant digits, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}g}"


def cosine(values: dict[str, Any]) -> str:
    """Return a de-noised cosine, or ``n.r.`` where the draws do not resolve it."""
    error = values["standard_error"]
    rare = str(values.get("method", "")).startswith("not estimated")
    if rare or values["estimate"] is None or error is None or error > 0.15:
        return "n.r."
    return number(values["estimate"])


def interval(values: dict[str, Any]) -> str:
    """Return ``estimate [low, high]`` of an interval."""
    if values["estimate"] is None:
        return "–"
    if str(values.get("method", "")).startswith("not estimated"):
        return f"{number(values['estimate'])} (interval not estimated)"
    if values["low"] is None or values["low"] == values["high"]:
        return number(values["estimate"])
    low, high = number(values["low"], 2), number(values["high"], 2)
    return f"{number(values['estimate'])} [{low}, {high}]"


def point_names(result: dict[str, Any]) -> list[str]:
    """Return the points of a study in order."""
    return [str(point["point"]) for point in result["points"]]


def at_point(result: dict[str, Any], point: str) -> list[dict[str, Any]]:
    """Return the cells of a point, by relative MSE at the budget."""
    cells = [cell for cell in result["cells"] if cell["point"] == point]
    return sorted(cells, key=lambda c: (c["budget"]["relative_mse"] is None, mse(c)))


def mse(cell: dict[str, Any]) -> float:
    """Return the relative MSE at the budget, infinity where there is none."""
    value = cell["budget"]["relative_mse"]
    return float("inf") if value is None else float(value)


def row(cell: dict[str, Any]) -> list[str]:
    """Return the texts of one row of a table; columns as in ``HEADERS``."""
    a, cost = cell["alpha"]["all"], cell["cost"]
    theta, parts = cell.get("theta"), cell.get("decomposition")
    return [
        cell["label"],
        str(cell["n"]),
        interval(a["relative_bias_sq"]),
        number(a["bias_over_se"], 2),
        number(a["excluded_relative_bias"], 2),
        interval(a["relative_trace"]),
        cosine(a["cosine"]),
        number(a["snr"]["estimate"], 2),
        number(cost["equivalents"]),
        number(cost["joint_equivalents"]),
        number(cell["budget"]["relative_mse"]),
        number(cell["budget"]["cosine"], 2),
        number(theta["relative_bias_sq"]["estimate"], 2) if theta else "–",
        number(1000 * cost["seconds"], 2),
        number(parts["share"]["estimate"], 2) if parts else "–",
    ]


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def point_heading(point: dict[str, Any]) -> str:
    """Return one line about a point."""
    text = f"{point['point']}: normalised entropy {number(point['normalised_entropy'])}, "
    text += f"L(E[Z]) = {number(point['loss_of_mean'], 4)}"
    if point.get("expected_loss") is not None:
        text += f", E[L(Z)] = {number(point['expected_loss'], 4)}"
        text += f", sd L(Z) = {number(point['loss_std'])}, |g| = {number(point['gradient_norm'])}"
    return text


def study_markdown(result: dict[str, Any]) -> str:
    """Return all tables of a study as Markdown."""
    parts = []
    for point in result["points"]:
        cells = at_point(result, point["point"])
        parts.append(f"### {point_heading(point)}\n\n{markdown(HEADERS, [row(c) for c in cells])}")
    if result["claims"]:
        parts.append(claims_markdown(result))
    return "\n".join(parts)


def claims_markdown(result: dict[str, Any]) -> str:
    """Return the tables of the paper's claims."""
    gaps, taylor, objective, costs = [], [], [], []
    for claim in result["claims"]:
        for gap in claim["eq7"]:
            value = f"{number(gap['relative'])} ± {number(gap['standard_error'], 2)}"
            cells = [claim["point"], gap["loss"], gap["operation"], number(gap["tau"])]
            gaps.append([*cells, value, number(gap["cosine"])])
        hard = claim["eq7_hard_limit"]
        if hard:
            cells = [claim["point"], "cross-entropy", "all", "0 (exact)"]
            gaps.append([*cells, number(hard["relative"]), number(hard["cosine"])])
        for share in claim["taylor"]:
            edges = ", ".join(number(value, 2) for value in share["edges"])
            taylor.append([claim["point"], number(share["tau"]), number(share["share"]), edges])
        for cost in claim.get("cost", ()):
            bias = [number(cost[key]) for key in ("relative_bias_sq", "low", "high")]
            spread = [number(cost[key]) for key in ("relative_variance", "cosine")]
            shown = f"{bias[0]} [{bias[1]}, {bias[2]}]"
            costs.append([claim["point"], cost["kind"], str(cost["draws"]), shown, *spread])
        facts, darts = claim["objective"], claim["darts"]
        soft = "; ".join(
            f"{number(r['tau'])}: {number(r['mean'], 4)} ± {number(r['se'], 2)}"
            for r in facts["relaxed"]
        )
        objective.append(
            [
                claim["point"],
                number(facts["loss_of_mean"], 4),
                number(facts["expected_loss"], 4),
                number(darts.get("loss_of_mode"), 4),
                soft,
                number(darts.get("relative_bias")),
                number(darts.get("cosine")),
            ]
        )
    eq7 = ("point", "loss", "coordinates", "λ", "gap ± SE", "cosine")
    text = "### Eq. (7) against eq. (6)\n\n" + markdown(eq7, gaps)
    remainder = ("point", "λ", "remainder / credit (rms)", "edge by edge")
    text += "\n### Taylor remainder\n\n" + markdown(remainder, taylor)
    losses = ("point", "L(E[Z])", "E[L(Z)]", "L(argmax)", "E[L(Z_λ)] ± SE by λ")
    head = (*losses, "DARTS bias", "DARTS cos")
    text += "\n### Objectives and DARTS\n\n" + markdown(head, objective)
    forms = ("point", "gradient of E[C]", "n", "bias² [CI]", "variance", "cos")
    return text + "\n### Gradients of the expected cost\n\n" + markdown(forms, costs)


def rows_csv(result: dict[str, Any]) -> str:
    """Return the flat rows as CSV."""
    rows = result["rows"]
    names = list(rows[0]) if rows else []
    lines = [names, *([row.get(name) for name in names] for row in rows)]
    return "".join(map(csv_line, lines)) if rows else ""
