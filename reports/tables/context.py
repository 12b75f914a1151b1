"""What runs were made with: settings that differ from their preset, commands, versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasbench_snas.errors import NasbenchError
from nasbench_snas.settings.layers import flatten
from nasbench_snas.settings.run import from_toml, resolve

from .selection import Comparable

_OWN = ("estimator", "seed", "preset", "constraint", "checkpoint_seconds", "search.alpha.")
_SKIPPED = (
    "data.root",
    "data.cache_dir",
    "data.workers",
    "search.level",
    "search.unrolled",
    "cost.",
)


def changed_settings(found: Comparable) -> list[str]:
    """Return ``key=value (preset: value)`` for what the runs share and the preset does not say.

    The level and the constraint stand in the table already.
    """
    runs = found.runs
    if not runs:
        return []
    file = Path(str(runs[0]["folder"])) / "config.toml"
    try:
        config = from_toml(file.read_text(encoding="utf-8"))
        plain, _ = resolve(config.estimator.name, config.space.name, preset=found.preset)
    except (NasbenchError, OSError):
        return []
    ours, theirs = (_shared(c.model_dump(mode="json")) for c in (config, plain))
    return [
        f"{key}={_text(value)} (preset: {_text(theirs[key])})"
        for key, value in ours.items()
        if key in theirs and theirs[key] != value
    ]


def _shared(values: dict[str, Any]) -> dict[str, Any]:
    flat = flatten(values)
    return {k: v for k, v in flat.items() if not k.startswith(_OWN + _SKIPPED)}


def _text(value: Any) -> str:
    return "unset" if value is None else str(value)
