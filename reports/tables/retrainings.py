"""The retrainings of one row of Tables 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .baselines import relative
from .measure import mean_of
from .selection import Run, chance_level


@dataclass(frozen=True)
class Retrained:
    """The retrainings of one row: of one genotype, or of one estimator's cells.

    Attributes:
        label: Name of the row.
        selection: ``each seed`` or ``best of n``.
        runs: Finished retrainings.
        failed: Retrainings that ended without a result.
        paper: Whether they, and the searches they come from, were made with the paper's settings.
    """

    label: str
    selection: str
    runs: tuple[Run, ...]
    failed: tuple[Run, ...] = ()
    paper: bool = True

    @property
    def ids(self) -> tuple[str, ...]:
        """Run ids, those of the searches included."""
        every = (*self.runs, *self.failed)
        own = [str(run["run_id"]) for run in every]
        return tuple(dict.fromkeys([*own, *(str(r["parent_id"]) for r in every if r["parent_id"])]))

    @property
    def parent(self) -> str:
        """Id of a search it comes from; empty for genotypes."""
        return str((*self.runs, *self.failed)[0]["parent_id"] or "")

    @property
    def failed_ids(self) -> tuple[str, ...]:
        """Ids of the failed retrainings."""
        return tuple(str(run["run_id"]) for run in self.failed)

    @property
    def chance(self) -> float | None:
        """Top-1 error of guessing in percent; None if the number of classes is not known."""
        accuracy = chance_level((*self.runs, *self.failed))
        return None if accuracy is None else 100.0 - accuracy

    def groups(self, column: str) -> dict[str, dict[int, float | None]]:
        """Return search (or genotype) to retrain seed to value."""
        groups: dict[str, dict[int, float | None]] = {}
        for run in (*self.runs, *self.failed):
            key = str(run["parent_id"] or run["name"] or run["run_id"])
            value = None if run in self.failed else run[column]
            groups.setdefault(key, {})[int(run["retrain_seed"] or 0)] = (
                None if value is None else float(value)
            )
        return groups

    @property
    def accuracies(self) -> dict[int, float]:
        """Mean top-1 accuracy in percent of each cell over its finished retrainings."""
        means = [mean_of(values) for values in self.groups("test_err_top1").values()]
        return {i: 100.0 - mean for i, mean in enumerate(means) if mean is not None}


def sampled_means(measured: Sequence[Retrained]) -> dict[str, float]:
    """Return the mean accuracy of random sampling's cells by space, where there is one such row."""
    found: dict[str, list[float]] = {}
    for own in measured:
        run = (*own.runs, *own.failed)[0]
        if run["estimator"] == "random-sampling" and own.selection == "each seed":
            mean = mean_of(dict(own.accuracies))
            if mean is not None:
                found.setdefault(str(run["space"]), []).append(mean)
    return {space: means[0] for space, means in found.items() if len(means) == 1}


def improvement(own: Retrained, sampled: Mapping[str, float]) -> dict[int, float | None]:
    """Return the relative improvement over random sampling of each cell, percent; both retrained.

    Empty for genotypes, and where random sampling was not retrained in the same space.
    """
    base = sampled.get(str((*own.runs, *own.failed)[0]["space"]))
    if not own.parent or base is None:
        return {}
    return relative(own.accuracies, base)
