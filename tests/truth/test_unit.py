"""Our own table of snas-unit: packing, noise, what it cannot tell apart, the command."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nasbench_snas.cli.main import main
from nasbench_snas.errors import DataError, GenotypeError
from nasbench_snas.spaces.snas_unit import SnasUnit
from nasbench_snas.truth.forms import classes_of
from nasbench_snas.truth.unit import UnitTable, index_of, key_of, unit_table
from nasbench_snas.truth.unit_packing import comparison_quantile, pack_unit

KEYS = ["".join(digits) for digits in itertools.product("012", repeat=6)]


def write_table(file: Path, seeds: int = 3, spread: int = 0) -> None:
    """Write a table whose functions are told by their first three edges alone."""
    generator = np.random.default_rng(0)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            "architecture,seed,trained,valid_acc,test_acc,valid_images,test_images".split(",")
        )
        rows = {}
        for key, seed in itertools.product(KEYS, range(seeds)):
            first = key[:3] + "000"
            if (first, seed) not in rows:
                rows[first, seed] = [
                    int(key[:3], 3) + 5 * seed + int(generator.integers(-spread, spread + 1))
                    for _ in range(2)
                ]
            valid, test = (100 * (value + 20) / 200 for value in rows[first, seed])
            writer.writerow([key, seed, first, valid, test, 200, 200])


def test_a_table_is_packed_as_counts_and_read_back(tmp_path: Path) -> None:
    source, target = tmp_path / "table.csv", tmp_path / "unit.npz"
    write_table(source)
    pack_unit(source, {"epochs": 7, "command": "x"}, target)
    table = UnitTable(target)
    assert table.right.shape == (27, 3, 2) and table.meta["command"] == "x"
    assert table.means[index_of("222000")] == pytest.approx(100 * (26 + 5 + 20) / 200)
    assert table.deviation == (0.0, 26)  # what all functions share of a seed is no noise
    best, worst = (table.standing("digits", torch.tensor([d] * 6)) for d in (2, 0))
    assert best.regret == 0 and best.among_best and not worst.among_best
    assert worst.regret == pytest.approx(13) and worst.percentile == 0
    assert table.sample().shape == (200, 6)
    assert len({tuple(row) for row in table.sample().tolist()}) == 200
    assert sorted(table.ranked()) == KEYS
    damaged = source.read_text().splitlines()
    damaged[-1] = damaged[-1].replace("28.0", "29.0").replace("28.5", "29.5")
    source.write_text("\n".join(damaged[:-1]) + "\n")
    with pytest.raises(DataError, match="729"):
        pack_unit(source, {}, target)


def test_noise_between_seeds_is_found_and_widens_what_may_be_the_best(tmp_path: Path) -> None:
    source, target = tmp_path / "table.csv", tmp_path / "unit.npz"
    write_table(source, spread=3)  # each count plus a uniform integer from -3 to 3
    pack_unit(source, {"epochs": 7}, target)
    table = UnitTable(target)
    right = 100 * np.sqrt(2 * 4) / 400  # variance 4 of each of two counts
    assert table.deviation[0] == pytest.approx(right, rel=0.35)
    assert table.margin > 2 * table.error
    found = {
        key: table.standing("digits", torch.tensor([int(digit) for digit in key]))
        for key in ("222000", "221000", "122000")  # half a point, and five, behind but for noise
    }
    assert [at.among_best for at in found.values()] == [True, True, False]
    assert found["221000"].regret > 0
    write_table(source)  # without noise one step is enough
    pack_unit(source, {"epochs": 7}, target)
    second = UnitTable(target).standing("digits", torch.tensor([2, 2, 1, 0, 0, 0]))
    assert not second.among_best


@pytest.mark.parametrize(("count", "value"), [(2, 1.645), (3, 1.92), (6, 2.23), (10, 2.42)])
def test_the_quantile_is_the_printed_one(count: int, value: float) -> None:
    """Dunnett 1955, table 1a: one-sided 95 %, infinitely many degrees of freedom."""
    assert comparison_quantile(count, 10**6) == pytest.approx(value, abs=0.03)


def test_keys_are_read_and_others_refused() -> None:
    assert [key_of(index_of(key)) for key in KEYS] == KEYS
    for wrong in ("00000", "000003", "0000000", ""):
        with pytest.raises(GenotypeError):
            index_of(wrong)


def test_the_shipped_table_holds_one_row_for_each_function() -> None:
    table = unit_table()
    space = SnasUnit(channels=4).build(1, 10, 8)
    classes = classes_of(space, [[int(d) for d in key] for key in KEYS], shift=space.affine)
    assert len(table.right) == len(set(classes)) == 216
    for number, first in enumerate(classes):
        assert table.functions[number] == table.functions[first]
    assert table.right.shape[1] == 3 and table.images.tolist() == [287, 360]
    none = table.standing("digits", torch.zeros(6, dtype=torch.long))
    assert none.accuracy == pytest.approx(10, abs=1)  # no input reaches the head
    assert table.means.max() > 60
    assert SnasUnit(channels=4).known() is table and SnasUnit().known() is None


def test_the_command_answers_for_the_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["truth", "--space", "snas-unit", "222222", "--best", "1", "--json"])
    assert not stop.value.code
    asked, best = map(json.loads, capsys.readouterr().out.splitlines())
    assert asked["key"] == "222222" and asked["operations"] == ["conv_3x3"] * 6
    assert best["rank"] == 1 and best["regret"] == 0 and best["among_best"]
    with pytest.raises(SystemExit) as stop:
        main(["truth", "--space", "snas-unit", "222222"])
    assert not stop.value.code
    assert "among the best" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["truth", "--space", "snas-unit", "333333"])
    assert stop.value.code == 2


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert not stop.value.code


@pytest.mark.slow
def test_a_search_reports_exact_loss_exact_gradient_and_regret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(tmp_path)]
    settings = ["--set", "search.epochs=1", "--set", "data.max_train_images=300"]
    run(*root, "-q", "run", "-e", "snas", "-s", "snas-unit", *settings)
    (folder,) = (p for p in tmp_path.iterdir() if (p / "result.json").exists())
    truth = json.loads((folder / "result.json").read_text())["truth"]
    assert truth["exact"]["gradient_norm"] > 0 and 1 < truth["exact"]["loss"] < 4
    assert -1 <= truth["exact"]["cosine"] <= 1
    assert truth["datasets"]["digits"]["error"] > 0
    capsys.readouterr()
    run(*root, "truth", folder.name, "--json")
    record = json.loads(capsys.readouterr().out)
    assert record["regret"] == truth["datasets"]["digits"]["regret"]
    run(*root, "report", "--table", "truth", "--format", "csv", "--out", str(tmp_path / "out"))
    (file,) = (tmp_path / "out").rglob("*truth*.csv")
    head = file.read_text().splitlines()[0]
    for column in ("regret", "among_best", "exact_loss", "exact_gradient_norm", "exact_cosine"):
        assert column in head
