"""Tables of gradient studies and of searches on a space whose architectures are all tabulated."""

from __future__ import annotations

from collections.abc import Sequence

from . import rules
from .measure import count_value, failures_note, variant_value
from .model import MEASURED, MISSING, Column, Table, Value, slug, text
from .selection import Comparable, Run


def gradient_tables(rows: Sequence[Run]) -> list[Table]:
    """Return a table for each study and point: bias, variance and cost of every estimator.

    Coordinates are those of all architecture parameters; theta has a table of its own.
    """
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for row in rows:
        if row["stage"] == "gradients" and row["coord_set"] in ("all", "theta"):
            key = (str(row["run_id"]), str(row["coord_set"]), str(row["point"]))
            groups.setdefault(key, []).append(row)
    return [_gradients(key, members) for key, members in groups.items()]


_GRADIENT_COLUMNS = (
    ("n_samples", "Draws"),
    ("bias_l2", "|bias| ± SE"),
    ("bias_ci", "|bias|, CI of the study"),
    ("bias_over_se", "|bias| / SE"),
    ("excluded_relative_bias", "|bias| / |g| bound"),
    ("var_trace", "Variance (trace)"),
    ("var_ci", "Variance, CI"),
    ("mse", "MSE of a draw"),
    ("cos_to_ref", "Cosine to exact"),
    ("ms_per_sample", "ms per draw"),
    ("var_x_time", "Variance × s"),
    ("forward_equivalents", "Forward equivalents"),
)
_GRADIENT_BRIEF = {
    "bias_l2": "|bias| ± SE",
    "excluded_relative_bias": "|bias|/|g| <",
    "var_trace": "Variance",
    "cos_to_ref": "cos",
    "ms_per_sample": "ms",
}
"""Heads where room is short, of the columns that are shown there."""


def _gradients(key: tuple[str, str, str], rows: Sequence[Run]) -> Table:
    study, coordinates, point = key
    columns = (
        Column("estimator", "Estimator", numeric=False),
        *(
            Column(
                name,
                head,
                MEASURED,
                numeric=name not in ("bias_ci", "var_ci"),
                brief=_GRADIENT_BRIEF.get(name, ""),
                core=name in _GRADIENT_BRIEF,
            )
            for name, head in _GRADIENT_COLUMNS
        ),
    )
    body = []
    for row in sorted(rows, key=lambda r: str(r["label"] or r["estimator"])):
        body.append((text(str(row["label"] or row["estimator"]), runs=(study,)), *_numbers(row)))
    what = "architecture parameters" if coordinates == "all" else "theta"
    first = rows[0]
    notes = [
        "Everything is frozen at the point: theta, architecture parameters, minibatch; the "
        "reference is the exact gradient unless the study says otherwise. The interval of |bias| "
        "is the root of the study's interval of the squared bias, the bound that of its end.",
        rules.BIAS,
    ]
    if first["truncated"]:
        notes.insert(0, "The study was stopped by its time limit; draws differ between rows.")
    return Table(
        key="gradients",
        title=f"Gradient study at point {point}: gradient of {what}",
        columns=columns,
        rows=tuple(body),
        notes=tuple(notes),
        subject=" · ".join(
            [str(first["space"]), str(first["dataset"]), f"study {study}", f"seed {first['seed']}"]
        ),
        provisional=bool(first["truncated"]),
        slug=slug(f"gradients-{study}-{coordinates}-{point}"),
    )


def _numbers(row: Run) -> list[Value]:
    runs = (str(row["run_id"]),)
    bias, error = row["bias_l2"], row["bias_se"]
    ratio = bias / error if bias is not None and error else None
    spread = f"{_short(bias)} ± {_short(error)}" if error is not None else _short(bias)
    return [
        _value(row["n_samples"], runs, f"{row['n_samples']}"),
        Value(spread, bias, runs, numbers={"value": bias, "se": error}),
        _interval(row["bias_ci_lo"], row["bias_ci_hi"], runs),
        _value(ratio, runs),
        _value(row["excluded_relative_bias"], runs),
        _value(row["var_trace"], runs),
        _interval(row["var_ci_lo"], row["var_ci_hi"], runs),
        *(
            _value(row[name], runs)
            for name in ("mse", "cos_to_ref", "ms_per_sample", "var_x_time", "forward_equivalents")
        ),
    ]


def _short(value: float | None) -> str:
    """Return three significant digits."""
    return MISSING if value is None else f"{value:.3g}"


def _value(value: float | None, runs: tuple[str, ...], shown: str = "") -> Value:
    if value is None:
        return Value(MISSING, None, runs)
    return Value(shown or _short(value), float(value), runs, numbers={"value": float(value)})


def _interval(low: float | None, high: float | None, runs: tuple[str, ...]) -> Value:
    if low is None or high is None:
        return Value(MISSING, None, runs)
    return Value(f"[{_short(low)}, {_short(high)}]", low, runs, numbers={"low": low, "high": high})


def tabular_table(group: Comparable, *, confidence: float = 0.95) -> Table | None:
    """Return regret and rank correlation against tabulated truth; None where no run has them."""
    known = any(
        run[name] is not None for run in group.runs for name in ("test_regret", "rank_correlation")
    )
    if not known:
        return None
    heads = {
        "test_regret": "Regret (% points)",
        "rank_correlation": "Rank correlation of parent and stand-alone accuracy",
    }
    columns = (
        Column("estimator", "Estimator", numeric=False),
        Column("n", "n"),
        *(Column(name, head, MEASURED) for name, head in heads.items()),
    )
    rows = []
    for variant in group.variants:
        label = variant.label + (" †" if group.provisional else "")
        cells = [variant_value(variant, name, confidence=confidence) for name in heads]
        rows.append((text(label, runs=variant.ids), count_value(variant), *cells))
    notes = (
        "Regret: best stand-alone test accuracy in the table minus the derived architecture's. "
        "Rank correlation: Kendall's tau over the tabulated architectures, validation accuracy "
        "with the parent's weights against that of stand-alone training.",
        *failures_note(group.variants),
        rules.CELL,
        rules.UNIT,
        *((rules.APART,) if group.provisional else ()),
    )
    return Table(
        key="tabular",
        title="Against tabulated truth: regret and rank correlation",
        columns=columns,
        rows=tuple(rows),
        notes=notes,
        subject=group.subject,
        provisional=group.provisional,
        slug=f"tabular-{group.slug}",
    )
