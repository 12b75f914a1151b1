"""The floor plan: few loose modules, packages that say what lives in them and what is public."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTENT = ("estimators", "spaces")  # found by file name, imported by nobody
PROVER = "nasbench_snas.prove"
COMMANDS = "nasbench_snas/cli"  # likewise
PLUGGED_IN = ("nasbench_snas/stops", "nasbench_snas/transformers")  # likewise, except _shared


def packages() -> list[Path]:
    found = [p.parent for top in ("nasbench_snas", "reports") for p in (ROOT / top).rglob("*.py")]
    return sorted({p for p in found if p != ROOT / "nasbench_snas"})


def public_names(package: Path) -> set[str]:
    for node in ast.parse((package / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def modules(package: Path) -> set[str]:
    return {file.stem for file in package.glob("*.py")} - {"__init__"}


def dotted(package: Path) -> str:
    path = package.relative_to(ROOT).as_posix().replace("/", ".")
    return path if path.startswith("nasbench_snas") else f"nasbench_snas.{path}"


def protected() -> Iterator[tuple[str, set[str]]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    for contract in settings["contracts"]:
        if contract["type"] == "protected":
            names = contract["protected_modules"]
            (owner,) = {name.rpartition(".")[0] for name in names}
            beside = set(contract["allowed_importers"]) - {owner}
            assert owner in contract["allowed_importers"], contract["name"]
            assert beside <= {PROVER}, contract["name"]  # what proves a package sees all of it
            yield owner, {name.rpartition(".")[2] for name in names}


def test_at_most_eight_modules_are_loose() -> None:
    loose = sorted(file.name for file in (ROOT / "nasbench_snas").glob("*.py"))
    assert len(loose) <= 8, loose


@pytest.mark.parametrize("package", packages(), ids=dotted)
def test_a_package_says_in_one_sentence_what_lives_in_it(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    first = text.splitlines()[0] if text else ""
    assert first.endswith("."), f"{dotted(package)}: no sentence in the first line of __init__"


@pytest.mark.parametrize("package", packages(), ids=dotted)
def test_what_is_not_public_in_its_package_is_protected_by_a_contract(package: Path) -> None:
    if package.relative_to(ROOT).as_posix() == COMMANDS:
        pytest.skip("commands are found by file name")
    private = modules(package) - public_names(package)
    if package.relative_to(ROOT).as_posix() in PLUGGED_IN:
        private = {name for name in private if name.startswith("_")}
    assert private == dict(protected()).get(dotted(package), set())


def test_no_source_file_has_more_than_four_hundred_lines() -> None:
    tops = ("nasbench_snas", "estimators", "spaces", "reports", "tests", "benchmarks", "examples")
    files = [
        f for top in tops for f in (ROOT / top).rglob("*") if f.suffix in (".py", ".cpp", ".h")
    ]
    long = {
        str(f.relative_to(ROOT)): n for f in files if (n := len(f.read_text().splitlines())) > 400
    }
    assert not long
