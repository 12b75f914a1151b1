"""From names and options to a fully resolved run: every default written out, the run id fixed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.search.optimizers import alpha_defaults
from nasbench_snas.settings.parameters import resolve_parameters
from nasbench_snas.settings.run import Choice, RunConfig, resolve, validate
from nasbench_snas.settings.toml import read_toml


@dataclass(frozen=True)
class PlannedRun:
    """A run that could start now.

    Attributes:
        config: All settings.
        sources: Where each value came from.
        run_id: Name of its folder.
    """

    config: RunConfig
    sources: dict[str, str]
    run_id: str


def plan_run(
    registry: Registry,
    estimator: str,
    space: str,
    *,
    preset: str = "smoke",
    constraint: str = "none",
    seed: int = 0,
    file: Path | None = None,
    assignments: Iterable[str] = (),
) -> PlannedRun:
    """Resolve the settings of a run, its plug-ins' included.

    Raises:
        ConfigError: A setting is wrong.
        PluginError: An estimator or space is unknown or broken.
    """
    registry.entry("estimator", estimator)
    registry.entry("space", space)
    config, sources = resolve(
        estimator,
        space,
        preset=preset,
        constraint=constraint,
        seed=seed,
        file=file,
        assignments=assignments,
    )
    return complete(registry, config, sources)


def complete(registry: Registry, config: RunConfig, sources: dict[str, str]) -> PlannedRun:
    """Write out the defaults of the plug-ins and of alpha's optimiser.

    An estimator's own optimiser settings (ENAS) override a preset's, not the user's.
    """
    estimator_class = registry.estimator(config.estimator.name)
    space_class = registry.space(config.space.name)
    estimator = _choice(config.estimator, estimator_class, "estimator")
    space = _choice(config.space, space_class, "space")
    own = getattr(estimator_class, "optimizer_defaults", {})
    defaults = alpha_defaults(estimator_class)
    sources, alpha = dict(sources), {}
    for key, value in defaults.items():
        path = f"search.alpha.{key}"
        by_preset = sources.get(path, "default").startswith(("preset", "default"))
        current = getattr(config.search.alpha, key)
        if current is None or (key in own and by_preset):
            alpha[key] = value
            sources[path] = "estimator" if key in own else "paper"
    settings = config.search.alpha.model_copy(update=alpha)
    search = config.search.model_copy(update={"alpha": settings})
    updates = {"estimator": estimator, "space": space, "search": search}
    full = from_json(config.model_copy(update=updates))
    return PlannedRun(full, sources, full.run_id(estimator_class.version))


def from_json(config: RunConfig) -> RunConfig:
    """Return ``config`` after a round trip through JSON, so that equal settings compare equal."""
    return RunConfig.model_validate_json(config.model_dump_json())


def _choice(choice: Choice, cls: type[Any], where: str) -> Choice:
    return Choice(name=choice.name, **resolve_parameters(cls, choice.parameters, where))


def load_config(file: Path) -> RunConfig:
    """Return the settings in a run's ``config.toml``; raises :class:`ConfigError`."""
    values = read_toml(file)
    try:
        return validate(values)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error.what}", error.why, error.fix) from error
