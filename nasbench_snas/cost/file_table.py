"""The criterion ``table``: costs that stand in a file, such as a measured latency.

The file is JSON, as ``nasbench cost SPACE --measure-latency --out FILE`` writes it::

    {"format": "nasbench-cost-table-1", "unit": "ms",
     "edges": ["normal 0->2", …], "operations": ["none", …],
     "table": [[0.0, …], …], "outside": 1.2}

with one row of ``table`` for each edge and one column for each operation. More edges and operations
than a space has do no harm; missing ones are an error. ``sizes``, where it is given, says of which
network the numbers are, and another network is refused. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nasbench_snas.api import CostCriterion
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError

FORMAT = "nasbench-cost-table-1"


def sizes_of(space: Space) -> dict[str, Any]:
    """Return what decides the cost of an operation, besides its name, as plain JSON values."""
    return {
        "layers": [
            [layer.cell or layer.kind, layer.channels, layer.stride] for layer in space.layers
        ],
        "stem_channels": space.stem_channels,
        "in_channels": space.in_channels,
        "num_classes": space.num_classes,
        "resolution": space.resolution,
    }


class FileTable(CostCriterion):
    """Costs by edge and operation from a file.

    Args:
        file: The file.
    """

    name = "table"
    summary = "a table of numbers in a file, for example a measured latency"
    unit = "that of the file"
    places = ("file",)

    def __init__(self, file: str = "") -> None:
        self.file = file
        self._content: dict[str, Any] | None = None

    def fingerprint(self) -> str:
        """Return the digest of the numbers; comments in the file do not count."""
        content = self._read()
        plain = {key: content[key] for key in ("edges", "operations", "table", "outside")}
        text = json.dumps(plain, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def table(self, space: Space) -> list[list[float]]:
        """Return the rows of ``space``; see ``CostCriterion.table``."""
        content = self._read()
        if "sizes" in content and content["sizes"] != sizes_of(space):
            raise ConfigError(
                f"{self.file} is of another network than this space {space.name!r}.",
                f"The file says {content['sizes']}; here: {sizes_of(space)}.",
                "Measure again with the settings of the search, or take `sizes` out of the file "
                "if the numbers hold all the same.",
            )
        missing = [
            *(edge for edge in space.edge_names if edge not in content["edges"]),
            *(name for name in space.operations if name not in content["operations"]),
        ]
        if missing:
            raise ConfigError(
                f"{self.file} has no numbers for {', '.join(missing)} of space {space.name!r}.",
                f"Its operations: {', '.join(content['operations'])}.",
            )
        rows = [content["table"][content["edges"].index(edge)] for edge in space.edge_names]
        width = space.num_operations
        return [
            _padded([row[content["operations"].index(name)] for name in names], width)
            for row, names in zip(rows, space.candidates, strict=True)
        ]

    def outside(self, space: Space) -> float:
        """Return what the file says of stem, preprocessing and head."""
        return float(self._read()["outside"])

    def _read(self) -> dict[str, Any]:
        if self._content is None:
            self._content = _read(self.file)
        return self._content


def _padded(numbers: list[float], width: int) -> list[float]:
    """Return ``numbers`` with zeros for the operations that an edge does not have."""
    return numbers + [0.0] * (width - len(numbers))


def _read(file: str) -> dict[str, Any]:
    """Return the contents of a table's file.

    Raises:
        ConfigError: There is none, or it is of another form.
    """
    how = "nasbench cost SPACE --measure-latency --out FILE writes one."
    if not file:
        raise ConfigError("the criterion 'table' needs a file.", how, "cost.parameters.file=FILE")
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}.", how) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no JSON: {error}.", how) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(f"{file} is no table of costs.", f'Expected "format": "{FORMAT}".', how)
    content.setdefault("outside", 0.0)
    names = [content.get(key) for key in ("edges", "operations")]
    table = content.get("table")
    if not all(isinstance(part, list) and all(type(n) is str for n in part) for part in names):
        raise ConfigError(f"{file}: edges and operations must be lists of names.", how)
    rows = table if isinstance(table, list) else []
    sizes = [len(row) if isinstance(row, list) else -1 for row in rows]
    if sizes != [len(names[1] or ())] * len(names[0] or ()):
        raise ConfigError(
            f"{file}: its table must have {len(names[0] or ())} rows of {len(names[1] or ())} "
            "numbers.",
            "One row for each edge, one column for each operation.",
        )
    for what, entries in (("edges", names[0]), ("operations", names[1])):
        if twice := next((n for n in entries or () if (entries or []).count(n) > 1), None):
            raise ConfigError(f"{file}: {twice!r} stands twice in its {what}.", "Name each once.")
    for value in [content["outside"], *(number for row in rows for number in row)]:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{file}: {value!r} is no number.", "Costs are numbers from 0 on.")
    return content
