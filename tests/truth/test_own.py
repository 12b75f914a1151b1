"""A table of stand-alone accuracies: enumerated, sharded, continued, compared with a search."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from nasbench_snas.cli.main import main
from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.truth.own import architectures
from nasbench_snas.truth.table import Table

TINY = (
    "data.dataset=fake",
    "data.fake.train_images=64",
    "data.fake.test_images=32",
    "search.epochs=1",
    "search.batch_size=16",
    "space.nodes=1",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=16",
)


def settings() -> list[str]:
    return [word for setting in TINY for word in ("--set", setting)]


def test_all_architectures_are_enumerated_once_in_order() -> None:
    found = architectures(3, 2, None)
    assert found.tolist()[:3] == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert len({tuple(row) for row in found.tolist()}) == 8


def test_a_sample_is_distinct_reproducible_and_reaches_huge_spaces() -> None:
    first, again = architectures(28, 8, 50), architectures(28, 8, 50)
    assert torch.equal(first, again)
    assert first.shape == (50, 28)
    assert len({tuple(row) for row in first.tolist()}) == 50
    assert int(first.max()) == 7
    with pytest.raises(ConfigError, match="--sample"):
        architectures(28, 8, None)


def test_a_table_averages_over_seeds_and_refuses_other_files(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(
        "architecture,seed,setting,valid_acc,test_acc\n"
        "01,0,s,50,40\n01,1,s,60,60\n10,0,s,30,20\n10,1,s,30,20\n"
    )
    table = Table.read(file)
    assert table.choices.tolist() == [[0, 1], [1, 0]]
    assert table.valid.tolist() == [55, 30]
    assert table.test.tolist() == [50, 20]
    assert table.seeds == 2 and table.setting == "s"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="not a table"):
        Table.read(file)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


@pytest.mark.slow
def test_a_small_space_is_tabulated_continued_and_compared_with_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASBENCH_KERNELS", "reference")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = ["--root", str(tmp_path)]
    words = [*root, "tabulate", "--space", "snas-unit", "--shards", "2", *settings()]
    assert run(*words, "--shard", "0") == 0
    (shard,) = tmp_path.glob("_tabular/*/shards/0-of-2.json")
    rows = json.loads(shard.read_text())
    shard.write_text(json.dumps(rows[:1]))  # as if it had been killed after the first
    assert run(*words) == 0
    (file,) = tmp_path.glob("_tabular/*/table.csv")
    table = Table.read(file)
    assert len(table.valid) == 3  # one edge, three operations
    again = json.loads(shard.read_text())
    for old, new in zip(rows, again, strict=True):
        assert (old["valid_acc"], old["test_acc"]) == (new["valid_acc"], new["test_acc"])
    assert run(*root, "run", "-e", "random", "-s", "snas-unit", *settings()) == 0
    (folder,) = [p for p in tmp_path.iterdir() if (p / "result.json").exists()]
    assert run(*root, "tabulate", folder.name, "--table", str(file)) == 0
    values = json.loads((folder / "tabular.json").read_text())
    assert values["n"] == 3
    assert 0 <= values["test_regret"] <= 100
    assert values["test_regret"] == values["best_test_acc"] - values["derived_test_acc"]
    assert math.isnan(values["rank_correlation"]) or -1 <= values["rank_correlation"] <= 1


@pytest.mark.parametrize("affine", [False, True])
def test_a_table_of_nasbench201_trains_one_of_each_function(affine: bool) -> None:
    from nasbench_snas.registry import Registry
    from nasbench_snas.search.plan import plan_run
    from nasbench_snas.truth.own import TablePlan, enumerated
    from nasbench_snas.truth.published import published

    more = [setting for setting in TINY if not setting.startswith("space.nodes")]
    more += ["space.stages=1", "space.cells_per_stage=1", f"space.affine={str(affine).lower()}"]
    registry = Registry()
    config = plan_run(registry, "random", "nasbench201", assignments=more).config
    _, choices, functions = enumerated(TablePlan(config, (0,), None, 1), registry)
    assert len(choices) == 5**6
    assert len(set(functions)) == (5234 if affine else 5044)
    assert list(functions) == published().classes[int(affine)].tolist()
