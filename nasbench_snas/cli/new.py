"""Write a working skeleton of an estimator or a space, with its test.

In a checkout of the suite the files go where the built-in ones are; anywhere else, and with
``--package``, a repository of its own is written that announces the plug-in by an entry point.
The skeleton passes ``nasbench check`` as it is written.
"""

from __future__ import annotations

import keyword
import re
import shlex
from pathlib import Path
from typing import Any

import click

from nasbench_snas.cli import _templates
from nasbench_snas.errors import ConfigError, NasbenchError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.command("new")
@click.argument("kind", type=click.Choice(["estimator", "space"]))
@click.argument("name")
@click.option(
    "--family",
    type=click.Choice(["pathwise", "score", "custom"]),
    help="Of an estimator: what it overrides, relax, advantage or surrogate.  [default: pathwise]",
)
@click.option("--package", is_flag=True, help="A repository of its own, even in a checkout.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    help="Folder of the checkout, or in which the repository is made.  [default: .]",
)
@click.pass_obj
def command(
    session: Any, kind: str, name: str, family: str | None, package: bool, out: Path
) -> None:
    """Write a working skeleton of an estimator or space NAME, with its test."""
    if family and kind == "space":
        raise click.UsageError("--family is for estimators; a space has none.")
    refuse_name(name)
    refuse_taken(session, kind, name)
    checkout = None if package else find_checkout(out)
    files = plan(kind, name, family or "pathwise", checkout, out)
    write(files)
    for path in files:
        click.echo(f"wrote {path}")
    click.echo(f"next: {next_step(name, checkout, files)}")


def refuse_name(name: str) -> None:
    """Raise a :class:`ConfigError` unless ``name`` can be a key, a file and a class."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a plug-in.",
            "Expected lower-case letters, digits and single dashes, starting with a letter.",
            "For example: my-method",
        )
    if keyword.iskeyword(name) or name == "test":
        raise ConfigError(f"{name!r} cannot be the name of a Python file.", fix=f"Try my-{name}.")


def refuse_taken(session: Any, kind: str, name: str) -> None:
    """Raise a :class:`ConfigError` if a plug-in of this kind has the name, or the file, already."""
    registry = session.registry()
    for entry in registry.estimators() if kind == "estimator" else registry.spaces():
        if entry.name == name:
            raise ConfigError(
                f"there is a {kind} called {name!r} already.",
                f"Its origin: {entry.origin}.",
                "Choose another name.",
            )


def find_checkout(start: Path) -> Path | None:
    """Return the root of the suite's checkout that contains ``start``, or None."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "estimators/__init__.py").is_file() and (
            folder / "nasbench_snas/api.py"
        ).is_file():
            return folder
    return None


def plan(kind: str, name: str, family: str, checkout: Path | None, out: Path) -> dict[Path, str]:
    """Return the path and text of each file to write."""
    file = name.replace("-", "_")
    source = "space" if kind == "space" else family
    package = "nasbench_snas_" + file
    values = {
        "NAME": name,
        "FILE": file,
        "CLASS": "".join(word.capitalize() for word in name.split("-")),
        "TITLE": name.replace("-", " ").capitalize(),
        "KEY": name.replace("-", ""),
        "KIND": kind,
        "GROUP": kind + "s",
        "DIST": f"nasbench-snas-{name}",
        "PACKAGE": package,
        "KIT": "SpaceConformance" if kind == "space" else "EstimatorConformance",
        "ATTRIBUTE": kind,
        "RUN": f"nasbench run -e {name} -s darts-cnn"
        if kind == "estimator"
        else f"nasbench run -e snas -s {name}",
    }
    if checkout is None:
        values["MODULE"] = f"{package}.{file}"
        root = out / values["DIST"]
        return {root / path: text for path, text in _templates.repository(source, values).items()}
    values["MODULE"] = f"nasbench_snas.{kind}s.{file}"
    return {
        checkout / f"{kind}s" / f"{file}.py": _templates.plugin_source(source, values),
        checkout / f"tests/{kind}s/test_{file}.py": _templates.test_source(values),
    }


def write(files: dict[Path, str]) -> None:
    """Write all ``files``, or none if one of them exists.

    Raises:
        ConfigError: A file exists.
        NasbenchError: A folder cannot be written to.
    """
    for path in files:
        if path.exists():
            raise ConfigError(
                f"{path} exists already.",
                "Nothing was written: existing files are never overwritten.",
                "Choose another name or --out, or remove it.",
            )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if path.suffix == ".sh":
                path.chmod(0o755)
    except OSError as error:
        raise NasbenchError(
            f"cannot write {error.filename}: {error.strerror}.", fix="Choose another --out."
        ) from error


def next_step(name: str, checkout: Path | None, files: dict[Path, str]) -> str:
    """Return the command that checks what was written."""
    if checkout is not None:
        return f"nasbench check {name}"
    root = shlex.quote(str(min(files, key=lambda path: len(path.parts)).parent))
    return f"cd {root} && pip install -e . && nasbench check {name}"
