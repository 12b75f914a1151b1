"""The guides to plug-ins of one's own besides estimators, followed literally."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasbench_snas.architecture import operations
from nasbench_snas.cli.main import nasbench

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GUIDES = {
    "add-a-cost": ["write_table.py", "wide_fields.py"],
    "add-a-data-set": ["make_arrays.py", "my_data.py", "my_hub_data.py"],
    "add-a-derivation-rule": ["confident_best.py"],
    "add-a-space": ["two_lanes.py"],
    "add-a-transformer": ["blur.py"],
    "add-an-operation": ["wide_conv.py", "channel_gate.py"],
}
RUNS = {
    "add-a-cost": 3,
    "add-a-data-set": 2,
    "add-a-derivation-rule": 1,
    "add-a-space": 1,
    "add-a-transformer": 2,
    "add-an-operation": 1,
}


def follow(guide: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """Do what a guide says in ``folder``; return the files it had written, and all output.

    ``nasbench`` is called in this process, everything else by the shell.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    written, output = [], ""
    text = (ROOT / "docs/guides" / f"{guide}.md").read_text(encoding="utf-8")
    for language, block in BLOCK.findall(text):
        if language == "python":
            written.append(block.splitlines()[0].removeprefix("# "))
            Path(written[-1]).write_text(block)
        elif language == "bash":
            for line in block.replace("\\\n", " ").splitlines():
                output += command(line, monkeypatch)
    return written, output


def command(line: str, monkeypatch: pytest.MonkeyPatch) -> str:
    words = [os.path.expandvars(word) for word in shlex.split(line)]
    if words[0] == "nasbench":
        done = CliRunner().invoke(nasbench, words[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
        return done.output
    name, equals, value = line.removeprefix("export ").partition("=")
    if equals and name.isidentifier():
        shown = subprocess.run(["sh", "-c", f"echo {value}"], capture_output=True, check=True)
        monkeypatch.setenv(name, shown.stdout.decode().strip())
        return ""
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_can_be_followed_word_by_word(
    guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_offered", {})
    written, output = follow(guide, tmp_path, monkeypatch)
    assert written == GUIDES[guide]
    assert " passed" in output and "FAIL" not in output
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == RUNS[guide]


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_names_the_files_that_it_writes(guide: str) -> None:
    text = (ROOT / "docs/guides" / f"{guide}.md").read_text(encoding="utf-8")
    blocks = [block for language, block in BLOCK.findall(text) if language == "python"]
    assert [block.splitlines()[0] for block in blocks] == [f"# {n}" for n in GUIDES[guide]]
