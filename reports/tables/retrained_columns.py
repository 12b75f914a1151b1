"""The columns of Tables 2 and 3: measured, their difference from print, constructed, published."""

from __future__ import annotations

from .model import CONSTRUCTED, DELTA, MEASURED, PUBLISHED, Column

_HEADS = {2: ["Test error (%)"], 3: ["Top-1 error (%)", "Top-5 error (%)"]}
_BRIEF = {2: ["Error (%)"], 3: ["Top-1 (%)", "Top-5 (%)"]}


def error_columns(table: int) -> dict[str, str]:
    """Return measured column to published column."""
    if table == 2:
        return {"test_err_top1": "test_error"}
    return {"test_err_top1": "top1_error", "test_err_top5": "top5_error"}


def retrained_columns(table: int, measured: bool, comparable: bool, sampled: bool) -> list[Column]:
    """Return the columns.

    Args:
        table: 2 or 3.
        measured: Whether anything was retrained.
        comparable: Whether any row has the settings of a published one.
        sampled: Whether there is random sampling to measure improvements against.
    """
    errors = list(zip(error_columns(table).items(), _HEADS[table], _BRIEF[table], strict=True))
    columns = [Column("architecture", "Architecture", numeric=False)]
    if measured:
        head = "Searches × retrainings"
        columns.append(Column("n", head, MEASURED, numeric=False, brief="n"))
        for (column, _), name, brief in errors:
            columns.append(Column(column, name, MEASURED, brief=brief))
        columns += [
            Column("params", "Params (M)", MEASURED),
            Column("macs", "×+ (M)", MEASURED, core=table == 3),
        ]
    if sampled:
        head = "Relative improvement over random sampling (%), retrained"
        columns.append(Column("relative_improvement", head, MEASURED, core=False))
    if comparable:
        for (column, _), name, brief in errors:
            columns.append(Column(f"delta_{column}", name, DELTA, brief=brief))
    columns += [
        Column("constructed_params_m", "Params (M)", CONSTRUCTED, core=False),
        Column("constructed_madds_m", "×+ (M)", CONSTRUCTED, core=False),
        Column("constructed_agreement", "Agrees", CONSTRUCTED, numeric=False, core=False),
    ]
    for (_, column), name, brief in errors:
        columns.append(Column(f"published_{column}", name, PUBLISHED, brief=brief))
    columns.append(Column("published_params_m", "Params (M)", PUBLISHED))
    if table == 3:
        columns.append(Column("published_madds_m", "×+ (M)", PUBLISHED))
    return [
        *columns,
        Column("published_gpu_days", "Search cost (GPU-days)", PUBLISHED, brief="GPU-days"),
        Column("published_method", "Search method", PUBLISHED, numeric=False, core=False),
        Column(
            "published_completeness",
            "NAS pipeline completeness",
            PUBLISHED,
            numeric=False,
            core=False,
        ),
    ]
