"""Settings of a search that takes a moment, and classes as a cell of a notebook defines them."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType
from typing import Any

import pytest

TINY: dict[str, Any] = {
    "data": {"dataset": "fake", "fake": {"channels": 1, "train_images": 80, "test_images": 20}},
    "search.epochs": 2,
    "search.batch_size": 16,
    "space.channels": 2,
    "child.samples": 1,
    "child.recalibration_images": 16,
}
ESTIMATOR = """
from nasbench_snas.api import Score

class Centred(Score):
    name = "centred"
    bias = "biased"

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        self.n = n

    def advantage(self, losses, loss, dist, z):
        return FACTOR * (losses - losses.mean(dim=1, keepdim=True))
"""


class Notebook:
    """A module without a file, whose cells are compiled as IPython compiles them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch, self._count = monkeypatch, 0
        self._module = ModuleType("notebook_of_a_test")
        monkeypatch.setitem(sys.modules, self._module.__name__, self._module)

    def run(self, text: str, *, remembered: bool = True) -> dict[str, Any]:
        """Run a cell and return the names of all cells.

        Args:
            text: The cell.
            remembered: Whether its text can be had afterwards, as IPython sees to.
        """
        self._count += 1
        name = f"/tmp/ipykernel_0/{self._count}.py"
        if remembered:
            entry = (len(text), None, text.splitlines(keepends=True), name)
            self._monkeypatch.setitem(linecache.cache, name, entry)
        exec(compile(text, name, "exec"), vars(self._module))
        return vars(self._module)
