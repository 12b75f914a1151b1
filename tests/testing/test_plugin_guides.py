"""The guides to data sets, derivation rules and transformers of one's own, followed literally."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GUIDES = {
    "add-a-data-set": ["make_arrays.py", "my_data.py", "my_hub_data.py"],
    "add-a-derivation-rule": ["confident_best.py"],
    "add-a-transformer": ["blur.py"],
}


def follow(guide: str, folder: Path) -> tuple[list[str], str]:
    """Do what a guide says in an empty folder; return the files it had written, and all output."""
    tools = folder.with_name(f"{folder.name}-bin")
    for made in (folder, tools):
        made.mkdir()
    for name, module in (("nasbench", "-m nasbench_snas"), ("python", "")):
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    written, output = [], ""
    text = (ROOT / "docs/guides" / f"{guide}.md").read_text(encoding="utf-8")
    for language, block in BLOCK.findall(text):
        if language == "python":
            name = block.splitlines()[0].removeprefix("# ")
            (folder / name).write_text(block)
            written.append(name)
        elif language == "bash":
            done = subprocess.run(
                ["sh", "-e", "-c", block],
                cwd=folder,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            output += done.stdout
    return written, output


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_can_be_followed_word_by_word(guide: str, tmp_path: Path) -> None:
    written, output = follow(guide, tmp_path / "work")
    assert written == GUIDES[guide]
    assert " passed" in output and "FAIL" not in output
    assert len(list((tmp_path / "work/runs").glob("*/result.json"))) in (1, 2)
    assert list((tmp_path / "work/runs/_reports").iterdir())


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_names_the_files_that_it_writes(guide: str) -> None:
    text = (ROOT / "docs/guides" / f"{guide}.md").read_text(encoding="utf-8")
    blocks = [block for language, block in BLOCK.findall(text) if language == "python"]
    assert [block.splitlines()[0] for block in blocks] == [f"# {n}" for n in GUIDES[guide]]
