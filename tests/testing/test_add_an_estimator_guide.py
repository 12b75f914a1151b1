"""The guide "Add an estimator in ten minutes", followed literally."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nasbench_snas.api import Estimator

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/guides/add-an-estimator.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "runs")


def blocks() -> list[tuple[str, str]]:
    """Language and text of the guide's code blocks, in order."""
    return BLOCK.findall(GUIDE.read_text(encoding="utf-8"))


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A copy of the checkout, and an environment in which ``nasbench`` is that copy."""
    root = tmp_path / "checkout"
    for folder in ("nasbench_snas", "estimators", "spaces", "reports"):
        shutil.copytree(ROOT / folder, root / folder, ignore=LEFT_OUT)
    shutil.copy(ROOT / "pyproject.toml", root)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, module in (("nasbench", "-m nasbench_snas"), ("python", "")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    return root, env


def shell(text: str, root: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-e", "-c", text], cwd=root, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_guide_can_be_followed_word_by_word(checkout):
    root, env = checkout
    written, output = [], []
    for language, text in blocks():
        if language == "bash":
            output.append(shell(text, root, env))
        elif language == "python":
            target = root / text.splitlines()[0].removeprefix("# ")
            assert target.is_file(), "the guide writes over what the skeleton put there"
            target.write_text(text)
            written.append(target)
    assert [path.name for path in written] == ["drop_edge.py"]
    everything = "".join(output)
    assert "passed" in everything and "FAIL" not in everything
    assert re.search(r"^drop-edge\s+score\s+unbiased", everything, re.MULTILINE)
    assert "foerster2018counterfactual" in everything
    assert len(list(root.glob("runs/drop-edge-snas-unit-smoke-s0-*/result.json"))) == 1


@pytest.mark.slow
def test_without_the_line_that_the_guide_names_exactly_one_check_fails(checkout):
    root, env = checkout
    code = next(text for language, text in blocks() if language == "python")
    line = "    needs_factorised = True\n"
    assert code.count(line) == 1
    (root / "estimators/drop_edge.py").write_text(code.replace(line, ""))
    done = subprocess.run(
        ["nasbench", "check", "drop-edge", "--quick"],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    failed = [row for row in done.stdout.splitlines() if row.startswith("  FAIL")]
    assert failed == ["  FAIL     it works with dependent decisions unless declared"]


def test_guide_names_only_what_exists():
    text = GUIDE.read_text(encoding="utf-8")
    code = next(text for language, text in blocks() if language == "python")
    compile(code, "drop_edge.py", "exec")
    for name in ("snas", "gdas", "rloo", "reinforce", "rebar", "muprop"):
        assert f"`{name}`" in text and (ROOT / f"estimators/{name}.py").is_file()
    prose = BLOCK.sub("", text)
    mentioned = set(re.findall(r"`(\w+) = ", prose))
    assert mentioned >= {"bias", "needs_factorised", "needs_all_operations", "tunes_variance"}
    assert mentioned <= set(Estimator.__annotations__), mentioned
