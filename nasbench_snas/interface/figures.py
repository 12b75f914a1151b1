"""Figures of results as matplotlib ``Figure`` objects: no file, no state of ``pyplot``.

``runs`` is a result of :func:`nasbench_snas.search`, a folder of a run, a run store, a table of
:func:`nasbench_snas.load_results` (or a part of it), or a list of any of these. What is drawn is
what a report shows. A figure shows itself in a notebook; elsewhere, ``figure.savefig("a.svg")``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.text import load_genotype
from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.functional import Comparison
from nasbench_snas.reports.draw.cell import draw_genotype
from nasbench_snas.reports.figures import files, gradients
from nasbench_snas.reports.tables.selection import select
from nasbench_snas.runs.folder import RunFolder, is_file
from nasbench_snas.runs.results import HasRows, load_rows
from nasbench_snas.runs.rows import RowLoader
from nasbench_snas.runs.schema import COLUMNS, Row
from nasbench_snas.settings.where import parse_where

__all__ = [
    "bias_variance",
    "cells",
    "child_gap",
    "cost_and_error",
    "edge_bias",
    "entropy",
    "error_against_compute",
    "over_training",
    "regret",
    "search_progress",
    "temperature_sweep",
]


class HasRecord(Protocol):
    """A result with its ``result.json``."""

    @property
    def record(self) -> Mapping[str, Any]:
        """The contents."""


Runs = HasRows | str | Path | pd.DataFrame | Iterable[Any]


def child_gap(runs: Runs, *, where: str = "") -> Figure:
    """Return search accuracy minus child accuracy: medians as bars, every seed as a dot.

    Args:
        runs: Searches; see the module.
        where: Selection of them, as after ``nasbench report --where``.

    Raises:
        ConfigError: They differ in more than estimator and seed; the message tells in what.
        DataError: There is no finished search among them.
    """
    return _of_searches("gap", runs, where)


def search_progress(runs: Runs, *, where: str = "") -> Figure:
    """Return search accuracy over epochs, seconds and images (Figure 3 of the paper).

    Arguments and errors are those of :func:`child_gap`.
    """
    return _of_searches("3", runs, where)


def entropy(runs: Runs, *, where: str = "") -> Figure:
    """Return the entropy of the architecture distribution over epochs (Figure 4 of the paper).

    Arguments and errors are those of :func:`child_gap`.
    """
    return _of_searches("4", runs, where)


def cost_and_error(runs: Runs, *, where: str = "") -> Figure:
    """Return error of the child against its parameters and multiply-adds.

    Arguments and errors are those of :func:`child_gap`.
    """
    return _of_searches("pareto", runs, where)


def regret(runs: Runs, *, where: str = "") -> Figure:
    """Return the regret over epochs and seconds, in a space of which all accuracies are known.

    Arguments and errors are those of :func:`child_gap`.
    """
    return _of_searches("regret", runs, where)


def cells(architecture: Genotype | str | Path | Any) -> Figure:
    """Return the cells of an architecture, as the paper draws them.

    Args:
        architecture: A result with a ``genotype``, a genotype, or what :func:`retrain` takes as
            one: a name of the zoo, a file or a text.

    Raises:
        GenotypeError: It is none of these.
    """
    found = getattr(architecture, "genotype", architecture)
    genotype = found if isinstance(found, Genotype) else load_genotype(str(found))
    return _shown(draw_genotype(genotype))


def bias_variance(study: HasRecord | Comparison) -> Figure:
    """Return squared bias against variance, relative to the exact gradient, with lines of equal
    error.

    Args:
        study: A result of :func:`nasbench_snas.study`, or of
            :func:`nasbench_snas.compare_gradients`.

    Raises:
        ConfigError: It has nothing to draw.
    """
    record = _of_comparison(study) if isinstance(study, Comparison) else study.record
    return _of_study(record, gradients.bias_variance, "bias and variance")


def temperature_sweep(study: HasRecord) -> Figure:
    """Return bias and variance against the temperature; raises as :func:`bias_variance`."""
    return _of_study(study.record, gradients.temperature_sweep, "three temperatures")


def over_training(study: HasRecord) -> Figure:
    """Return bias and variance over the training; raises as :func:`bias_variance`."""
    return _of_study(study.record, gradients.over_training, "two points of a training")


def edge_bias(study: HasRecord) -> Figure:
    """Return the relative bias by edge, at the last point; raises as :func:`bias_variance`."""
    return _of_study(study.record, gradients.edge_heat_map, "coordinates of edges")


def error_against_compute(study: HasRecord) -> Figure:
    """Return the error of a mean of draws against forward passes; raises as
    :func:`bias_variance`.
    """
    return _of_study(study.record, gradients.mse_against_compute, "draws")


def _of_searches(kind: str, runs: Runs, where: str) -> Figure:
    keep = parse_where(where, COLUMNS)
    groups, excluded = select([r for r in rows_of(runs) if keep(r)], include_truncated=True)
    if not groups:
        told = "; ".join(f"{e.run_id}: {e.why}" for e in excluded[:3])
        raise DataError("there is no finished search to draw.", told)
    if len(groups) > 1:
        raise ConfigError(
            f"the searches were made with {len(groups)} different settings: one figure each.",
            "They are: " + "; ".join(group.subject for group in groups),
            'Choose some, for example where="space=darts-cnn and preset=smoke".',
        )
    drawn = files.drawings(groups, [], (kind,))
    if not drawn:
        raise DataError(f"these searches lack what the figure shows: {groups[0].subject}.")
    return _shown(drawn[0].figure)


def rows_of(runs: Runs) -> list[Row]:
    """Return the rows of the table of results that ``runs`` stand for; see the module.

    Raises:
        ConfigError: ``runs`` is something else.
        DataError: A run store does not exist.
    """
    if isinstance(runs, HasRows):
        return runs.rows()
    if isinstance(runs, pd.DataFrame):
        return _of_frame(runs)
    if isinstance(runs, str | Path):
        path = Path(runs)
        if is_file(path / "config.toml"):
            return RowLoader().rows("search", RunFolder(path))
        return load_rows(path)
    if isinstance(runs, Iterable) and not isinstance(runs, Mapping):
        return [row for part in list[Any](runs) for row in rows_of(part)]
    raise ConfigError(
        f"cannot draw a {type(runs).__name__}.",
        "Expected results, folders of runs, a run store, a table of load_results, or a list.",
    )


def _of_frame(frame: pd.DataFrame) -> list[Row]:
    missing = sorted(set(COLUMNS) - set(map(str, frame.columns)))
    if missing:
        raise ConfigError(
            f"the table lacks the columns {', '.join(missing[:5])}{' …' if missing[5:] else ''}.",
            "Expected rows of nasbench_snas.load_results, with all their columns.",
        )
    columns = [
        [None if pd.isna(value) else value for value in frame[name].tolist()] for name in COLUMNS
    ]
    return [dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]


def _of_study(
    record: Mapping[str, Any], draw: Callable[[dict[str, Any]], Figure | None], needs: str
) -> Figure:
    with matplotlib.rc_context(gradients.STYLE):
        figure = draw(dict(record))
    if figure is None:
        raise ConfigError(f"the study is too small for this figure: it needs {needs}.")
    return _shown(figure)


def _of_comparison(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as a study with one point."""
    found = []
    for row in comparison.rows:
        resolved = row.bias2 > 2 * row.bias2_error
        bound = max(row.bias2, 0.0) + 2 * row.bias2_error
        whole = {
            "relative_trace": {"estimate": row.variance},
            "relative_bias_sq": {
                "estimate": row.bias2,
                "low": row.bias2 - 2 * row.bias2_error if resolved else None,
            },
            "excluded_relative_bias": bound**0.5,
        }
        found.append(
            {
                "point": f"{comparison.draws} draws",
                "estimator": row.estimator,
                "label": row.estimator,
                "temperature": None,
                "alpha": {"all": whole},
                "budget": {"relative_mse": row.bias2 + row.variance},
            }
        )
    return {"points": [{"point": f"{comparison.draws} draws"}], "cells": found}


def _shown(figure: Figure) -> Figure:
    """Return ``figure`` on white, and so that a notebook shows it (without pyplot it would not)."""
    figure.patch.set(facecolor="white", alpha=1.0)
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()
