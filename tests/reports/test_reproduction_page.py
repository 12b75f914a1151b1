"""The commands of the reproduction page: each resolves, and its runs land in the row it is for."""

from __future__ import annotations

import importlib
import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from report_runs import make_run

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.cli.main import Session, nasbench
from nasbench_snas.cost.expected import CostModel
from nasbench_snas.cost.settings import CostSettings
from nasbench_snas.registry import Registry
from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.tables.model import DELTA, PUBLISHED, Table
from nasbench_snas.retrain.plan import PlannedRetraining
from nasbench_snas.runs.folder import write_atomic, write_json
from nasbench_snas.search.plan import PlannedRun, plan_run
from nasbench_snas.settings.retrain import changed_settings
from nasbench_snas.settings.run import resolve
from nasbench_snas.settings.toml import to_toml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reproducing-the-paper.md"


def page_rows() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return table, published row and commands of each line of the page's table."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0] in ("1", "2", "3"):
            found.append((cells[0], cells[1], tuple(re.findall(r"`(nasbench [^`]+)`", cells[2]))))
    return found


def plans(command: str, root: Path) -> list[Any]:
    """Return what a command of the page would run, resolved as the command line does it."""
    name, *words = shlex.split(command)[1:]
    module = importlib.import_module(f"nasbench_snas.cli.{name}")
    session = Session(root, 0, 0, (), ())
    with module.command.make_context(name, list(words), obj=session) as context:
        planned: list[Any] = module._plans(session, context.params)
    return [p[1] if isinstance(p, tuple) else p for p in planned]


def finish_search(root: Path, plan: PlannedRun) -> None:
    config = plan.config
    folder = make_run(
        root,
        config.estimator.name,
        config.seed,
        name=plan.run_id,
        search=60.0 + config.seed,
        preset=config.preset,
        constraint=config.constraint,
        result={
            "config_hash": plan.run_id.rpartition("-")[2],
            "estimator_version": Registry().estimator(config.estimator.name).version,
            "level": config.search.level,
            "comparison": config.comparison(),
            "estimator_params": json.dumps(config.estimator.parameters, sort_keys=True),
        },
    )
    write_atomic(folder / "config.toml", to_toml(config, plan.sources))
    write_atomic(folder / "genotype.json", zoo("snas-mild").to_json())


def finish_retraining(root: Path, plan: PlannedRetraining) -> None:
    config, imagenet = plan.config, plan.config.preset == "imagenet"
    folder = root / "_retrain" / config.run_id()
    write_atomic(folder / "config.toml", to_toml(config, {}))
    write_json(folder / "status.json", {"status": "done", "updated": 1.0})
    size = {"num_classes": 1000, "resolution": 224} if imagenet else {"num_classes": 10}
    result = {"schema_version": 1, "test_acc_top1": 70.0 + config.seed, "test_acc_top5": 90.0}
    result |= {"params": 2.8e6, "macs": 4.4e8, "changed_settings": changed_settings(config)}
    write_json(folder / "result.json", result | size)


def run_all(commands: tuple[str, ...], root: Path) -> None:
    for command in commands:
        for plan in plans(command, root):
            if isinstance(plan, PlannedRun):
                finish_search(root, plan)
            else:
                finish_retraining(root, plan)


def landed(table: Table, key: str, published: str) -> list[str]:
    """Return the measured rows that have a published row's numbers beside them."""
    names = [row[0].text for row in table.rows]
    if key == "1":
        return [] if any(n.startswith(published) for n in names) else names
    printed = [i for i, column in enumerate(table.columns) if column.group == PUBLISHED]
    theirs = next(r for r in table.rows if r[0].text.startswith(published) and not r[0].runs)
    beside = [[r[i].text for i in printed] == [theirs[i].text for i in printed] for r in table.rows]
    ours = zip(table.rows, beside, strict=True)
    return [r[0].text for r, equal in ours if r[0].runs and equal]


def test_the_page_has_both_rows_of_table_one_and_all_snas_rows() -> None:
    rows = {(table, row) for table, row, commands in page_rows() if commands}
    assert {row for table, row in rows if table == "1"} == {
        "DARTS (2nd order bi-level)",
        "SNAS (single-level) + mild constraint",
    }
    assert sum(row.startswith("SNAS") for table, row in rows if table == "2") == 3
    assert ("3", "SNAS (mild constraint)") in rows


@pytest.mark.parametrize(("table", "row", "commands"), page_rows(), ids=lambda v: str(v)[:48])
def test_the_commands_of_the_page_make_the_row_they_are_for(
    tmp_path: Path, table: str, row: str, commands: tuple[str, ...]
) -> None:
    run_all(commands, tmp_path)
    made = build_report([tmp_path], ReportOptions(tables=(table,))).tables
    (main,) = [t for t in made if t.title.startswith(f"Table {table}. ")]
    assert len(landed(main, table, row)) >= 1
    assert DELTA in {column.group for column in main.columns}
    delta = next(i for i, column in enumerate(main.columns) if column.group == DELTA)
    assert sum(r[delta].text != "—" for r in main.rows) == 1


def test_every_other_command_of_the_page_exists() -> None:
    listed = {command for _, _, commands in page_rows() for command in commands}
    others = set(re.findall(r"`(nasbench [^`…]+)`", PAGE.read_text(encoding="utf-8"))) - listed
    assert others
    for command in others:
        words = shlex.split(command)[1:]
        if words[0] == "run":
            assert plans(command, PAGE.parent)
        else:
            result = CliRunner().invoke(nasbench, [*words, "--help"])
            assert result.exit_code == 0, (command, result.output)


def test_a_given_eta_is_used_where_a_level_is_not_calibrated(tmp_path: Path) -> None:
    given = ["cost.eta=0.3"]
    config, sources = resolve("snas", "nasbench201", constraint="mild", assignments=given)
    assert config.constraint == "mild" and "--set" in sources.values()
    file = tmp_path / "own.toml"
    file.write_text("[cost]\neta = 0.25\n")
    config, sources = resolve("snas", "darts-cnn", preset="small", constraint="mild", file=file)
    assert config.cost.eta == 0.25 and sources["cost.eta"] == "own.toml"


def test_the_levels_of_preset_paper_are_the_released_penalties_at_the_start() -> None:
    etas = {}
    for level in ("mild", "moderate", "aggressive"):
        etas[level] = plan_run(
            Registry(), "snas", "darts-cnn", preset="paper", constraint=level
        ).config.cost.eta
    settings = plan_run(Registry(), "snas", "darts-cnn", preset="paper").config.space.parameters
    space = Registry().space("darts-cnn")(**settings).build(3, 10, 32)
    released = CostModel(space, CostSettings(penalty="released-log", convention="released"))
    uniform = torch.full((28, 8), 1 / 8, dtype=torch.float64)
    start = released.cost(uniform).item()
    assert etas["mild"] == pytest.approx(1.5e-3 * start, rel=2e-3)
    assert etas["aggressive"] == pytest.approx(1e-2 * start, rel=2e-3)
    assert etas["moderate"] == pytest.approx(math.sqrt(etas["mild"] * etas["aggressive"]), rel=2e-3)
    assert CostModel(space, CostSettings()).cost(uniform).item() == pytest.approx(1.0)
