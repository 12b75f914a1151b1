"""The shipped NAS-Bench-201 table: values, names, errata, and the command."""

from __future__ import annotations

import json
import time
from itertools import product

import numpy as np
import pytest

from nasbench_snas.cli.main import main
from nasbench_snas.errors import ConfigError, DataError, GenotypeError
from nasbench_snas.spaces.nasbench201 import architecture_string
from nasbench_snas.truth import keys
from nasbench_snas.truth.errata import count, shifts
from nasbench_snas.truth.published import DATASETS, FILE, PublishedTable, parameters, published

KEYS = ["".join(map(str, digits)) for digits in product(range(5), repeat=6)]


@pytest.mark.parametrize(
    ("dataset", "key", "accuracy"),
    [
        ("cifar10", "333132", 91.607),
        ("cifar100", "333133", 73.493),
        ("imagenet16_120", "322133", 46.733),
    ],
)
def test_the_best_architectures_are_the_published_ones(
    dataset: str, key: str, accuracy: float
) -> None:
    record = published().record(published().ranked(dataset)[0], dataset)
    assert (record.key, record.rank, record.regret) == (key, 1, 0)
    assert record.accuracy == pytest.approx(accuracy, abs=5e-4)


def test_the_table_is_small_and_read_within_20_ms_of_processor_time() -> None:
    assert FILE.stat().st_size < 500_000
    assert FILE.with_name("NASBENCH201-LICENSE.txt").read_text().count("Xuanyi Dong") == 1
    seconds = []
    for _ in range(5):
        begin = time.process_time()
        PublishedTable()
        seconds.append(time.process_time() - begin)
    assert min(seconds) <= 0.020


def test_a_damaged_table_is_a_typed_error(tmp_path: object) -> None:
    file = tmp_path / "table.npz"  # type: ignore[operator]
    file.write_bytes(FILE.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot read"):
        PublishedTable(file)


def test_means_are_over_the_seeds_that_were_run() -> None:
    table, dataset = published(), "imagenet16_120"
    values = table.accuracies(dataset)
    assert 2 <= (~np.isnan(values)).sum(axis=1).min() < 3
    assert np.allclose(table.mean(dataset), np.nanmean(values, axis=1), rtol=0, atol=1e-12)
    assert float(np.nanmin(table.accuracies("cifar10"))) > 5


def test_every_key_comes_back_from_string_tuple_and_genotype() -> None:
    for key in KEYS[::37]:
        assert keys.read_key(keys.key_to_string(key)) == key
        assert keys.read_key(str(keys.key_to_tuple(key))) == key
        genotype = keys.key_to_genotype(key)
        assert keys.genotype_to_key(genotype) == key
        assert architecture_string(genotype) == keys.key_to_string(key)


def test_edge_and_operation_order_are_those_of_a_published_string_and_its_parameters() -> None:
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    text += "+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    assert keys.read_key(text) == "333132"
    assert parameters("333132") == 1_073_466  # published for this string on CIFAR-10
    assert keys.key_to_tuple("333132") == (2, 2, 0, 2, 2, 3)  # 0->1 0->2 0->3 1->2 1->3 2->3


@pytest.mark.parametrize(
    "text",
    [
        "333139", "33313", "333132\n0", "٣33132", "(1, 2, 3)", "(9, 0, 0, 0, 0, 0)", "",
        "|none~0|+|none~0|none~0|+|none~0|none~1|none~2|",
        "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    ],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(GenotypeError):
        keys.read_key(text)


def test_a_trailing_line_break_is_no_other_architecture() -> None:
    assert keys.read_key(keys.key_to_string("333132") + "\n") == "333132"


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="cifar100"):
        published().record("333132", "cifar-100")


def test_the_errata_are_counted_and_their_shift_is_significant_where_too_small() -> None:
    counts = count(published())
    assert (counts.records, counts.odd, counts.architectures) == (39_419, 294, 204)
    assert (sum(counts.missing.values()), sum(counts.extra.values()), counts.other) == (238, 56, 0)
    found = {(s.dataset, s.stated): s for s in shifts(published())}
    for dataset, mean in zip(DATASETS, (-0.33, -0.45, -0.78), strict=True):
        shift = found[dataset, "smaller"]
        assert shift.mean == pytest.approx(mean, abs=0.01)
        assert shift.high < 0 and shift.p < 1e-8
        assert found[dataset, "larger"].low < 0 < found[dataset, "larger"].high


def test_a_record_shows_its_mean_with_and_without_odd_records() -> None:
    record = published().record("021210")
    assert record.odd_seeds == (0, 2)
    assert record.accuracy_without_odd == record.accuracies[1] != record.accuracy
    assert published().record("021210", odd=False).rank != record.rank


def test_the_command_answers_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["truth", "333132", "--rank", "15625", "--json"])
    assert not stop.value.code
    best, worst = map(json.loads, capsys.readouterr().out.splitlines())
    assert (best["rank"], best["accuracy"]) == (1, pytest.approx(91.607, abs=5e-4))
    assert worst["percentile"] == 0
    with pytest.raises(SystemExit) as stop:
        main(["truth", "--errata"])
    assert "294 of 39,419 records, of 204 architectures" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["truth", "333139"])
    assert stop.value.code == 2
