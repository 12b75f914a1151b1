"""The folder mapping: what is installed, how it is imported, and what must stay apart."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
TOP = ("nasbench_snas", "estimators", "spaces", "reports")


def run_python(code: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "NASBENCH_PLUGINS")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**clean, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def mapped(package: str) -> str:
    return package if package.startswith("nasbench_snas") else f"nasbench_snas.{package}"


def test_every_package_folder_is_listed_in_pyproject() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        mapped(init.parent.relative_to(ROOT).as_posix().replace("/", "."))
        for top in TOP
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert found == set(settings["packages"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = pytest.importorskip("build", reason="the package `build` comes with [dev]")
    assert build is not None
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_a_wheel_built_from_the_sdist_holds_every_source_and_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for top in TOP:
        for file in (ROOT / top).rglob("*"):
            if not file.is_file() or "__pycache__" in file.parts or file.suffix in (".pyc", ".so"):
                continue
            relative = file.relative_to(ROOT).as_posix()
            expected = relative if top == "nasbench_snas" else f"nasbench_snas/{relative}"
            assert expected in names, f"{relative} is not in the wheel"
    assert not [n for n in names if n.split("/")[0] in ("estimators", "spaces", "reports", "tests")]


@pytest.mark.slow
def test_an_installed_wheel_is_not_shadowed_by_the_current_folder(
    wheel: Path, tmp_path: Path
) -> None:
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    (tmp_path / "work" / "estimators").mkdir(parents=True)
    (tmp_path / "work" / "estimators" / "__init__.py").write_text("raise SystemError('shadow')")
    code = "import nasbench_snas.estimators.snas as m; print(m.__file__)"
    result = run_python(
        f"import sys; sys.path.insert(0, {str(target)!r}); {code}", tmp_path / "work"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(target / "nasbench_snas" / "estimators" / "snas.py")


def test_a_plain_checkout_imports_without_an_install(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.meta_path[:] = "
        "[f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
        "import nasbench_snas.estimators.snas as m; print(m.__file__)"
    )
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(ROOT / "estimators" / "snas.py")


@pytest.mark.parametrize("package", ["estimators", "spaces", "reports"])
def test_a_mapped_folder_cannot_be_imported_a_second_time_by_its_own_name(package: str) -> None:
    result = run_python(f"import {package}", ROOT)
    assert result.returncode != 0
    assert f"import it as nasbench_snas.{package}" in result.stderr


def test_the_lock_file_holds_every_dependency_within_its_bounds() -> None:
    (lock,) = (ROOT / "locks").glob("*.txt")
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    versions = dict(line.split("==") for line in lines)
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), text


def test_only_pythons_that_were_run_are_classifiers() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        classifiers = tomllib.load(file)["project"]["classifiers"]
    start = "Programming Language :: Python :: 3."
    named = [c.removeprefix(start) for c in classifiers if c.startswith(start)]
    (lock,) = (ROOT / "locks").glob("*.txt")
    assert named == [lock.name.removeprefix("python3.").partition("-")[0]]


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "nasbench_snas" / "py.typed").is_file()


LISTINGS = [
    ["--help"],
    ["ls", "estimators"],
    ["ls", "estimators", "--matrix"],
    ["ls", "spaces"],
    ["ls", "presets"],
    ["ls", "datasets"],
    ["ls", "runs"],
]


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
def test_help_and_listings_import_no_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from nasbench_snas.cli.main import main\n"
        "try:\n"
        f"    main({['--root', str(tmp_path), *arguments]!r})\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr


def test_shell_completion_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from nasbench_snas.cli.main import nasbench\n"
        "try:\n"
        "    nasbench(prog_name='nasbench')\n"
        "except SystemExit:\n"
        "    pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    completion = {
        "_NASBENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "nasbench r",
        "COMP_CWORD": "1",
    }
    result = run_python(code, tmp_path, **completion)
    assert result.returncode == 0, result.stderr
    assert "run" in result.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["ls", "estimators"]], ids=" ".join)
def test_help_and_listings_answer_in_half_a_second_of_processor_time(
    arguments: list[str], tmp_path: Path
) -> None:
    before = os.times()
    code = f"from nasbench_snas.cli.main import main; main({arguments!r})"
    result = run_python(code, tmp_path)
    after = os.times()
    assert result.returncode == 0, result.stderr
    used = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    assert used < 0.5, f"{used:.2f} s of processor time"


def test_python_dash_m_is_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nasbench_snas", "--version"]
    began = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert result.stdout.startswith("nasbench, version 0.")
    assert time.monotonic() - began < 30
