"""The retrainings of one row of Tables 2 and 3."""

from __future__ import annotations

from dataclasses import dataclass

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
