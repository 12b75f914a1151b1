"""Exit codes stand in one table, and the same slip has the same code and words in every command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasbench_snas import errors
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import EXIT_MEANINGS, ExitCode, NasbenchError

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_help_and_documentation_say_the_one_table() -> None:
    assert set(EXIT_MEANINGS) == set(ExitCode)
    helped = " ".join(CliRunner().invoke(nasbench, ["--help"]).output.split())
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == {str(int(code)): meaning for code, meaning in EXIT_MEANINGS.items()}
    for code, meaning in EXIT_MEANINGS.items():
        assert f"{int(code)} {meaning}" in helped


def test_every_error_has_a_code_of_the_table() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    found = [kind for kind in kinds if issubclass(kind, NasbenchError)]
    assert len(found) > 5
    for kind in found:
        assert kind.exit_code in set(ExitCode), kind


NAMING = [
    ["show"],
    ["evaluate"],
    ["export"],
    ["run", "--resume"],
    ["retrain", "--resume"],
    ["config", "diff", "x.toml"],
    ["report", "--format", "terminal"],
    ["gradients", "--samples", "128", "--points"],
]


def invoke(tmp_path: Path, words: list[str], name: str) -> NasbenchError:
    (tmp_path / "runs").mkdir(exist_ok=True)
    file = ["out.pt2"] if words == ["export"] else []
    (tmp_path / "x.toml").write_text("")
    words = [str(tmp_path / word) if word == "x.toml" else word for word in words]
    answer = CliRunner().invoke(nasbench, ["--root", str(tmp_path / "runs"), *words, name, *file])
    assert isinstance(answer.exception, NasbenchError), (words, answer.output, answer.exception)
    return answer.exception


@pytest.mark.parametrize("words", NAMING, ids=lambda words: words[0])
def test_a_run_that_is_not_found_is_a_wrong_name_everywhere(
    tmp_path: Path, words: list[str]
) -> None:
    error = invoke(tmp_path, words, "nothing-like-it")
    assert error.exit_code == ExitCode.USAGE
    assert error.what.startswith("'nothing-like-it' matches no run in ")
    assert "nasbench ls runs" in str(error)


@pytest.mark.parametrize("words", [*NAMING, ["retrain"], ["cost"], ["draw"], ["cite"]], ids=str)
@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_never_means_the_only_run(
    tmp_path: Path, words: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = tmp_path / "runs" / "snas-darts-cnn-smoke-s0-only"
    only.mkdir(parents=True)
    monkeypatch.chdir(only)  # the current folder is what an empty path means
    for folder in (only, tmp_path / "runs"):
        for file in ("config.toml", "genotype.json"):
            (folder / file).write_text("estimator.name = 'snas'\n")
    error = invoke(tmp_path, words, name)
    assert error.exit_code == ExitCode.USAGE
    assert "the name of a run is empty" in error.what and "variable" in error.why


@pytest.mark.parametrize("words", [["retrain"], ["cost"], ["draw"], ["cite"]], ids=str)
def test_what_may_be_more_than_a_run_has_the_same_code(tmp_path: Path, words: list[str]) -> None:
    assert invoke(tmp_path, words, "nothing-like-it").exit_code == ExitCode.USAGE
