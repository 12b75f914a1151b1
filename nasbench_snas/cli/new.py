"""Write a working skeleton of a plug-in of any kind, with its test.

In a checkout of the suite an estimator or space goes where the built-in ones are; everything else,
and with ``--package``, is a repository of its own that announces the plug-in by an entry point.
With ``--file`` one file is written, to be named by ``--plugin``.
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
from nasbench_snas.registry import INFO, KINDS, Kind

_RUN: dict[Kind, str] = {
    "estimator": "nasbench run -e NAME -s darts-cnn",
    "space": "nasbench run -e snas -s NAME",
    "operation": "nasbench run -e snas -s darts-cnn "
    """--set 'space.operations=["none", "skip_connect", "NAME"]'""",
    "dataset": "nasbench run -e snas -s darts-cnn --dataset NAME",
    "criterion": "nasbench run -e snas -s darts-cnn --set cost.criterion=NAME --set cost.eta=0.1",
    "rule": "nasbench run -e snas -s darts-cnn --derive NAME",
    "transformer": "nasbench run -e snas -s darts-cnn --transform NAME",
    "stop": "nasbench run -e snas -s darts-cnn --stop NAME",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.command("new")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option(
    "--family",
    type=click.Choice(["pathwise", "score", "custom"]),
    help="Of an estimator: what it overrides, relax, advantage or surrogate.  [default: pathwise]",
)
@click.option("--package", is_flag=True, help="A repository of its own, even in a checkout.")
@click.option("--file", "alone", is_flag=True, help="One file, without a test, for --plugin.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    help="Folder of the checkout, or in which the repository is made.  [default: .]",
)
@click.pass_obj
def command(
    session: Any, kind: Kind, name: str, family: str | None, package: bool, alone: bool, out: Path
) -> None:
    """Write a working skeleton of a plug-in NAME, with its test."""
    if family and kind != "estimator":
        raise click.UsageError(f"--family is for estimators; a {kind} has none.")
    if package and alone:
        raise click.UsageError("--package and --file exclude each other.")
    refuse_name(name)
    refuse_taken(session, kind, name)
    built_in = not package and not alone and kind in ("estimator", "space")
    checkout = find_checkout(out) if built_in else None
    files = plan(kind, name, family or "pathwise", checkout, out)
    if alone:
        source = next(path for path in files if path.stem == name.replace("-", "_"))
        files = {out / source.name: files[source]}
    write(files)
    for path in files:
        click.echo(f"wrote {path}")
    step = f"nasbench check {shlex.quote(str(min(files)))}"
    click.echo(f"next: {step if alone else next_step(name, checkout, files)}")


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


def refuse_taken(session: Any, kind: Kind, name: str) -> None:
    """Raise a :class:`ConfigError` if a plug-in of this kind has the name, or the file, already."""
    for entry in session.registry().entries(kind):
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
            folder / "nasbench_snas/api/__init__.py"
        ).is_file():
            return folder
    return None


def plan(kind: Kind, name: str, family: str, checkout: Path | None, out: Path) -> dict[Path, str]:
    """Return the path and text of each file to write."""
    file = name.replace("-", "_")
    source = family if kind == "estimator" else kind
    package = "nasbench_snas_" + file
    values = {
        "NAME": name,
        "FILE": file,
        "CLASS": "".join(word.capitalize() for word in name.split("-")),
        "TITLE": name.replace("-", " ").capitalize(),
        "KEY": name.replace("-", ""),
        "KIND": kind,
        "GROUP": INFO[kind].plural,
        "DIST": f"nasbench-snas-{name}",
        "PACKAGE": package,
        "KIT": f"{kind.capitalize()}Conformance",
        "ATTRIBUTE": kind,
        "RUN": _RUN[kind].replace("NAME", name),
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
