"""Print BibTeX for the suite, and for estimators, spaces or the runs that used them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from nasbench_snas import __version__
from nasbench_snas.bibliography import bibliography, resolve_reference
from nasbench_snas.errors import ConfigError, DataError, UnknownRunError, suggest
from nasbench_snas.runs.folder import RunFolder, is_file
from nasbench_snas.settings.toml import read_toml

SUITE = """@software{nasbench-snas,
  title = {nasbench-snas: an estimator-comparison benchmark suite for differentiable neural
           architecture search},
  author = {{The nasbench-snas authors}},
  version = {%s},
}"""
PAPER = "xie2019snas"


@click.command("cite")
@click.argument("names", nargs=-1, metavar="[NAMES|RUNS]…")
@click.option("--all", "everything", is_flag=True, help="Every estimator and space.")
@click.pass_obj
def command(session: Any, names: tuple[str, ...], everything: bool) -> None:
    """Print BibTeX for the suite and for estimators, spaces, transformers, stops or runs.

    A run is a folder, or its name in the run folder (--root); it stands for its estimator, its
    space and what is composed with them. Without arguments: the suite and the paper it studies.
    """
    registry = session.registry()
    composed = [*registry.entries("transformer"), *registry.entries("stop")]
    entries = [*registry.estimators(), *registry.spaces()]
    entries += [entry for entry in composed if entry.attributes.get("reference")]
    references = {entry.name: str(entry.attributes.get("reference", "")) for entry in entries}
    wanted = sorted(references) if everything else list(_expand(names, references, session.root))
    known = bibliography()
    printed = {PAPER: known[PAPER]} if PAPER in known else {}
    for name in wanted:
        for key, text in resolve_reference(name, references[name], known).items():
            printed.setdefault(key, text)
    click.echo("\n\n".join([SUITE % __version__, *printed.values()]))


def _expand(names: tuple[str, ...], references: dict[str, str], root: Path) -> Iterator[str]:
    """Yield plug-in names; runs become their estimator, space and what is composed with them."""
    for name in names:
        if name in references:
            yield name
            continue
        folders = [f for f in (Path(name), root / name) if is_file(_settings(f))]
        if not name.strip():
            raise UnknownRunError(name, root)
        if not folders:
            raise ConfigError(
                f"{name[:80]!r} is neither an estimator, a space nor a run.",
                suggest(name[:80], references),
                f"Runs are folders, or names in {root} (--root).",
            )
        RunFolder(folders[0]).verify()
        for used in _used_by(folders[0]):
            if used not in references:
                raise ConfigError(
                    f"run {name!r} used {used!r}, which is not installed.",
                    fix="Install the package it came from, or pass --plugin FILE.",
                )
            yield used
        settings = read_toml(_settings(folders[0]))
        composed = [*settings.get("transformers", ()), *settings.get("stops", ())]
        yield from (name for name in composed if name in references)  # the others cite nothing


def _settings(folder: Path) -> Path:
    return folder / "config.toml"


def _used_by(folder: Path) -> list[str]:
    """Return the estimator and the space that a run's settings name."""
    try:
        settings = read_toml(_settings(folder))
        sections = [settings[key] for key in ("estimator", "space")]
        return [str(s["name"] if isinstance(s, dict) else s) for s in sections]
    except (ConfigError, LookupError, TypeError) as error:
        raise DataError(
            f"{_settings(folder)} does not name an estimator and a space.",
            f"{type(error).__name__}: {error}",
        ) from error
