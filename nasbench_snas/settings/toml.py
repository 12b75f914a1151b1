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
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read {str(path)[:200]}: {error.strerror or error}.",
            "Expected a TOML file of settings.",
            "Name another file.",
        ) from error
    except ValueError as error:  # not UTF-8, or a NUL character in the path
        raise ConfigError(f"cannot read {str(path)[:200]!r}: {error}.") from error
    return parse_toml(text, str(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Return the contents of TOML text.

    Args:
        text: The text.
        where: What it is, for messages.

    Raises:
        ConfigError: It is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{where} is nested too deeply.") from None
    except ValueError as error:
        raise ConfigError(f"{where} is damaged or no TOML: {error}.") from error


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
        if not table:  # settings of a plug-in that has none
            continue
        lines.append(f"\n[{prefix}{key}]")
        _write_table(table, sources, f"{prefix}{key}.", lines)
