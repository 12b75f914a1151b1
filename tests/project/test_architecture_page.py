"""The architecture page names what exists, and maps every package in the package's own words."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTENT = ("estimators", "reports", "spaces")  # packages that lie beside nasbench_snas/
PACKAGES = [p for p in PROJECT["tool"]["setuptools"]["packages"] if p != "nasbench_snas"]
SPANS = sorted(set(re.findall(r"`([^`\s]+)`", PAGE)))
PATHS = [s for s in SPANS if re.fullmatch(r"[\w./-]+", s) and "/" in s and s != "dL/dz"]
MODULES = [s for s in SPANS if re.fullmatch(r"nasbench_snas(\.\w+)+", s)]
LINKS = sorted(set(re.findall(r"\]\(([^)#]+)\)", PAGE)))
NAMES = re.compile(r"`([\w.]+)`[^`|]{0,60}?\(`([\w/]+\.py)`\)")


def location(module: str) -> Path:
    parts = module.split(".")[1:]
    top = ROOT if parts[0] in CONTENT else ROOT / "nasbench_snas"
    return top.joinpath(*parts)


def first_sentence(package: str) -> str:
    source = (location(package) / "__init__.py").read_text(encoding="utf-8")
    text = " ".join((ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", text.replace("``", "`"))[0]


def layers() -> dict[str, int]:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    rows = next(c["layers"] for c in contracts if c["type"] == "layers")
    return {n.strip(): len(rows) - i for i, row in enumerate(rows) for n in row.split("|")}


def test_the_page_names_enough_paths_and_modules_for_these_tests_to_mean_something() -> None:
    assert len(PATHS) > 40 and len(MODULES) > 30 and len(NAMES.findall(PAGE)) > 10


@pytest.mark.parametrize("path", PATHS)
def test_every_path_on_the_page_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("link", LINKS)
def test_every_page_that_is_linked_exists(link: str) -> None:
    assert (ROOT / "docs" / link).exists()


@pytest.mark.parametrize("module", MODULES)
def test_every_module_on_the_page_exists(module: str) -> None:
    path = location(module)
    assert path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_stands_on_the_map_with_its_layer_and_first_sentence(package: str) -> None:
    layer = layers()[package.split(".")[1]]
    assert f"| {layer} | `{package}` | {first_sentence(package)} |" in PAGE


@pytest.mark.parametrize(("name", "file"), sorted(set(NAMES.findall(PAGE))))
def test_what_stands_before_a_file_in_brackets_is_found_in_that_file(name: str, file: str) -> None:
    assert re.search(rf"\b{name.split('.')[-1]}\b", (ROOT / file).read_text(encoding="utf-8"))


def test_the_modules_beside_the_packages_stand_on_the_page() -> None:
    beside = {f.name for f in (ROOT / "nasbench_snas").glob("*.py")} - {"__init__.py"}
    missing = {f for f in beside if not f.startswith("__")} - {Path(p).name for p in PATHS}
    assert not missing


def test_the_page_is_short_enough_to_be_read() -> None:
    assert len(PAGE.splitlines()) <= 250
