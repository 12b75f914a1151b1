"""Settings as TOML text: read from files, written with the source of every value behind it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from nasbench_snas.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """Return the contents of a TOML file; :class:`ConfigError` if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def to_toml(config: BaseModel, sources: Mapping[str, str]) -> str:
    """Return TOML text of all settings, a comment behind each line naming its source.

    Unset (None) values are written as comments.
    """
    lines: list[str] = []
    _write_table(config.model_dump(mode="json"), sources, "", lines)
    return "\n".join(lines) + "\n"


def _write_table(
    values: Mapping[str, Any], sources: Mapping[str, str], prefix: str, lines: list[str]
) -> None:
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    for key, value in values.items():
        if key in tables:
            continue
        source = sources.get(f"{prefix}{key}", "default")
        if value is None:
            lines.append(f"# {key} is unset  # {source}")
        else:
            text = tomli_w.dumps({key: value}).strip()
            parts = " ".join(part.strip() for part in text.splitlines())
            lines.append(f"{parts}  # {source}")
    for key, table in tables.items():
        lines.append(f"\n[{prefix}{key}]")
        _write_table(table, sources, f"{prefix}{key}.", lines)
