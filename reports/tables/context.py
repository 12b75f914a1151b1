"""How the settings of runs differ from their preset's: all of them, compared as a whole.

A run stands beside a published number only if its resolved configuration is that of the paper's
preset, value by value, for its estimator, space, constraint level and optimisation level. One that
cannot be read is never comparable.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from nasbench_snas.errors import NasbenchError, PluginError
from nasbench_snas.settings.layers import flatten
from nasbench_snas.settings.run import RunConfig, from_toml, resolve

from .selection import Comparable, Run, Variant

_FREE = (
    "seed",
    "checkpoint_seconds",
    "purpose",
    "settings_from",
    "search.level",
    "search.track_gradients",
    "search.track_truth",
)
_PATHS = ("data.root", "data.cache_dir", "data.workers", "data.content", "data.fingerprint")
_SEED = re.compile(r"^seed = [0-9]{1,9}(?=\s)", re.MULTILINE)
UNREADABLE = "its configuration cannot be read"


def run_changes(run: Run) -> tuple[str, ...]:
    """Return ``key=value (preset: value)`` for every setting of a run that is not its preset's.

    Seed, paths and the optimisation level (part of the row) are free. An unreadable configuration
    is a difference, too.
    """
    file = Path(str(run["folder"])) / "config.toml"
    try:
        text = file.read_text(encoding="utf-8")
        return _changes(without_seed(text))
    except (NasbenchError, OSError, UnicodeDecodeError):
        return (UNREADABLE,)


def without_seed(text: str) -> str:
    """Return the settings with seed 0: they are compared once for all seeds."""
    if text.startswith("["):
        return text
    head, table, rest = text.partition("\n[")  # tables have seeds of their own
    return _SEED.sub("seed = 0", head + "\n", count=1)[:-1] + table + rest


@cache
def _changes(text: str) -> tuple[str, ...]:
    """Return the changed settings of a ``config.toml``."""
    config = from_toml(text)
    plain, sources = resolve(
        config.estimator.name,
        config.space.name,
        preset=config.preset,
        constraint=config.constraint,
        assignments=[f'search.level="{config.search.level}"'],
    )
    ours = _flat(_completed(config, {}).model_dump(mode="json"))
    theirs = _flat(_completed(plain, sources).model_dump(mode="json"))
    return tuple(
        f"{key}={_text(ours.get(key))} (preset: {_text(theirs.get(key))})"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    )


def _completed(config: RunConfig, sources: dict[str, str]) -> RunConfig:
    """Return settings with all defaults; as they were recorded where a plug-in is not here."""
    from nasbench_snas.registry import Registry
    from nasbench_snas.search.plan import complete

    try:
        return complete(Registry(), config, sources).config
    except PluginError:
        return config


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in flatten(values).items() if k not in _FREE + _PATHS}


def _text(value: Any) -> str:
    return "unset" if value is None else str(value)


def variant_changes(variant: Variant) -> tuple[str, ...]:
    """Return what the runs of a row changed, each difference once."""
    found = [change for run in (*variant.runs, *variant.failed) for change in run_changes(run)]
    return tuple(dict.fromkeys(found))


def paper_search(run: Run) -> bool:
    """Whether a search was made with the paper's settings: preset, space, images, all values."""
    names = tuple(run[name] for name in ("preset", "space", "dataset"))
    return (
        names == ("paper", "darts-cnn", "cifar10") and not run["truncated"] and not run_changes(run)
    )


def changed_settings(found: Comparable) -> list[str]:
    """Return what rows of a table changed, row by row where they differ in it."""
    by_row = {variant.label: variant_changes(variant) for variant in found.variants}
    if len(set(by_row.values())) == 1:
        return list(next(iter(by_row.values())))
    return [f"{label}: {', '.join(c)}" for label, c in by_row.items() if c]
