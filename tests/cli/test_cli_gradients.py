"""``nasbench gradients``: from settings to tables and figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError

TINY = """
space = {name = "snas-unit", nodes = 2, channels = 2}
batch_size = 6
points = ["init", "late"]
theta_samples = 20
batches = 3
draws_per_batch = 2
samples = 128
[recipe]
steps = 3
batch_size = 8
"""


def run(tmp_path: Path, *arguments: str) -> str:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    command = ["--root", str(tmp_path / "runs"), "gradients", "--config", str(file), *arguments]
    result = CliRunner().invoke(nasbench, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_study_writes_tables_figures_and_a_result(tmp_path: Path) -> None:
    chosen = ["-e", "snas", "-e", "darts", "-e", "reinforce", "--temperatures", "1,0.3,0.1"]
    text = run(tmp_path, *chosen, "--claims", "--out", str(tmp_path / "out"))
    assert "snas λ=0.3" in text and "MSE@100F" in text
    (folder,) = (tmp_path / "runs" / "_gradients").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert [p["point"] for p in result["points"]] == ["init", "snas/late"]
    assert {c["label"] for c in result["cells"]} == {
        "snas λ=1",
        "snas λ=0.3",
        "snas λ=0.1",
        "darts",
        "reinforce",
    }
    for cell in result["cells"]:
        assert {"cost", "theta", "decomposition", "budget"} <= set(cell)
    claims = result["claims"][0]
    assert claims["objective"]["expected_loss"] > 0
    assert 0 <= claims["eq7_hard_limit"]["relative"]
    for name in ("bias-variance", "temperature", "training", "edges", "compute"):
        for suffix in ("svg", "png"):
            assert (tmp_path / "out" / f"{name}.{suffix}").stat().st_size > 1000
    table = (folder / "report" / "study.md").read_text()
    assert "Eq. (7) against eq. (6)" in table and "unbiased" not in table
    assert (folder / "config.toml").exists() and (folder / "env.json").exists()
    rows = run(tmp_path, *chosen, "--json", "--no-figures", "--claims")
    assert {row["coord_set"] for row in json.loads(rows[rows.index("[") :])} >= {"all", "theta"}


def test_study_prints_its_rows_as_json(tmp_path: Path) -> None:
    quick = ["-e", "darts", "--points", "init", "--set", "theta_samples=0", "--set", "batches=0"]
    text = run(tmp_path, *quick, "--json", "--no-figures")
    rows = json.loads(text[text.index("[") :])
    assert {row["coord_set"] for row in rows} == {
        "all",
        *(f"edge {e}" for e in range(3)),
        *(f"op {k}" for k in range(3)),
    }
    assert rows[0]["label"] == "darts" and rows[0]["var_trace"] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "unknown=1"],
        ["--reference", "guess"],
        ["--temperatures", "cold"],
        ["-e", "snass"],
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(ConfigError):
        run(tmp_path, *arguments)
