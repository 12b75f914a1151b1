"""A space, an operation and a table of latencies of one's own, from single files, to the end.

``examples/plugins/attention_space.py`` through ``cost``, ``run``, ``report``, ``draw``, ``retrain``
and ``evaluate``; what then needs it, and what does not.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from torch import nn

from nasbench_snas.architecture import operations
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.evaluate.load import load
from nasbench_snas.registry import Registry

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/plugins/attention_space.py"
SMALL = ("data.max_train_images=64", "data.max_test_images=32", "space.channels=4")
SHORT = ("search.epochs=1", "search.batch_size=32", "child.samples=1")


def sets(*assignments: str) -> list[str]:
    return [word for text in assignments for word in ("--set", text)]


class Place:
    """A folder with the single file, and a run store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "runs"
        self.file = folder / "mine.py"
        self.table = folder / "latency.json"
        shutil.copy(EXAMPLE, self.file)

    def try_to(self, *arguments: str, plugin: bool = True) -> Result:
        operations._offered.clear()  # what another command has found is not here
        options = ["--plugin", str(self.file)] if plugin else []
        return CliRunner().invoke(nasbench, [*options, "--root", str(self.root), *arguments])

    def call(self, *arguments: str, plugin: bool = True) -> str:
        found = self.try_to(*arguments, plugin=plugin)
        assert found.exit_code == 0, (found.output, found.exception)
        return found.output

    @property
    def run(self) -> str:
        (folder,) = self.root.glob("snas-attention-cell-*")
        return folder.name

    def read(self, name: str) -> Any:
        return json.loads((self.root / self.run / name).read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before = dict(operations._offered)
    here = Place(tmp_path_factory.mktemp("own"))
    timing = ["cost", "attention-cell", "--measure-latency", "--rounds", "3", "--device", "cpu"]
    here.call(*timing, "--out", str(here.table), *sets(*SMALL))
    chosen = ("cost.criterion=table", f"cost.parameters.file={here.table}", "cost.eta=1e-4")
    arguments = ["run", "-e", "snas", "-s", "attention-cell", "--device", "cpu"]
    here.call(*arguments, *sets(*SMALL, *SHORT, *chosen))
    yield here
    operations._offered.clear()
    operations._offered.update(before)


def test_the_run_records_what_it_used(place):
    used = place.read("env.json")[-1]["plugins"]
    assert [(u["kind"], u["name"]) for u in used] == [
        ("estimator", "snas"),
        ("space", "attention-cell"),
        ("operation", "self-attention"),
    ]
    assert used[1]["digest"] == used[2]["digest"] != used[0]["digest"]


def test_the_childs_latency_is_that_of_the_table(place):
    table, result = json.loads(place.table.read_text()), place.read("result.json")
    assert table["n"] == 3 and table["unit"] == "ms" and table["device"]
    total = table["outside"]
    for name, source, target in result["genotype"]["cells"]["cell"]["edges"]:
        row = table["edges"].index(f"cell {source}->{target}")
        total += table["table"][row][table["operations"].index(name)]
    assert result["criterion_cost"] == pytest.approx(total)
    for lower, middle, upper in zip(
        table["lower_quartile"], table["table"], table["upper_quartile"], strict=True
    ):
        assert all(a <= b <= c for a, b, c in zip(lower, middle, upper, strict=True))


def test_draw_evaluate_cost_and_retrain_work_with_the_file(place, tmp_path):
    assert ".svg" in place.call("draw", place.run, "--out", str(tmp_path))
    assert "top-1" in place.call("evaluate", place.run, "--device", "cpu")
    assert "self-attention" in place.call("cost", "attention-cell", "--channels", "4")
    short = sets("training.epochs=1", "data.max_train_images=64", "data.max_test_images=32")
    said = place.call("retrain", place.run, "--device", "cpu", *short)
    assert "test error, last epoch" in said
    (retrained,) = (place.root / "_retrain").iterdir()
    kinds = {
        used["kind"] for used in json.loads((retrained / "env.json").read_text())[-1]["plugins"]
    }
    assert kinds <= {"space", "operation"} and "space" in kinds
    assert "top-1" in place.call("evaluate", retrained.name, "--device", "cpu")
    for name in (place.run, f"_retrain/{retrained.name}"):
        operations._offered.clear()
        registry = Registry(plugins=[str(place.file)])
        assert isinstance(load(name, root=place.root, registry=registry), nn.Module)


def test_listing_and_report_need_no_plugin(place, tmp_path):
    assert place.run in place.call("ls", plugin=False)
    said = place.call("report", "--out", str(tmp_path / "report"), plugin=False)
    assert said
    assert "self-attention" in place.call("show", place.run, plugin=False)


@pytest.mark.parametrize("command", ["draw", "evaluate", "retrain", "cost"])
def test_what_needs_the_plugin_says_so_and_how_to_give_it(place, command):
    cells = place.read("result.json")["genotype"]["cells"]
    assert "self-attention" in json.dumps(cells), "the child has an operation of one's own"
    found = place.try_to(command, place.run, plugin=False)
    assert isinstance(found.exception, PluginError), found.output
    text = str(found.exception)
    assert re.search(r"used (operation 'self-attention'|space 'attention-cell')", text)
    assert "which is not here" in text and "--plugin FILE|MODULE" in text


def test_a_continued_run_refuses_another_table(place):
    changed = json.loads(place.table.read_text())
    original = place.table.read_text()
    changed["outside"] += 1.0
    place.table.write_text(json.dumps(changed))
    try:
        found = place.try_to("run", "--resume", place.run)
        assert isinstance(found.exception, ConfigError)
        assert "are not those of these settings" in str(found.exception)
    finally:
        place.table.write_text(original)
    assert "finished before" in place.call("run", "--resume", place.run)


def test_a_table_of_another_network_is_refused(place):
    chosen = ("cost.criterion=table", f"cost.parameters.file={place.table}", "cost.eta=0.1")
    arguments = ["run", "-e", "snas", "-s", "attention-cell", "--device", "cpu"]
    found = place.try_to(*arguments, *sets(*SMALL[:2], *SHORT, *chosen, "space.channels=8"))
    assert isinstance(found.exception, ConfigError), found.output
    assert "is of another network" in str(found.exception)


def test_an_unknown_operation_in_a_space_says_how_one_of_ones_own_is_given(place):
    wanted = sets('space.operations=["none", "self-attentoin"]')
    found = place.try_to("run", "-e", "snas", "-s", "snas-unit", *wanted)
    assert isinstance(found.exception, ConfigError)
    assert "Did you mean 'self-attention'" in str(found.exception)
    assert "--plugin my_operation.py" in str(found.exception)
