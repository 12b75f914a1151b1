"""From names and options to a fully resolved run: every default written out, the run id fixed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nasbench_snas.api import LossTransformer
from nasbench_snas.data.fingerprint import with_content
from nasbench_snas.data.settings import Part
from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.registry import Kind, Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.plugins import own_operations
from nasbench_snas.runs.provenance import source_hash
from nasbench_snas.search.criterion import completed
from nasbench_snas.search.optimizers import alpha_defaults
from nasbench_snas.search.policies import check_policy
from nasbench_snas.search.rules import rule_class
from nasbench_snas.settings.parameters import resolve_parameters
from nasbench_snas.settings.run import Choice, RunConfig, recorded, resolve
from nasbench_snas.settings.sources import bound
from nasbench_snas.settings.toml import read_toml

logger = logging.getLogger("nasbench_snas")


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
    parts: tuple[Part, ...] = ("train", "test") if config.data.protocol == "paper" else ("train",)
    data = with_content(bound(config.data, registry), parts)
    config = config.model_copy(update={"data": data})
    return complete(registry, config, sources)


def as_begun(registry: Registry, root: Path, plan: PlannedRun) -> PlannedRun:
    """Return the plan under the name that an earlier version began it with, if it did.

    Such a run had no selection part in search_valid, or did not record its images either; an
    unfinished one is continued as it is, a finished one is left alone and made anew.
    """
    if (root / plan.run_id / "config.toml").is_file():
        return plan
    whole = plan.config.child.model_copy(update={"selection_fraction": 0.0})
    unrecorded = plan.config.data.model_copy(update={"content": None})
    changes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("no selection part", {"child": whole}),
        ("no selection part, images not recorded", {"child": whole, "data": unrecorded}),
    )
    for lacking, change in changes:
        before = complete(registry, plan.config.model_copy(update=change), plan.sources)
        folder = RunFolder(root / before.run_id)
        if folder.config_file.is_file() and folder.status().get("status") != "done":
            logger.warning("%s was begun by an earlier version: %s", before.run_id, lacking)
            return before
    return plan


def complete(registry: Registry, config: RunConfig, sources: dict[str, str]) -> PlannedRun:
    """Write out the defaults of the plug-ins and of alpha's optimiser.

    An estimator's own optimiser settings (ENAS) override a preset's, not the user's.

    Raises:
        ConfigError: A setting is wrong.
        PluginError: A plug-in is unknown or broken.
    """
    check_policy(config.search)
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
    cost = completed(registry, config.cost)
    updates: dict[str, Any] = {"estimator": estimator, "space": space, "search": search}
    data = bound(config.data, registry)
    updates |= {"cost": cost, "data": data, **of_plugins(registry, config)}
    updates["versions"] |= {
        f"operation {name}": registry.plugin("operation", name).version
        for name in own_operations(registry, space)
    }
    full = from_json(config.model_copy(update=updates))
    full = full.model_copy(update={"data": data})
    return PlannedRun(full, sources, full.run_id(estimator_class.version))


def of_plugins(registry: Registry, config: RunConfig) -> dict[str, Any]:
    """Return the settings of derive rule, transformers and stops, written out, and their versions.

    Raises:
        ConfigError: A setting is wrong, or belongs to none of them.
        PluginError: One is unknown or broken.
    """
    child, versions = config.child, {}
    if child.rule == "declared" and child.parameters:
        raise ConfigError(
            "child.parameters are settings of a derive rule, and none was chosen.",
            fix="Choose it: --derive NAME (child.rule).",
        )
    if child.rule != "declared":
        rule = rule_class(registry, child.rule)
        values = resolve_parameters(rule, child.parameters, "child.parameters")
        child = child.model_copy(update={"parameters": _set(values)})
        if registry.is_plugin("rule", child.rule):
            versions[f"rule {child.rule}"] = rule.version
    criterion = config.cost.criterion
    if criterion is not None and registry.is_plugin("criterion", criterion):
        versions[f"criterion {criterion}"] = registry.criterion(criterion).version
    refuse_repeated(config)
    for name in config.transformers:
        refuse_level(registry.transformer(name), config)
    updates: dict[str, Any] = {"child": child}
    of_kind: tuple[tuple[Kind, tuple[str, ...], dict[str, Any]], ...] = (
        ("transformer", config.transformers, config.transformer),
        ("stop", config.stops, config.stop),
    )
    for kind, names, given in of_kind:
        updates[kind] = settings = {}
        for name in names:
            cls = registry.plugin(kind, name)
            if written := _set(resolve_parameters(cls, given.get(name, {}), f"{kind}.{name}")):
                settings[name] = written
            versions[f"{kind} {name}"] = cls.version
    return {**updates, "versions": versions}


def refuse_level(cls: type[LossTransformer], config: RunConfig) -> None:
    """Raise :class:`ConfigError` for a transformer that is not defined at the level of the run."""
    level = config.search.level
    if level not in cls.levels:
        raise ConfigError(
            f"transformer {cls.name!r} is not defined at the level {level}.",
            "It changes the loss of theta or of alpha alone; at the level joint one loss trains "
            "both."
            if level == "joint"
            else "",
            f"Choose --level {cls.levels[0]}, or leave the transformer out.",
        )


def refuse_repeated(config: RunConfig) -> None:
    """Raise :class:`ConfigError` for what is named twice, or has settings and is not named."""
    for kind, option, names, settings in (
        ("transformer", "--transform", config.transformers, config.transformer),
        ("stop", "--stop", config.stops, config.stop),
    ):
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"{kind} {twice!r} is named twice.", fix="Name each once.")
        if other := next((name for name in settings if name not in names), None):
            raise ConfigError(
                f"{kind}.{other} has settings, and no {kind} {other!r} is applied.",
                suggest(other, names) if names else "",
                f"Apply it: {option} {other}",
            )


def _set(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are set: unset is the same as absent, as in ``config.toml``."""
    return {key: value for key, value in values.items() if value is not None}


Rerun = Literal["none", "failed", "stale", "all"]


def must_repeat(registry: Registry, folder: RunFolder, config: RunConfig, rerun: str) -> bool:
    """Whether a run that has begun or finished is to be made anew.

    Args:
        registry: Where the estimator comes from.
        folder: The run's folder.
        config: Its settings.
        rerun: ``none``, ``failed`` (or diverged), ``stale`` (finished with another source of the
            estimator) or ``all``.
    """
    if rerun == "all":
        return True
    if rerun == "failed":
        return folder.ended_badly
    if rerun == "stale" and (result := folder.result()) is not None:
        current = source_hash(registry.estimator(config.estimator.name))
        return bool(result.get("estimator_source") != current)
    return False


def from_json(config: RunConfig) -> RunConfig:
    """Return ``config`` after a round trip through JSON, so that equal settings compare equal."""
    return RunConfig.model_validate_json(config.model_dump_json())


def _choice(choice: Choice, cls: type[Any], where: str) -> Choice:
    return Choice(name=choice.name, **resolve_parameters(cls, choice.parameters, where))


def load_config(file: Path) -> RunConfig:
    """Return the settings in a run's ``config.toml``; raises :class:`ConfigError`."""
    values = read_toml(file)
    try:
        return recorded(values)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error.what}", error.why, error.fix) from error
