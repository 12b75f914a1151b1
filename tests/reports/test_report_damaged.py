"""A damaged run is a row that says so; the rest of the report stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from report_runs import make_run

from nasbench_snas.cli.main import nasbench
from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.figures.files import drawings
from nasbench_snas.reports.tables.model import slug
from nasbench_snas.reports.write import write_report


def _change(folder: Path, **entries: object) -> None:
    file = folder / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no child accuracy": lambda f: _change(f, child_valid_acc=None, child_gap=None),
    "no search accuracy": lambda f: _change(f, search_valid_acc=None),
    "truncated without search accuracy": lambda f: (
        _change(f, search_valid_acc=None, child_valid_acc=None, child_gap=None, truncated=True),
        (f / "status.json").write_text('{"status": "truncated"}'),
    ),
    "no seed": lambda f: _change(f, seed="seven"),
    "child matrix of words": lambda f: _change(f, child_matrix="x"),
    "child matrix with holes": lambda f: _change(f, child_matrix=[{"view": "soft"}]),
    "child matrix without a number": lambda f: _change(
        f, child_matrix=[{"view": "soft", "statistics": "inherited", "accuracy": None}]
    ),
    "child matrix of huge numbers": lambda f: _change(
        f, child_matrix=[{"view": "soft", "statistics": "inherited", "accuracy": 10**400}]
    ),
    "no number of edges": lambda f: _change(f, n_edges_kept=None),
    "half a character": lambda f: _change(f, device_name="\ud800"),
    "a number that no float holds": lambda f: _change(f, params=10**400),
    "a number of more digits than are read": lambda f: (f / "result.json").write_text(
        '{"params": 1' + "0" * 5000 + "}"
    ),
    "nested too deeply": lambda f: (f / "result.json").write_text("[" * 100_000),
    "estimator parameters of words": lambda f: _change(f, estimator_params="x"),
    "half a result": lambda f: (f / "result.json").write_text('{"schema_version": 1, "sea'),
    "result is a list": lambda f: (f / "result.json").write_text("[1, 2]"),
    "config of another release": lambda f: (f / "config.toml").write_text("new = 1\n"),
    "config of bytes": lambda f: (f / "config.toml").write_bytes(b"\xff\xfe\x00"),
    "genotype of words": lambda f: _change(f, genotype="x"),
    "events of words": lambda f: (f / "events.jsonl").write_text("x\n{}\n"),
    "probabilities of words": lambda f: (f / "alpha.npz").write_text("x"),
}


@pytest.mark.parametrize("hurt", ["epoch", "entropy_normal", "seconds", "search_acc"])
def test_an_epoch_that_is_no_number_leaves_the_other_curves(tmp_path: Path, hurt: str) -> None:
    for seed in range(2):
        make_run(tmp_path, "snas", seed)
    log = next(tmp_path.glob("snas-*-s1-*")) / "events.jsonl"
    lines = [json.loads(line) for line in log.open()]
    assert hurt in lines[0]
    log.write_text("".join(json.dumps(line | {hurt: "x"}) + "\n" for line in lines))
    made = build_report([tmp_path], ReportOptions(tables=("1",), figures=("3", "4")))
    assert len(drawings(made.groups, made.rows, ("3", "4"))) == 2


def test_names_that_are_too_long_for_files_do_not_lose_the_report(tmp_path: Path) -> None:
    long = "x" * 120
    for seed in range(2):
        make_run(tmp_path, "snas", seed, result={"dataset": long, "estimator": f"snas-{long}"})
    made = build_report([tmp_path], ReportOptions(tables=("1",), figures=("cells", "gap")))
    files = write_report(made, tmp_path / "out")
    assert any(file.suffix == ".svg" for file in files)
    assert slug(long + "a") != slug(long + "b") and len(slug(long)) <= 90


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_leaves_the_rest_of_the_report(tmp_path: Path, damage: str) -> None:
    for seed in range(3):
        make_run(tmp_path, "random", seed, search=30.0, child=20.0)
    make_run(tmp_path, "snas", 0, search=60.0, child=50.0)
    hurt = make_run(tmp_path, "snas", 1)
    DAMAGES[damage](hurt)
    words = ["--root", str(tmp_path), "report", "--format", "md,csv,tex,html"]
    words += ["--include-truncated", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(nasbench, words)
    assert result.exit_code == 0, (result.output[-800:], result.exception)
    made = build_report([tmp_path], ReportOptions(tables=("1",), include_truncated=True))
    table = made.tables[0]
    assert {row[0].text for row in table.rows} >= {"random †", "snas †"}
    whole = ("genotype", "events", "prob", "config", "truncated", "no number of edges")
    if not damage.startswith(whole):
        (snas,) = [row for row in table.rows if row[0].text == "snas †"]
        assert hurt.name in snas[0].title, "the damaged run belongs to its row"
        assert any(hurt.name in note and "damaged" in note for note in table.notes)


def test_a_table_says_which_runs_have_a_cell_without_a_path(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    cut = make_run(tmp_path, "snas", 1, drop=5)
    (table, *_) = build_report([tmp_path], ReportOptions(tables=("1",))).tables
    (note,) = [note for note in table.notes if "No path from input to output" in note]
    assert f"{cut.name} (normal, reduce)" in note and "-s0-" not in note
