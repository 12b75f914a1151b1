"""DARTS+: stop when a derived cell has too many skip connections.

After each epoch the cells are derived as at the end of the run, and the search ends when

    number of skip connections in a cell of stride 1  >=  limit.

The architecture is that of this epoch.

Reference: Liang et al. 2019, arXiv:1909.06035, section 3.2, criterion 1 ("two or more
skip-connects in one normal cell"). Deviation: every cell type of which a layer has stride 1
counts, whatever its name. Criterion 2 of the paper (the order of alpha is stable) is not offered.
"""

from __future__ import annotations

from nasbench_snas.api import EarlyStop, EpochState, Space, Verdict
from nasbench_snas.errors import ConfigError


class SkipCount(EarlyStop):
    """Ends a search at so many skip connections in a cell.

    Args:
        limit: Skip connections in one cell that end the search. Default 2.
        start: First epoch at which it may end. Default 1.

    Raises:
        ConfigError: A setting is below 1.
    """

    name = "skip-count"
    summary = "too many skip connections in a derived normal cell (DARTS+)"
    reference = "liang2019dartsplus"
    needs_derived = True

    def __init__(self, limit: int = 2, start: int = 1) -> None:
        for which, value in (("limit", limit), ("start", start)):
            if value < 1:
                raise ConfigError(f"stop.{self.name}.{which} must be at least 1, got {value}.")
        self.limit, self.start = limit, start

    def check(self, space: Space) -> None:
        """Refuse a space without skip connections, or of fewer edges than the limit."""
        skips = _skips(space)
        counted = self._counted(space)
        if not skips or not counted:
            raise ConfigError(
                f"stop {self.name} counts skip connections in cells of stride 1.",
                f"Space {space.name!r} has no {'such cell' if skips else 'skip connection'}.",
                "Leave the stop out, or choose another one: nasbench ls stops",
            )
        largest = max(len(_edges(space, cell)) for cell in counted)
        if self.limit > largest:
            raise ConfigError(
                f"stop.{self.name}.limit is {self.limit}: it could never be reached.",
                f"The cells of space {space.name!r} have at most {largest} edges.",
            )

    def decide(self, state: EpochState) -> Verdict | None:
        """Return a verdict where a cell has too many skip connections."""
        space = state.space
        counts = {
            cell: sum(
                int(state.derived[place])
                for place in _skips(space)
                if place[0] in _edges(space, cell)
            )
            for cell in self._counted(space)
        }
        for cell, count in counts.items():
            state.log(f"skips_{cell}", count)
        cell, most = max(counts.items(), key=lambda pair: pair[1])
        if most < self.limit or state.epoch < self.start:
            return None
        return Verdict(f"{most} skip connections in cell {cell!r}, limit {self.limit}")

    @staticmethod
    def _counted(space: Space) -> list[str]:
        """Return the cell types of which a layer has stride 1."""
        flat = {layer.cell for layer in space.layers if layer.kind == "cell" and layer.stride == 1}
        return [cell.name for cell in space.cells if cell.name in flat]


def _skips(space: Space) -> list[tuple[int, int]]:
    """Return where skip connections stand in an ``(E, K)`` tensor: (edge, column)."""
    return [
        (edge, k)
        for edge, row in enumerate(space.candidate_specs)
        for k, spec in enumerate(row)
        if spec.kind == "skip"
    ]


def _edges(space: Space, cell: str) -> range:
    """Return the rows of a cell type."""
    return range(space.rows[cell].start, space.rows[cell].stop)
