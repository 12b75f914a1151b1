"""The plug-ins that a run used: recorded by name, version and digest, compared when it goes on.

Nothing in a folder makes code run. A plug-in comes from ``--plugin``, ``NASBENCH_PLUGINS``, the
entry point of an installed package or ``register``; the record says which one the run had. The
digest is of the source file, and no part of a run's identity.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable
from typing import Any

from nasbench_snas.api import RULES
from nasbench_snas.architecture.operations import is_known
from nasbench_snas.data.catalogue import CATALOGUE
from nasbench_snas.errors import CheckpointError, ConfigError, PluginError
from nasbench_snas.registry import BUILT_IN, KINDS, Entry, Kind, Registry
from nasbench_snas.runs.binding import digest_of
from nasbench_snas.runs.folder import RunFolder, read_json
from nasbench_snas.runs.provenance import class_source, file_of
from nasbench_snas.settings.parameters import create
from nasbench_snas.settings.run import Choice
from nasbench_snas.settings.toml import read_toml

logger = logging.getLogger("nasbench_snas")
_ALWAYS: tuple[Kind, ...] = ("estimator", "space")
_BUILT_IN: dict[Kind, Container[Any]] = {
    "dataset": (None, *CATALOGUE),
    "rule": (None, "declared", *RULES),
}


def plugin_record(registry: Registry, kind: Kind, name: str) -> dict[str, Any]:
    """Return the record of a plug-in: kind, name, version, digest and origin.

    Raises:
        PluginError: It is unknown or broken.
    """
    entry = registry.entry(kind, name)
    cls = registry.plugin(kind, name)
    return {
        "kind": kind,
        "name": name,
        "version": getattr(cls, "version", None),
        "digest": source_digest(entry),
        "origin": entry.origin,
    }


def used_plugins(registry: Registry, used: Iterable[tuple[Kind, str]]) -> list[dict[str, Any]]:
    """Return the records of what a run uses: estimator and space, and whatever is not built in.

    Args:
        registry: What is here.
        used: Kind and name of everything that the run names.

    Raises:
        PluginError: One is unknown or broken.
    """
    return [
        plugin_record(registry, kind, name)
        for kind, name in dict.fromkeys(used)
        if kind in _ALWAYS or registry.is_plugin(kind, name)
    ]


def own_operations(registry: Registry, space: Choice) -> tuple[str, ...]:
    """Return the operations of a space's setting ``operations`` that are plug-ins.

    Those that a space of one's own names nowhere but in its code are not known here.
    """
    made = create(registry.space(space.name), space.parameters, "space")
    named = getattr(made, "operations", ())
    return tuple(name for name in named if registry.is_plugin("operation", name))


def recorded_plugins(folder: RunFolder) -> list[dict[str, Any]]:
    """Return what the last start of a run recorded; else what its settings name, without digests.

    A folder whose files cannot be read has recorded nothing.
    """
    try:
        last = read_json(folder.path / "env.json")[-1]
        found = [dict(used) for used in last["plugins"]]
        if all(used["kind"] in KINDS and isinstance(used["name"], str) for used in found):
            return found
    except (CheckpointError, LookupError, TypeError, ValueError):
        pass
    try:
        settings = read_toml(folder.config_file)
        named: list[tuple[Kind, Any]] = [
            *((kind, settings[kind]["name"]) for kind in _ALWAYS if kind in settings),
            ("dataset", settings.get("data", {}).get("dataset")),
            ("rule", settings.get("child", {}).get("rule")),
            *(("transformer", name) for name in settings.get("transformers", ())),
            *(("stop", name) for name in settings.get("stops", ())),
        ]
        return [
            {"kind": kind, "name": str(name)}
            for kind, name in named
            if kind in (*_ALWAYS, "transformer", "stop") or name not in _BUILT_IN[kind]
        ]
    except (ConfigError, LookupError, TypeError):
        return []


def check_plugins(
    folder: RunFolder,
    registry: Registry,
    kinds: Iterable[Kind] = KINDS,
    *,
    built_in: bool = False,
) -> None:
    """Say which plug-ins of a run are not the ones that it used; operations then are known.

    Args:
        folder: The run.
        registry: What is here.
        kinds: The kinds that are needed.
        built_in: Whether another source of a built-in one is said, too.

    Raises:
        PluginError: One is not here; the message says how to give it.
    """
    registry.offer_operations()
    for used in recorded_plugins(folder):
        if used["kind"] not in kinds:
            continue
        try:
            entry = registry.entry(used["kind"], used["name"])
        except PluginError as error:
            raise _missing(folder, used) from error
        now, before = source_digest(entry), used.get("digest")
        if before and now and before != now and (built_in or entry.origin != BUILT_IN):
            logger.warning(
                "run %s used %s; here is another one: digest %s (%s)",
                folder.run_id,
                _told(used),
                now,
                entry.origin,
            )


def check_operations(folder: RunFolder) -> None:
    """Say which operation of a run's cells is not here: before they are read.

    Raises:
        PluginError: One is not here; the message says how to give it.
    """
    for used in recorded_plugins(folder):
        if used["kind"] == "operation" and not is_known(used["name"]):
            raise _missing(folder, used)


def _missing(folder: RunFolder, used: dict[str, Any]) -> PluginError:
    return PluginError(
        f"run {folder.run_id} used {_told(used)}, which is not here.",
        "Its recorded data can be listed and reported without it (ls, show, report).",
        "Give it with --plugin FILE|MODULE or NASBENCH_PLUGINS, or install its package.",
    )


def _told(used: dict[str, Any]) -> str:
    version, digest, origin = (used.get(key) for key in ("version", "digest", "origin"))
    details = [
        "" if version is None else f"version {version}",
        f"digest {digest}" if digest else "",
        f"from {origin}" if origin else "",
    ]
    known = ", ".join(part for part in details if part)
    return f"{used['kind']} {used['name']!r}" + (f" ({known})" if known else "")


def source_digest(entry: Entry) -> str | None:
    """Return the digest of an entry's source file, or None if it has none.

    Of a class that stands in no file, such as one of a notebook, it is that of the class's text.
    """
    if entry.loaded is not None and file_of(entry.loaded) is None:
        text = class_source(entry.loaded)
        return None if text is None else digest_of(text.encode())
    try:
        content = entry.file.read_bytes() if entry.file else None
    except OSError:
        return None
    return None if content is None else digest_of(content)
