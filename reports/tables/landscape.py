"""Tables of a landscape comparison: the end, gradients, simulated seconds, points of the curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import MEASURED, MISSING, Column, Table, Value, text

_PAPER = (
    "The benchmark's paper gives its searches 12,000 seconds of 12-epoch trainings; the table "
    "holds full trainings only, so that none of these rows is the paper's protocol."
)
_NOTHING = 1e-12
"""Rounding of float64, in units of a squared length."""


def landscape_tables(result: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a comparison; the last one holds the points of the curves."""
    found = [_methods(result)]
    found += [_gradients(result)] if result["gradients"] else []
    found += [_seconds(result)] if result["by_seconds"] else []
    return [*found, _curves(result)]


def subject(result: Mapping[str, Any]) -> str:
    """Return what all rows share, in words."""
    settings = result["settings"]
    cost = settings["cost"]
    parts = [
        f"NAS-Bench-201, published validation accuracy on {settings['dataset']}",
        f"n = {len(settings['seeds'])} seeds",
    ]
    if cost != "none":
        parts.append(f"with {settings['eta']:g} times {cost} over their mean")
    return " · ".join(parts)


def counted(result: Mapping[str, Any]) -> str:
    """Return what a query is."""
    again = "again" if result["settings"]["repeats"] else "once"
    return f"An architecture that is looked up again counts {again}."


def label(method: Mapping[str, Any]) -> str:
    """Return a method's name, with a star where it sees the multilinear extension."""
    return f"{method['estimator']}{' *' if method['relaxed'] else ''}"


def _methods(result: Mapping[str, Any]) -> Table:
    columns = (
        Column("estimator", "Estimator", numeric=False),
        Column("family", "Family", numeric=False, core=False),
        Column("n", "n", core=False),
        Column("recommended", "Regret of the architecture it names", MEASURED, brief="Regret"),
        Column("median", "Its median", MEASURED, core=False),
        Column("best", "Regret of the best looked up", MEASURED, brief="Best seen"),
        Column("expected", "Expected regret", MEASURED, core=False),
        Column("look_ups", "Look-ups", MEASURED, core=False),
        Column("distinct", "Different ones", MEASURED, brief="Different"),
        Column("setting", "Tuned", numeric=False, core=False),
        Column("tuning", "Look-ups of the tuning", core=False),
    )
    rows = []
    for method in sorted(result["methods"], key=lambda m: m["curve"][-1]["recommended"]["mean"]):
        end = method["curve"][-1]
        tuned = dict(method["settings"])
        tuned |= {} if method["rate"] is None else {"rate": method["rate"]}
        rows.append(
            (
                text(label(method)),
                text(method["family"]),
                _number(method["n"], 0),
                _regret(end["recommended"]),
                _number(end["recommended"]["median"], 3),
                _regret(end["best"]),
                _regret(end["expected"]),
                _number(end["look_ups"], 0),
                _number(end["distinct"], 0),
                text(", ".join(f"{key} {value:g}" for key, value in tuned.items())),
                _number(method["tuning_budget"], 0),
            )
        )
    uniform = 100 * (result["table"]["mean_loss"] - result["table"]["lowest_loss"])
    notes = (
        "Regret in percentage points of the objective above the best of all 15,625 architectures, "
        f"mean with 95 % t interval; a uniformly drawn architecture has {uniform:.2f} on average. "
        "An estimator names its most probable architecture; random search and evolution the best "
        "they looked up.",
        f"{counted(result)} Every row had {result['settings']['queries']:,} queries a seed.",
        "* sees the multilinear extension of the table, which makes softmax mixtures exact, as no "
        "network does: these rows prove nothing about networks. An evaluation is counted as one "
        "query. `exact` reads the whole table at each step and is counted one a step: a reference.",
        f"Settings were tuned on {len(result['settings']['tuning_seeds'])} other seeds, "
        f"{result['tuning_queries']:,} queries for each method that has one to tune; the lowest "
        "mean at the end was taken.",
    )
    title = f"Landscape: regret after {result['settings']['queries']:,} queries"
    return Table("landscape", title, columns, tuple(rows), notes, subject(result), slug="landscape")


def _gradients(result: Mapping[str, Any]) -> Table:
    columns = [
        Column("estimator", "Estimator", numeric=False),
        Column("queries", "Queries a draw"),
    ]
    for share in result["points"]:
        place = f"{100 * share:g} %"
        columns += [
            Column(f"bias_{share:g}", f"Bias² at {place}"),
            Column(f"variance_{share:g}", f"Variance at {place}", brief=f"Var. at {place}"),
            Column(f"mse_{share:g}", f"MSE at {place}", core=False),
        ]
    relaxed = {method["estimator"]: method for method in result["methods"]}
    rows = []
    for name, points in result["gradients"].items():
        cells = [text(label(relaxed[name])), _number(points[0]["queries_per_draw"], 1)]
        for point in points:
            cells += [
                _short(point["bias_sq"], low=point["bias_sq_low"], high=point["bias_sq_high"]),
                _short(point["variance"]),
                _short(point["mse"]),
            ]
        rows.append(tuple(cells))
    draws = result["settings"]["draws"]
    notes = (
        f"In units of the exact gradient's squared length, n = {draws:,} draws. The points are on "
        "the exact gradient's own course, where the expected regret is so many percent of its "
        "start. Bias² has the noise of the mean taken off, so that it may be negative, with its "
        "95 % interval; variance and MSE are of one draw. Baselines have been warmed up at the "
        "point; temperatures stand at 0, 1/3, 2/3 and 1 of their schedules.",
    )
    title = "Landscape: gradients against the exact one"
    return Table(
        "landscape-gradients",
        title,
        tuple(columns),
        tuple(rows),
        notes,
        subject(result),
        slug="landscape-gradients",
    )


def _seconds(result: Mapping[str, Any]) -> Table:
    columns = [Column("estimator", "Estimator", numeric=False), Column("n", "n")]
    for budget in result["seconds_budgets"]:
        columns += [
            Column(f"best_{budget:g}", f"Regret at {budget:,.0f} s", MEASURED),
            Column(f"trained_{budget:g}", f"Networks at {budget:,.0f} s", MEASURED),
        ]
    rows = []
    for method in result["by_seconds"]:
        cells = [text(method["estimator"]), _number(method["n"], 0)]
        for point in method["curve"]:
            cells += [_regret(point["best"]), _number(point["look_ups"], 1)]
        rows.append(tuple(cells))
    mean = result["table"]["mean_seconds"]
    notes = (
        "Regret of the best architecture looked up (percentage points, mean with 95 % t interval) "
        "when every look-up costs the published seconds of its full training, "
        f"{mean:,.0f} s on average; settings tuned for {result['seconds_budgets'][-1]:,.0f} s on "
        "other seeds. "
        f"{counted(result)} A dash: not every seed could pay for one network.",
        _PAPER,
    )
    title = "Landscape: searches by simulated seconds of full training"
    return Table(
        "landscape-seconds",
        title,
        tuple(columns),
        tuple(rows),
        notes,
        subject(result),
        slug="landscape-seconds",
    )


def _curves(result: Mapping[str, Any]) -> Table:
    kinds = ("recommended", "best", "expected")
    columns = (
        Column("estimator", "Estimator", numeric=False),
        Column("budget", "Queries"),
        Column("look_ups", "Look-ups"),
        Column("distinct", "Different ones"),
        *(Column(kind, f"Regret, {kind}") for kind in kinds),
    )
    rows = [
        (
            text(method["estimator"]),
            _number(point["budget"], 0),
            _number(point["look_ups"], 1),
            _number(point["distinct"], 1),
            *(_regret(point[kind]) for kind in kinds),
        )
        for method in result["methods"]
        for point in method["curve"]
    ]
    title = "Landscape: regret along the way"
    return Table(
        "landscape-curves",
        title,
        columns,
        tuple(rows),
        (counted(result),),
        subject(result),
        slug="landscape-curves",
    )


def _number(value: float, decimals: int) -> Value:
    return Value(f"{value:,.{decimals}f}", float(value), numbers={"value": float(value)})


def _short(value: float, **ends: float) -> Value:
    shown = "0" if abs(value) < _NOTHING else f"{value:.3g}"
    return Value(shown, value, numbers={"value": value, **ends})


def _regret(value: Mapping[str, float] | None) -> Value:
    if value is None:
        return Value(MISSING)
    shown = f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    return Value(shown, value["mean"], numbers=dict(value), form="t-interval")
