"""Cells without a path are said, and a divergence names the cause that the numbers show."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError, DivergedError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.runner import run_search
from nasbench_snas.search.search import Search
from nasbench_snas.search.temperatures import check_temperatures, lowest_temperature

SETTINGS = (
    "data.dataset=fake data.fake.channels=1 data.fake.train_images=32 search.epochs=1 "
    "search.batch_size=16 space.nodes=1 space.cells=1 space.channels=2 child.samples=1 "
    "child.recalibration_images=16"
).split()
SKIP = "skip_connect"


@pytest.mark.parametrize(
    ("edges", "concat", "connected"),
    [
        ([], (2, 3), False),
        ([(SKIP, 0, 2)], (2, 3), True),
        ([(SKIP, 2, 3)], (2, 3), False),
        ([(SKIP, 0, 2)], (3,), False),
        ([(SKIP, 2, 3), (SKIP, 1, 2)], (3,), True),
        ([], (0, 3), True),
    ],
)
def test_a_cell_is_connected_if_a_path_leads_from_input_to_output(
    edges: list[Any], concat: tuple[int, ...], connected: bool
) -> None:
    cell = CellGenotype(2, 2, tuple(Edge(*edge) for edge in edges), concat)
    assert cell.is_connected == connected
    assert Genotype({"normal": cell}).disconnected == (() if connected else ("normal",))


def cell(edges: list[Any]) -> dict[str, Any]:
    return {"num_inputs": 2, "num_nodes": 2, "edges": edges, "concat": [2, 3]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A genotype whose normal cell is cut off."""
    cells = {"normal": cell([[SKIP, 2, 3]]), "reduce": cell([[SKIP, 0, 2]])}
    content = {"format": "nasbench-genotype-1", "name": "cut", "cells": cells}
    (tmp_path / "cut.json").write_text(json.dumps(content))
    return tmp_path / "cut.json"


@pytest.mark.parametrize("command", ["cost", "draw", "retrain"])
def test_commands_say_that_a_cell_has_no_path(file: Path, command: str, tmp_path: Path) -> None:
    more = {"draw": ["--out", str(tmp_path / "cut.svg")], "cost": []}.get(command)
    if more is None:
        more = ["--preset", "smoke", "--set", "training.epochs=1", "--set", "network.channels=4"]
        more += ["--set", "data.dataset=fake", "--set", "data.fake.train_images=32"]
        more += ["--set", "training.batch_size=16", "--set", "network.cells=3"]
        more += ["--kernels", "reference"]
    answer = CliRunner().invoke(
        nasbench, ["--root", str(tmp_path / "runs"), command, str(file), *more]
    )
    assert answer.exit_code == 0, (answer.output, answer.exception)
    assert "no path from input to output in cell normal" in answer.output
    assert "reduce:" not in answer.output.partition("no path")[2].partition("\n")[0]


def test_a_search_says_so_of_its_child(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_run(Registry(), "snas", "darts-cnn", assignments=SETTINGS)

    def nothing(self: Search) -> torch.Tensor:
        rows = torch.zeros(self.space.num_edges, self.space.num_operations)
        rows[:, self.space.operations.index("none")] = 1
        return rows

    monkeypatch.setattr(Search, "derived", nothing)
    options = RunOptions(kernels="reference")
    with caplog.at_level(logging.WARNING, logger="nasbench_snas"):
        result = run_search(plan.config, Registry(), RunFolder(tmp_path / "run"), options)
    assert result["disconnected"] and result["n_edges_kept"] == 0
    assert "no path from input to output" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_floor_is_where_dividing_by_the_square_stays_finite(dtype: torch.dtype) -> None:
    floor = lowest_temperature(dtype)
    one = torch.ones((), dtype=torch.float64)
    assert (one / floor**2).to(dtype).isfinite()
    check_temperatures({"tau_end": 2 * floor, "n": 3, "other": 0.0}, dtype)
    with pytest.raises(ConfigError, match=r"tau_end(?s:.*)too low a temperature"):
        check_temperatures({"tau_end": floor / 2}, dtype)


def test_a_temperature_that_underflows_is_refused_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    given = [*SETTINGS, "estimator.tau_end=1e-40"]
    plan = plan_run(Registry(), "snas", "darts-cnn", assignments=given)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ConfigError, match="estimator.tau_end is 1e-40"):
        run_search(plan.config, Registry(), folder, RunOptions(kernels="reference"))
    assert not folder.config_file.exists()


@pytest.mark.parametrize(
    ("hurt", "advice", "not_said"),
    [
        ("weights", "lower search.theta.lr", "tau"),
        ("alpha", "lower search.alpha.lr", "theta"),
        ("temperature", "raise estimator.tau_end", "lr"),
    ],
)
def test_divergence_names_the_cause_that_the_numbers_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurt: str, advice: str, not_said: str
) -> None:
    plan = plan_run(Registry(), "snas", "darts-cnn", assignments=SETTINGS)

    def step(self: Search) -> None:
        parameters = {"weights": self.parent.parameters, "alpha": self.dist.parameters}
        if hurt == "temperature":
            self.estimator.tau = 1e-12
        else:
            next(iter(parameters[hurt]())).data.fill_(math.nan)
        raise DivergedError("the search loss became nan.")

    monkeypatch.setattr("nasbench_snas.search.runner.SearchWork.one_step", step)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(DivergedError) as diverged:
        run_search(plan.config, Registry(), folder, RunOptions(kernels="reference"))
    assert advice in diverged.value.fix
    assert not_said not in diverged.value.fix.replace(advice, "")
    assert folder.status()["status"] == "diverged"
