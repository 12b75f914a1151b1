"""``nasbench check``: outcomes, exit codes, reports and isolation."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError, PluginError

BROKEN = '''"""A broken estimator: ``g = 0``.

Reference: nobody 2024. Deviations: all.
"""

import torch

from nasbench_snas.api import Score


class Broken(Score):
    """Uses the global generator.

    Args:
        n: Architectures.
    """

    name = "broken"
    reference = "@misc{nobody2024, title = {x}, author = {y}, year = 2024}"
    evaluations = "n F"
    bias = "unbiased"
    expected_failed_checks = {EXPECTED}

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    def noise(self, dist, replicates, generator):
        return -torch.empty(
            (replicates, self.n, dist.num_edges, dist.num_operations), dtype=dist.dtype
        ).exponential_().log()

    def advantage(self, losses, loss, dist, z):
        return losses
'''


def check(*arguments: str):
    return CliRunner().invoke(nasbench, ["check", *arguments])


@pytest.fixture
def broken(tmp_path: Path):
    def write(expected: str = "{}") -> str:
        file = tmp_path / "broken.py"
        file.write_text(BROKEN.replace("{EXPECTED}", expected))
        return str(file)

    return write


def test_a_right_estimator_passes():
    result = check("snas", "--quick", "-k", "shape or seed or draw or docstring")
    assert result.exit_code == 0, result.output
    assert "SNAS" in result.output and "  ok       same seed gives the same draw" in result.output
    assert "passed" in result.output.splitlines()[-1]


def test_a_broken_estimator_fails_with_exit_code_1_and_says_why(broken):
    result = check(broken(), "--quick", "-k", "generators or seed or legal")
    assert result.exit_code == 1, result.output
    assert "FAIL     global generators are untouched" in result.output
    assert "torch's generator moved" in result.output
    assert "ok       class attributes have legal values" in result.output


def test_expected_failures_are_shown_with_their_reason_and_do_not_fail(broken):
    expected = '{"global_generators_are_untouched": "a demonstration"}'
    result = check(broken(expected), "-k", "generators")
    assert result.exit_code == 0, result.output
    assert "expected global generators are untouched  (a demonstration)" in result.output


def test_an_expected_failure_that_passes_is_a_failure(broken):
    result = check(broken('{"class_attributes_have_legal_values": "wrong"}'), "-k", "legal")
    assert result.exit_code == 1


def test_json_and_junit_hold_every_check(broken, tmp_path):
    report = tmp_path / "report.xml"
    result = check(broken(), "--json", "--junit", str(report), "-k", "generators or legal")
    rows = json.loads(result.output)
    assert {row["check"]: row["outcome"] for row in rows} == {
        "global_generators_are_untouched": "failed",
        "class_attributes_have_legal_values": "passed",
    }
    assert {row["target"] for row in rows} == {"Broken"}
    assert len(list(ElementTree.parse(report).iter("testcase"))) == 2


def test_classes_in_packages_and_built_in_files_are_found():
    from nasbench_snas.estimators import rloo

    for target in ("nasbench_snas.estimators.rloo:RLOO", rloo.__file__, "rloo"):
        result = check(target, "--json", "-k", "legal")
        assert [row["target"] for row in json.loads(result.output)] == ["RLOO"], target


def test_spaces_have_their_own_checks():
    result = check("darts-cnn", "--json", "-k", "edges or rows")
    checks = {row["check"] for row in json.loads(result.output)}
    assert "rows_cover_alpha_once" in checks and result.exit_code == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("snass", "Did you mean 'snas'"),
        ("missing.py", "there is no file"),
        ("no.such.module:Class", "cannot be imported"),
        ("nasbench_snas.api:Nothing", "has no class"),
    ],
)
def test_targets_that_do_not_exist_are_explained(target, message):
    result = check(target)
    assert isinstance(result.exception, PluginError) and message in str(result.exception)


def test_a_file_without_plugins_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    result = check(str(tmp_path / "empty.py"))
    assert isinstance(result.exception, PluginError) and "defines no" in str(result.exception)


def test_an_expression_without_matches_is_an_error():
    result = check("snas", "-k", "nosuchcheck")
    assert isinstance(result.exception, ConfigError) and "nosuchcheck" in str(result.exception)


def test_users_pytest_settings_do_not_interfere(broken, tmp_path, monkeypatch):
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError('never imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--also-unknown")
    result = check(broken(), "--json", "-k", "legal")
    assert result.exit_code == 0, result.output


def test_nothing_to_check_is_a_usage_error():
    assert check().exit_code == 2
