"""The guides of operations and costs, followed literally in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def follow(guide: str, folder: Path) -> str:
    """Run every block of a guide in ``folder``; return what the commands said."""
    binaries = folder / "bin"
    binaries.mkdir()
    for name, module in (("nasbench", "-m nasbench_snas"), ("python", "")):
        script = binaries / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    work, said = folder / "work", []
    work.mkdir()
    text = (ROOT / "docs/guides" / guide).read_text(encoding="utf-8")
    for language, block in BLOCK.findall(text):
        if language == "python":
            (work / block.splitlines()[0].removeprefix("# ")).write_text(block)
        elif language == "bash":
            done = subprocess.run(
                ["sh", "-e", "-c", block],
                cwd=work,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            said.append(done.stdout)
    return "".join(said)


@pytest.mark.slow
def test_the_guide_of_operations_can_be_followed_word_by_word(tmp_path):
    said = follow("add-an-operation.md", tmp_path)
    assert said.count("the fast parent equals the reference") == 2 and "FAIL" not in said
    assert re.search(r"^wide-conv .*one unit$", said, re.MULTILINE)
    assert "test error, last epoch" in said and "top-1" in said
    assert list((tmp_path / "work").glob("*.svg"))


@pytest.mark.slow
def test_the_guide_of_costs_can_be_followed_word_by_word(tmp_path):
    said = follow("add-a-cost.md", tmp_path)
    assert "FAIL" not in said and re.search(r"^wide-fields ", said, re.MULTILINE)
    results = sorted((tmp_path / "work/runs").glob("*/result.json"))
    costs = [json.loads(file.read_text())["criterion_cost"] for file in results]
    assert len(costs) == 3 and all(cost >= 0 for cost in costs)
    assert any(cost >= 3.0 for cost in costs), "the table of the telephone has 3 ms outside"
