"""The third-party package under ``examples/``: installed, found by its entry point, checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/nasbench-snas-antithetic"


def run(*arguments: str, env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_example_package_installs_registers_and_passes_its_checks(tmp_path):
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*install, "--no-index", "--target", str(target), str(source), env=env, cwd=tmp_path)
    env["PYTHONPATH"] = os.pathsep.join([str(target), str(ROOT)])
    suite = ["-m", "nasbench_snas"]
    rows = json.loads(run(*suite, "ls", "estimators", "--json", env=env, cwd=tmp_path))
    (row,) = [row for row in rows if row["name"] == "antithetic"]
    assert "nasbench-snas-antithetic" in json.dumps(row), "the listing names the package"
    checks = json.loads(run(*suite, "check", "antithetic", "--json", env=env, cwd=tmp_path))
    assert len(checks) > 30 and {row["outcome"] for row in checks} == {"passed", "skipped"}
    by_path = ["check", "nasbench_snas_antithetic.antithetic:Antithetic", "--json", "-k", "legal"]
    assert json.loads(run(*suite, *by_path, env=env, cwd=tmp_path))[0]["outcome"] == "passed"
    own = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "tests"]
    assert "passed" in run(*own, env=env, cwd=source)
    assert "hammersley1956antithetic" in run(*suite, "cite", "antithetic", env=env, cwd=tmp_path)


OTHERS = [("operation", "squeeze-excite"), ("criterion", "depth")]


@pytest.mark.slow
def test_packages_of_other_kinds_install_and_are_found(tmp_path):
    target, sources = tmp_path / "installed", []
    for _, name in OTHERS:
        sources.append(tmp_path / name)
        left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(EXAMPLE.with_name(f"nasbench-snas-{name}"), sources[-1], ignore=left_out)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    paths = [str(source) for source in sources]
    run(*install, "--no-index", "--target", str(target), *paths, env=env, cwd=tmp_path)
    env["PYTHONPATH"] = os.pathsep.join([str(target), str(ROOT)])
    suite = ["-m", "nasbench_snas"]
    for kind, name in OTHERS:
        plural = {"criterion": "criteria"}.get(kind, f"{kind}s")
        rows = json.loads(run(*suite, "ls", plural, "--json", env=env, cwd=tmp_path))
        (row,) = [row for row in rows if row["name"] == name]
        assert row["origin"] == f"entry point of nasbench-snas-{name}" and row["summary"]
    names = [name for _, name in OTHERS]
    rows = json.loads(run(*suite, "check", *names, "--json", env=env, cwd=tmp_path))
    assert len(rows) > 30 and {row["outcome"] for row in rows} == {"passed", "skipped"}


@pytest.mark.parametrize(("kind", "name"), [("estimator", "antithetic"), *OTHERS])
def test_example_packages_are_laid_out_as_the_scaffold_writes_them(kind, name, tmp_path):
    from click.testing import CliRunner

    from nasbench_snas.cli.main import nasbench

    example = EXAMPLE.with_name(f"nasbench-snas-{name}")
    arguments = ["new", kind, name, "--out", str(tmp_path)]
    assert CliRunner().invoke(nasbench, arguments).exit_code == 0
    made = tmp_path / example.name
    ours, theirs = (
        tomllib.loads((root / "pyproject.toml").read_text()) for root in (example, made)
    )
    ours["project"].pop("description"), theirs["project"].pop("description")
    assert ours == theirs
    for path in made.rglob("*.py"):
        assert (example / path.relative_to(made)).is_file(), path.name
