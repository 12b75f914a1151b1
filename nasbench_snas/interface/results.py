"""What a search, a retraining or a study gives back: numbers by the names of the result schema.

The objects are frozen and hold what the run's ``result.json`` says; everything else of the run
(events, weights, cells) is read from its folder when it is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.errors import CheckpointError, ConfigError, suggest
from nasbench_snas.interface import figures
from nasbench_snas.outside import html_table, visible
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.rows import RowLoader
from nasbench_snas.runs.schema import Row, migrate, rule_in_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from nasbench_snas.supernet.child.network import ChildNetwork


@dataclass(frozen=True, kw_only=True, repr=False)
class _Result(ABC):
    """What all three have.

    Attributes:
        run_id: Name of the run.
        folder: Its folder.
        truncated: Whether it stopped early on purpose.
        record: All of ``result.json``.
    """

    run_id: str
    folder: Path
    truncated: bool
    record: Mapping[str, Any] = field(compare=False)

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Return the result of a run that has finished.

        Args:
            folder: Its folder.

        Raises:
            CheckpointError: It has not finished, is damaged, or is of another kind.
        """
        path = Path(folder)
        if not RunFolder(path).config_file.is_file():
            raise CheckpointError(
                f"{path} is no run's folder.",
                "A run's folder has a config.toml.",
                "The column `folder` of nasbench_snas.load_results(root) lists those of a store.",
            )
        found = RunFolder(path).result()
        if found is None:
            status = RunFolder(path).status().get("status", "queued")
            raise CheckpointError(
                f"{path} holds no result: the run is {status}.",
                fix="The call or command that began it continues it.",
            )
        record = migrate(found)
        if (kind := _kind_of(record)) is not cls:
            raise CheckpointError(
                f"{path} holds no {cls.__name__}.", f"It is read by {kind.__name__}.read."
            )
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {key: record.get(key) for key in known}
        if cls is not StudyResult:
            values["genotype"] = Genotype.from_dict(record["genotype"])
        values |= {"run_id": path.name, "folder": path, "record": record}
        return cls(**values)

    _stage = ""

    def __fspath__(self) -> str:
        """Return the folder: a result stands for it where a path is asked for."""
        return str(self.folder)

    def rows(self) -> list[Row]:
        """Return the rows of :func:`nasbench_snas.load_results` for this run."""
        return RowLoader().rows(self._stage, RunFolder(self.folder))

    def history(self) -> pd.DataFrame:
        """Return what was measured at the end of each epoch, one row an epoch."""
        import pandas as pd

        events = [e for e in RunFolder(self.folder).events() if e.get("kind") == "epoch"]
        plain = [
            {k: v for k, v in event.items() if not isinstance(v, list | dict) and k != "kind"}
            for event in events
        ]
        return pd.DataFrame(plain)

    @abstractmethod
    def _lines(self) -> list[tuple[str, str]]:
        """Return what is shown, by name."""

    def _title(self) -> str:
        return f"{self.run_id}{' (truncated)' if self.truncated else ''}"

    def __repr__(self) -> str:
        """Return the run and its numbers, one a line."""
        lines = [f"  {name:<18}{text}" for name, text in self._lines()]
        return visible("\n".join([f"{type(self).__name__} {self._title()}", *lines]))

    def _repr_html_(self) -> str:
        """Return the same as a table."""
        return html_table(self._lines(), caption=self._title())


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchResult(_Result):
    """A finished search.

    Attributes:
        estimator: Name of the estimator.
        space: Name of the space.
        dataset: Data set.
        preset: Preset.
        seed: Seed.
        search_valid_acc: Accuracy of the parent at the end of the search, percent.
        child_valid_acc: Accuracy of the derived child without retraining, percent.
        child_valid_acc_recalibrated: The same with batch-norm statistics measured anew.
        child_gap: Search accuracy minus child accuracy, percentage points.
        params: Parameters of the child in the search network.
        macs: Its multiply-adds for one image.
        expected_cost: Expected cost of the distribution relative to a uniform choice.
        genotype: The child.
        wall_s: Seconds of the search.
    """

    estimator: str
    space: str
    dataset: str
    preset: str
    seed: int
    search_valid_acc: float
    child_valid_acc: float
    child_valid_acc_recalibrated: float
    child_gap: float
    params: float
    macs: float
    expected_cost: float
    genotype: Genotype
    wall_s: float

    _stage = "search"

    def _lines(self) -> list[tuple[str, str]]:
        recalibrated = f"recalibrated {self.child_valid_acc_recalibrated:.2f} %"
        return [
            ("search accuracy", f"{self.search_valid_acc:.2f} %"),
            ("child accuracy", f"{self.child_valid_acc:.2f} % ({recalibrated}), not retrained"),
            ("gap", f"{round(self.child_gap, 2) + 0.0:+.2f} percentage points"),
            ("derived by", rule_in_words(self.record)),
            ("child's cost", f"{_cost(self.params, self.macs)}"),
            ("expected cost", f"{self.expected_cost:.2f} (1: a uniform choice)"),
            *_cells(self.genotype),
            ("time", f"{self.wall_s:.1f} s"),
            ("folder", str(self.folder)),
        ]

    def table(self) -> pd.DataFrame:
        """Return the child's accuracy derived in every way, one row a way, not retrained."""
        import pandas as pd

        return pd.DataFrame(self.record["child_matrix"])

    def figure(self, kind: str = "cells") -> Figure:
        """Return a figure of this search.

        Args:
            kind: ``cells`` (the child), ``progress`` (accuracy over epochs), ``entropy``, ``gap``
                or ``cost``.

        Raises:
            ConfigError: The kind is unknown.
        """
        return _figure(self, kind, _OF_SEARCH)

    def network(self, device: str = "cpu") -> ChildNetwork:
        """Return the child with the weights of the parent; see :func:`nasbench_snas.load`."""
        return _network(self.folder, device)


@dataclass(frozen=True, kw_only=True, repr=False)
class RetrainResult(_Result):
    """A network that was trained from scratch.

    Attributes:
        architecture: Name of the architecture.
        dataset: Data set.
        preset: Preset of the retraining.
        retrain_seed: Its seed.
        parent_id: Search that found the cells, or None.
        test_err_top1: Test error of the last epoch, percent.
        test_err_top5: Top-5 error, or None.
        params: Parameters.
        macs: Multiply-adds for one image.
        genotype: The cells.
        wall_s: Seconds.
    """

    architecture: str
    dataset: str
    preset: str
    retrain_seed: int
    parent_id: str | None
    test_err_top1: float
    test_err_top5: float | None
    params: float
    macs: float
    genotype: Genotype
    wall_s: float

    _stage = "retrain"

    def _lines(self) -> list[tuple[str, str]]:
        low, high = self.record["test_ci_top1"]
        interval = f"95 % interval of {self.record['test_images']} images: "
        interval += f"{100 - high:.2f} to {100 - low:.2f}"
        five = "" if self.test_err_top5 is None else f", top-5 {self.test_err_top5:.2f} %"
        return [
            ("test error", f"{self.test_err_top1:.2f} %{five} ({interval}), last epoch"),
            ("cost", _cost(self.params, self.macs)),
            ("found by", str(self.parent_id or "(no search)")),
            *_cells(self.genotype),
            ("time", f"{self.wall_s:.1f} s"),
            ("folder", str(self.folder)),
        ]

    def figure(self, kind: str = "cells") -> Figure:
        """Return a figure of the retraining: ``cells``; raises as :meth:`SearchResult.figure`."""
        return _figure(self, kind, {"cells": figures.cells})

    def network(self, device: str = "cpu") -> ChildNetwork:
        """Return the trained network; see :func:`nasbench_snas.load`."""
        return _network(self.folder, device)


@dataclass(frozen=True, kw_only=True, repr=False)
class StudyResult(_Result):
    """A study of gradients at points of real searches.

    Attributes:
        seconds: Seconds of the last call.
        skipped: Estimators that were left out, with the reason.
    """

    seconds: float
    skipped: Mapping[str, str] = field(compare=False)

    _stage = "gradients"

    def _lines(self) -> list[tuple[str, str]]:
        lines = [("space", str(self.record["settings"]["space"]["name"]))]
        for point in self.record["points"]:
            cells = [c for c in self.record["cells"] if c["point"] == point["point"]]
            shown = ", ".join(
                f"{cell['label']} {_number(cell['alpha']['all']['relative_trace']['estimate'])}"
                for cell in cells
            )
            lines.append((f"variance, {point['point']}", shown))
        lines += [("left out", f"{name}: {why}") for name, why in self.skipped.items()]
        return [*lines, ("folder", str(self.folder))]

    def table(self) -> pd.DataFrame:
        """Return one row for each estimator and point.

        Returns:
            Columns ``point``, ``estimator``, ``n`` (draws), ``bias2`` (debiased squared bias) with
            ``bias2_error``, ``variance`` (trace of the covariance of a draw), both in units of the
            squared length of the exact gradient, ``cosine`` of the mean draw to it, and ``cost`` of
            a draw in forward passes.
        """
        import pandas as pd

        rows = []
        for cell in self.record["cells"]:
            whole = cell["alpha"]["all"]
            rows.append(
                {
                    "point": cell["point"],
                    "estimator": cell["label"],
                    "n": cell["n"],
                    "bias2": whole["relative_bias_sq"]["estimate"],
                    "bias2_error": whole["relative_bias_sq"]["standard_error"],
                    "variance": whole["relative_trace"]["estimate"],
                    "cosine": whole["cosine"]["estimate"],
                    "cost": cell["cost"]["equivalents"],
                }
            )
        return pd.DataFrame(rows)

    def figure(self, kind: str = "bias-variance") -> Figure:
        """Return a figure of the study.

        Args:
            kind: ``bias-variance``, ``temperature``, ``training``, ``edges`` or ``compute``.

        Raises:
            ConfigError: The kind is unknown, or the study has too little for it.
        """
        return _figure(self, kind, _OF_STUDY)


_OF_SEARCH = {
    "cells": figures.cells,
    "progress": figures.search_progress,
    "entropy": figures.entropy,
    "gap": figures.child_gap,
    "cost": figures.cost_and_error,
}
_OF_STUDY = {
    "bias-variance": figures.bias_variance,
    "temperature": figures.temperature_sweep,
    "training": figures.over_training,
    "edges": figures.edge_bias,
    "compute": figures.error_against_compute,
}


def _figure(result: Any, kind: str, known: Mapping[str, Any]) -> Figure:
    if kind not in known:
        raise ConfigError(f"unknown figure {kind!r}.", suggest(kind, known))
    drawn: Figure = known[kind](result)
    return drawn


def _network(folder: Path, device: str) -> ChildNetwork:
    from nasbench_snas.evaluate.load import load

    return load(folder, device=device)


def _kind_of(record: Mapping[str, Any]) -> type[_Result]:
    if "cells" in record and "points" in record:
        return StudyResult
    return SearchResult if record.get("stage") == "search" else RetrainResult


def _cost(params: float | None, macs: float | None) -> str:
    return f"{_large(params)} parameters, {_large(macs)} multiply-adds"


def _large(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value:,.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _cells(genotype: Genotype) -> Sequence[tuple[str, str]]:
    return [
        (f"{name} cell", ", ".join(f"{e.operation} {e.source}→{e.target}" for e in cell.edges))
        for name, cell in genotype.cells.items()
    ]
