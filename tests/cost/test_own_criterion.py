"""Criteria by name: built-in counts, one's own, a table in a file, measured latencies."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nasbench_snas.api import CandidateOperation, CostCriterion, OperationCost
from nasbench_snas.architecture import operations
from nasbench_snas.architecture.candidates import declared
from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.cost.expected import CostModel
from nasbench_snas.cost.file_table import FORMAT, FileTable
from nasbench_snas.cost.latency import measure_latency
from nasbench_snas.cost.own import own_cost
from nasbench_snas.cost.settings import CostSettings, CostTarget
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.search.criterion import completed, cost_of
from nasbench_snas.search.resource import ResourceTerm

NAMES = ("none", "skip_connect", "conv_1x1")
SPACE = Space(
    "two", NAMES, (CellType.dense("cell", 1, 2),), (Layer("cell", 4, 1, "cell"),) * 2, 4,
    resolution=6,
)  # fmt: skip
TABLE = [[0.0, 1.0, 5.0], [0.0, 2.0, 3.0], [0.0, 0.5, 4.0]]


class Mine(CostCriterion):
    """The table above."""

    name = "mine"
    summary = "numbers"
    unit = "ms"

    def table(self, space):
        return TABLE

    def outside(self, space):
        return 7.0


def write(folder: Path, **changes: object) -> str:
    content = {
        "format": FORMAT,
        "unit": "ms",
        "edges": [*reversed(SPACE.edge_names), "spare 0->1"],
        "operations": ["conv_1x1", "other", "none", "skip_connect"],
        "table": [[row[2], 9.0, row[0], row[1]] for row in reversed(TABLE)] + [[1.0] * 4],
        "outside": 7.0,
        **changes,
    }
    file = folder / "table.json"
    file.write_text(json.dumps(content))
    return str(file)


def settings(**values: object) -> CostSettings:
    return CostSettings.model_validate(values)


def test_a_built_in_count_by_name_is_that_weight_alone():
    weights = {"params": 0.0, "flops": 1.0, "mac": 0.0}
    by_name, by_weight = settings(criterion="flops"), settings(weights=weights)
    assert torch.equal(CostModel(SPACE, by_name).unit, CostModel(SPACE, by_weight).unit)
    assert not torch.equal(CostModel(SPACE, by_name).unit, CostModel(SPACE, settings()).unit)
    assert completed(Registry(), by_name) == by_name
    assert cost_of(Registry(), by_name, SPACE) is None


def test_settings_of_before_keep_their_identity():
    plain = settings(eta=0.1)
    assert not {"criterion", "parameters", "places", "content"} & plain.identity().keys()
    named = settings(criterion="table", places={"file": "/a"}, content="abc")
    moved = settings(criterion="table", places={"file": "/b"}, content="abc")
    assert named.identity() == moved.identity() and "criterion" in named.identity()
    assert named.identity() != settings(criterion="table", content="abd").identity()


def test_the_term_is_linear_with_the_exact_gradient():
    own, dist = own_cost(Mine(), SPACE), Categorical(torch.randn(3, 3, dtype=torch.float64))
    term = ResourceTerm(SPACE, settings(eta=0.5, criterion="mine"), torch.Generator(), own)
    value = term.term(dist)
    assert value is not None
    (gradient,) = torch.autograd.grad(value, dist.alpha)
    table, probs = torch.tensor(TABLE, dtype=torch.float64), dist.probs[0].detach()
    scale = table.mean(dim=1).sum()
    expected = 0.5 * (probs * table).sum() / scale
    torch.testing.assert_close(value.detach(), expected)
    centred = table - (probs * table).sum(dim=-1, keepdim=True)
    torch.testing.assert_close(gradient[0], 0.5 * probs * centred / scale)
    costs = term.child_costs(torch.eye(3, dtype=torch.float64))
    assert costs["criterion_cost"] == 0.0 + 2.0 + 4.0 + 7.0


def test_a_target_speaks_of_the_criterion_in_its_unit():
    wanted = settings(criterion="mine", target="mine=9.5").wanted
    assert wanted == CostTarget("mine", 9.5)
    assert "the expected mine of the whole network to 9.5" in wanted.words
    model = CostModel(SPACE, settings(criterion="mine"), own_cost(Mine(), SPACE))
    assert float(model.measure(torch.eye(3, dtype=torch.float64), wanted)) == 13.0
    with pytest.raises(ValueError, match="unknown cost criterion 'mine'"):
        settings(target="mine=9.5")
    with pytest.raises(ValueError, match="a criterion by name is normalised"):
        settings(criterion="mine", penalty="released-log")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[1.0] * 3] * 2, "shape"),
        ([[0.0] * 3] * 3, "costs nothing"),
        ([[float("nan")] * 3] * 3, "not finite"),
        ([["a"] * 3] * 3, "not one of numbers"),
    ],
)
def test_a_table_that_cannot_be_is_refused(table, message):
    wrong = type("Wrong", (Mine,), {"table": lambda self, space: table})
    with pytest.raises(PluginError, match=message):
        own_cost(wrong(), SPACE)


def test_a_file_is_read_by_names_whatever_its_order(tmp_path):
    criterion = FileTable(write(tmp_path))
    found = own_cost(criterion, SPACE)
    assert found.table.tolist() == TABLE and found.outside == 7.0
    first = criterion.fingerprint()
    assert FileTable(write(tmp_path, remark="another")).fingerprint() == first
    assert FileTable(write(tmp_path, outside=8.0)).fingerprint() != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "x"}, "no table of costs"),
        ({"operations": ["none", "conv_1x1"], "table": [[0.0, 1.0]] * 4}, "no numbers for skip"),
        ({"table": [[0.0] * 4]}, "must have 4 rows of 4"),
        ({"edges": "all"}, "lists of names"),
        ({"sizes": {"resolution": 32}}, "another network"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        own_cost(FileTable(write(tmp_path, **changes)), SPACE)


def test_planning_fills_in_fingerprint_and_place(tmp_path):
    file = write(tmp_path)
    planned = completed(Registry(), settings(criterion="table", parameters={"file": file}))
    assert planned.places == {"file": file} and planned.parameters == {} and planned.content
    assert completed(Registry(), planned) == planned
    write(tmp_path, outside=8.0)
    with pytest.raises(ConfigError, match="are not those of these settings"):
        completed(Registry(), planned)
    for wrong, message in (
        ({"criterion": "table"}, "needs a file"),
        ({"criterion": "tabel"}, "Did you mean 'table'"),
        ({"parameters": {"file": file}}, "needs cost.criterion"),
        ({"criterion": "flops", "parameters": {"file": file}}, "'flops' is built in"),
        ({"criterion": "table", "parameters": {"fiel": file}}, "unknown setting"),
    ):
        with pytest.raises(ConfigError, match=message):
            completed(Registry(), settings(**wrong))


class Sleep(nn.Module):
    """Takes two milliseconds at least."""

    def forward(self, x):
        time.sleep(0.002)
        return x


class Sleepy(CandidateOperation):
    """An operation that sleeps."""

    name = "sleepy"
    summary = "sleeps"

    def build(self, channels, stride, affine):
        return Sleep()

    def cost(self, channels, stride, resolution, affine):
        return OperationCost(0, 0, 1)


def test_latencies_are_sums_over_the_cells_with_their_spread(tmp_path):
    before = dict(operations._offered)
    operations.offer("sleepy", lambda: declared(Sleepy))
    try:
        space = Space(
            "sleep", (*NAMES, "sleepy"), SPACE.cells, SPACE.layers, 4, resolution=6
        )  # two cells share every edge
        found = measure_latency(space, rounds=3)
        again = {timed.part.what for timed in found.parts}
        assert {"skip_connect", "conv_1x1", "sleepy", "stem", "head"} <= again
        for which in ("lower", "median", "upper"):
            assert all(row[0] == 0 for row in found.table(which)), "none is no edge"
            assert all(row[3] >= 2 * 2.0 for row in found.table(which)), "two cells"
        assert all(row[1] < row[3] for row in found.table()), "an identity does not sleep"
        file = tmp_path / "latency.json"
        file.write_text(json.dumps(found.content()))
        read = own_cost(FileTable(str(file)), space)
        assert read.table.tolist() == found.table() and read.outside == found.outside() > 0
        with pytest.raises(ConfigError, match="another network"):
            own_cost(FileTable(str(file)), replace(space, resolution=8))
    finally:
        operations._offered.clear()
        operations._offered.update(before)


def test_nothing_is_timed_no_times():
    with pytest.raises(ConfigError, match="at least 1"):
        measure_latency(SPACE, rounds=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outside": "much"}, "'much' is no number"),
        ({"outside": None}, "None is no number"),
        ({"table": [[True, 0.1, 1.0]] * 6}, "True is no number"),
        ({"edges": ["unit 0->1"] * 6}, "stands twice in its edges"),
        ({"operations": ["none", "conv_3x3", "conv_3x3"]}, "stands twice in its operations"),
    ],
)
def test_a_file_that_says_a_number_twice_or_not_at_all_is_refused(changes, message, tmp_path):
    file = tmp_path / "table.json"
    edges = ["unit 0->1", "unit 0->2", "unit 1->2", "unit 0->3", "unit 1->3", "unit 2->3"]
    names = ["none", "skip_connect", "conv_3x3"]
    content = {"format": "nasbench-cost-table-1", "unit": "ms", "edges": edges}
    content |= {"operations": names, "table": [[0.0, 0.1, 1.0]] * 6, **changes}
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        FileTable(str(file)).fingerprint()


@pytest.mark.parametrize(
    ("table", "outside", "message"),
    [
        (lambda: 1 / 0, 0.0, "'odd' failed: ZeroDivisionError"),
        (lambda: [[1.0] * 3] * 6, None, "outside is None"),
        (lambda: [[1.0] * 3] * 6, "much", "outside is 'much'"),
    ],
)
def test_a_criterion_that_fails_is_named(table, outside, message):
    class Odd(CostCriterion):
        name = "odd"
        summary = "odd"
        unit = "ms"

        def table(self, space):
            return table()

        def outside(self, space):
            return outside

    with pytest.raises(PluginError, match=message):
        own_cost(Odd(), Registry().space("snas-unit")().build(1, 10, 8))
