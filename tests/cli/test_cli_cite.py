"""``nasbench cite``: BibTeX of the suite, of plug-ins and of runs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from nasbench_snas.bibliography import bibliography, parse_bibtex, resolve_reference
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import CheckpointError, ConfigError, DataError
from nasbench_snas.registry import Registry


def cite(*arguments: str):
    return CliRunner().invoke(nasbench, ["cite", *arguments])


def keys(text: str) -> list[str]:
    return list(parse_bibtex(text))


def test_without_names_it_prints_the_suite_and_the_paper():
    result = cite()
    assert result.exit_code == 0, result.output
    assert keys(result.output) == ["nasbench-snas", "xie2019snas"]


def test_names_add_their_references_once():
    result = cite("darts", "rebar", "darts-cnn", "darts")
    assert keys(result.output) == [
        "nasbench-snas",
        "xie2019snas",
        "liu2019darts",
        "tucker2017rebar",
    ]


def test_every_estimator_and_space_has_a_reference_that_resolves():
    known = bibliography()
    entries = [*Registry().estimators(), *Registry().spaces()]
    for entry in entries:
        if entry.origin == "built-in":
            assert resolve_reference(entry.name, entry.attributes["reference"], known)
    assert cite("--all").exit_code == 0


def test_bibliography_is_well_formed():
    known = bibliography()
    assert len(known) > 20
    for key, text in known.items():
        assert text.count("{") == text.count("}")
        for field in ("title", "author", "year"):
            assert re.search(rf"\b{field}\s*=", text), f"{key}: {field}"


def test_a_run_stands_for_its_estimator_and_space(tmp_path):
    run = tmp_path / "reinmax-of-before"
    run.mkdir()
    (run / "config.toml").write_text('[estimator]\nname = "reinmax"\n[space]\nname = "darts-cnn"\n')
    expected = ["nasbench-snas", "xie2019snas", "liu2023reinmax", "liu2019darts"]
    assert keys(cite(str(run)).output) == expected
    by_name = CliRunner().invoke(nasbench, ["--root", str(tmp_path), "cite", run.name])
    assert keys(by_name.output) == expected


def test_a_run_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "config.toml").write_text("estimator = ")
    result = cite(str(tmp_path))
    assert isinstance(result.exception, DataError | CheckpointError) and "config.toml" in str(
        result.exception
    )


def test_an_unknown_name_gets_a_suggestion():
    result = cite("snass")
    assert isinstance(result.exception, ConfigError)
    assert "Did you mean 'snas'" in str(result.exception)


def test_a_plugin_brings_its_own_bibtex(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from nasbench_snas.api import Pathwise\n\n\nclass Mine(Pathwise):\n"
        '    name = "mine"\n'
        '    reference = "@misc{me2024, title = {{A}}, author = {B}, year = 2024}"\n'
    )
    result = CliRunner().invoke(nasbench, ["--plugin", str(file), "cite", "mine"])
    assert "@misc{me2024, title = {{A}}, author = {B}, year = 2024}" in result.output


def test_a_reference_that_leads_nowhere_is_an_error():
    with pytest.raises(DataError, match="which is not in references.bib"):
        resolve_reference("mine", "nobody1900", {"somebody1900": "@misc{somebody1900,}"})
    with pytest.raises(DataError):
        resolve_reference("mine", "", {})


def test_an_entry_without_end_is_no_entry():
    assert parse_bibtex("@misc{a, title = {x}\n@misc{b, title = {y}}") == {
        "b": "@misc{b, title = {y}}"
    }


def test_citing_imports_no_torch():
    code = (
        "import sys\nfrom nasbench_snas.cli.main import nasbench\n"
        "nasbench.main(['cite', 'snas'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
