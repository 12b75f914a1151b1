"""Ablations from runs, and the checklist of best practices."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from report_runs import make_run

from nasbench_snas.cli.main import nasbench
from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.tables.ablation import ablation_tables
from nasbench_snas.reports.tables.checklist import checklist
from nasbench_snas.reports.tables.computing import duration, seconds
from nasbench_snas.reports.tables.model import Table


def verdicts(root: Path) -> dict[int, tuple[str, str]]:
    report = build_report([root], ReportOptions(tables=("checklist",)))
    (table,) = report.tables
    assert len(table.rows) == 14
    return {int(row[0].text): (row[2].text, row[3].text) for row in table.rows}


def ablated(root: Path, seeds: int = 6) -> Table:
    changes = [(), ("search.batch_size=16",), ("search.theta.lr=0.1",)]
    changes += [("search.batch_size=16", "search.theta.lr=0.1")]  # two at once: no row
    for number, settings in enumerate(changes):
        for seed in range(seeds):
            child = 50.0 + seed + 2 * number
            make_run(root, "snas", seed, child=child, name=f"n{number}-{seed}", settings=settings)
    (table,) = build_report([root], ReportOptions(tables=("ablation",))).tables
    return table


def test_one_setting_at_a_time_is_compared_with_the_base(tmp_path: Path) -> None:
    table = ablated(tmp_path)
    rows = {row[0].text: row for row in table.rows}
    names = list(rows)
    assert names[0] == "base" and len(names) == 3  # each of the four has two neighbours
    settings = ("search.batch_size = ", "search.theta.lr = ")
    assert all(name.startswith(word) for name, word in zip(names[1:], settings, strict=True))
    at = {column.key: i for i, column in enumerate(table.columns)}
    for name in names[1:]:
        assert rows[name][at["n"]].text == "6"
        assert abs(rows[name][at["difference"]].number) in (2.0, 4.0)


def test_an_accuracy_of_zero_is_compared_and_a_small_p_is_no_zero(tmp_path: Path) -> None:
    for number, settings in enumerate([(), ("search.batch_size=16",)]):
        for seed in range(12):
            child = (seed + 1.0) * number  # without the setting: 0 % in every run
            few = {"child_matrix": []}
            name = f"{number}-{seed}"
            make_run(tmp_path, "snas", seed, child=child, name=name, settings=settings, result=few)
    (table,) = build_report([tmp_path], ReportOptions(tables=("ablation",))).tables
    at = {column.key: i for i, column in enumerate(table.columns)}
    row = table.rows[1]
    assert abs(row[at["difference"]].number) == 6.5
    assert row[at["p"]].text == "< 0.001" and set(row[at["interval"]].numbers) == {"low", "high"}


def test_a_family_without_neighbours_has_no_ablation(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, settings=())
    make_run(
        tmp_path, "snas", 0, name="far", settings=("search.batch_size=16", "search.theta.lr=0.1")
    )
    rows = build_report([tmp_path], ReportOptions(tables=("1",))).rows
    assert ablation_tables(rows) == []


def test_what_the_folders_do_not_hold_is_not_met(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    found = verdicts(tmp_path)
    assert found[4][0] == found[5][0] == found[8][0] == found[9][0] == found[10][0] == "not met"
    assert found[12] == (
        "not met",
        "purposes: 1 not recorded; tuning took 0 s",
    )
    assert found[14][0] == "not met"  # the made folder has no list of packages


def test_a_full_comparison_meets_what_it_can(tmp_path: Path) -> None:
    more = ("purpose=confirmatory", "settings_from=the preset")
    truth = {"truth": {"datasets": {}}, "reporting_images": 100, "images": "fixed"}
    for estimator in ("snas", "random", "random-sampling"):
        for seed in range(5):
            folder = make_run(tmp_path, estimator, seed, settings=more, result=truth)
            (folder / "env.freeze.txt").write_text("torch==2\n")
    tuned = make_run(tmp_path, "snas", 90, settings=("purpose=tuning", "search.theta.lr=0.1"))
    (tuned / "env.freeze.txt").write_text("torch==2\n")
    found = verdicts(tmp_path)
    met = {number for number, (verdict, _) in found.items() if verdict == "met"}
    assert {1, 2, 3, 7, 12, 13, 14} <= met
    assert "15 confirmatory, 1 tuning; tuning took 98 s" in found[12][1]
    assert found[8] == ("partly", "of 2 tables 1 have random search, 1 random sampling")


def test_failed_and_unfinished_runs_count_in_the_time(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)  # 8 s by its result
    make_run(tmp_path, "snas", 1, status="diverged")  # four epochs of 2 s in its log
    lost = make_run(tmp_path, "snas", 2, status="failed")
    (lost / "events.jsonl").unlink()
    rows = build_report([tmp_path], ReportOptions(tables=("1",))).rows
    spent = seconds(rows)
    assert (spent.runs, spent.total, spent.unknown) == (3, 16.0, 1)
    assert verdicts(tmp_path)[13][0] == "partly"
    assert [duration(v) for v in (14, 192, 5400)] == ["14 s", "3.2 min", "1.5 h"]


def test_confounders_within_a_table_are_named(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    make_run(tmp_path, "random", 0, device="NVIDIA A100")
    verdict, words = verdicts(tmp_path)[11]
    assert verdict == "not met" and "NVIDIA A100" in words and "device_name" in words


def test_the_command_prints_the_checklist_alone(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    words = ["--root", str(tmp_path), "report", "--checklist", "--json"]
    result = CliRunner().invoke(nasbench, words)
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert [table["table"] for table in shown["tables"]] == ["checklist"]


def test_all_tables_leave_the_checklist_out(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    report = build_report([tmp_path], ReportOptions())
    assert not any(table.key == "checklist" for table in report.tables)
    assert checklist(report.rows, report.groups).key == "checklist"


def test_the_purpose_is_recorded_and_is_no_part_of_the_name(tmp_path: Path) -> None:
    from nasbench_snas.registry import Registry
    from nasbench_snas.runs.results import load_rows
    from nasbench_snas.search.plan import plan_run

    plain = plan_run(Registry(), "snas", "snas-unit")
    said = plan_run(Registry(), "snas", "snas-unit", assignments=["purpose=tuning"])
    assert plain.run_id == said.run_id and said.config.purpose == "tuning"
    assert plain.config.purpose == "not recorded"
    make_run(tmp_path, "snas", 0, settings=("purpose=tuning", "settings_from=a guess"))
    (row,) = load_rows(tmp_path)
    assert (row["purpose"], row["settings_from"]) == ("tuning", "a guess")
