"""The presets as TOML files, what a run starts from, and how those of searches are read."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from nasbench_snas.errors import ConfigError, suggest


def preset_names() -> list[str]:
    """Return the names of the presets, from least to most work."""
    folder = resources.files("nasbench_snas.settings.presets")
    found = {f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")}
    found = {name for name in found if not name.startswith("retrain-")} - {"constraints"}
    order = ("smoke", "small", "paper")
    return [name for name in order if name in found] + sorted(found - set(order))


def load_preset(name: str) -> dict[str, Any]:
    """Return the preset ``name`` as nested settings; its ``spaces`` and ``about`` are kept."""
    if name not in preset_names():
        raise ConfigError(f"unknown preset {name!r}.", suggest(name, preset_names()))
    text = (
        resources.files("nasbench_snas.settings.presets")
        .joinpath(f"{name}.toml")
        .read_text("utf-8")
    )
    return tomllib.loads(text)


def load_constraint(constraint: str, space: str, preset: str) -> dict[str, Any]:
    """Return the cost settings of a calibrated level; empty for ``none``.

    Raises:
        ConfigError: The level has not been calibrated for this space and preset.
    """
    if constraint == "none":
        return {}
    file = resources.files("nasbench_snas.settings.presets").joinpath("constraints.toml")
    table = tomllib.loads(file.read_text("utf-8"))
    values = table.get(space, {}).get(preset, {}).get(constraint)
    if values is None:
        known = [f"{s}/{p}/{c}" for s, ps in table.items() for p, cs in ps.items() for c in cs]
        raise ConfigError(
            f"constraint {constraint!r} is not calibrated for {space!r} with preset {preset!r}.",
            f"Known: {', '.join(known)}",
            "Find eta with `nasbench calibrate`, then pass --set cost.eta=… beside the constraint.",
        )
    return {"cost": values}
