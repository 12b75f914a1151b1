"""Bold rows: the rules, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_snas.errors import DataError
from nasbench_snas.stats import bold_rows

NAMES = ("low", "top", "tie")


def settings(*names: str, **changes: dict[str, str]) -> dict[str, dict[str, str]]:
    base = {"preset": "small", "space": "unit", "dataset": "digits", "device_class": "cpu"}
    return {name: base | changes.get(name, {}) for name in names}


def table(n: int = 8) -> dict[str, dict[int, float | None]]:
    noise = np.random.default_rng(0).normal(scale=0.1, size=(2, n))
    return {
        "low": {s: 80 + noise[0, s] for s in range(n)},
        "top": {s: 90 + noise[1, s] for s in range(n)},
        "tie": {s: 90 + noise[1, s] - 0.001 * (-1) ** s for s in range(n)},
    }


def test_best_row_and_rows_that_are_not_told_from_it_are_bold():
    result = bold_rows(table(), settings(*NAMES))
    assert result.bold == ("top", "tie") and result.reason == ""
    ((row, p),) = result.worse
    assert row == "low" and p <= 0.03
    assert result.n == 8 and 0 < result.detectable < 5


def test_the_best_row_follows_the_sign_of_the_measure():
    errors = {name: {s: 100 - v for s, v in row.items()} for name, row in table().items()}
    result = bold_rows(errors, settings(*NAMES), higher_is_better=False)
    assert result.bold == ("top", "tie")
    assert bold_rows(errors, settings(*NAMES)).bold == ("low",)


def test_nothing_is_bold_below_six_seeds_and_the_reason_names_rows_that_lack_some():
    result = bold_rows(table(5), settings(*NAMES))
    assert result.bold == () and result.reason == "the rows share 5 seeds, fewer than 6"
    short = table() | {"tie": {0: 90.0}}
    result = bold_rows(short, settings(*NAMES))
    assert result.bold == () and "lack seeds: tie (1 of 8)" in result.reason


def test_only_seeds_that_all_rows_have_are_compared():
    rows = table(9)
    rows["low"] |= {s: 99.0 for s in range(100, 120)}
    result = bold_rows(rows, settings(*NAMES))
    assert result.bold == ("top", "tie") and result.n == 9


@pytest.mark.parametrize("key", ["preset", "space", "dataset", "device_class"])
def test_nothing_is_bold_when_rows_differ_in_a_setting(key):
    result = bold_rows(table(), settings(*NAMES, low={key: "other"}))
    assert result.bold == () and result.reason == f"rows differ in {key}"


def test_failed_runs_count_with_the_value_of_guessing_or_as_lost():
    rows = table(14)
    for seed in range(4):
        rows["tie"][seed] = None
    for failed_value in (10.0, None):
        result = bold_rows(rows, settings(*NAMES), failed_value=failed_value, decides=1e3)
        assert set(result.bold) == {"top", "tie"} and result.best == "top"
    rows["tie"] = dict.fromkeys(range(14))
    result = bold_rows(rows, settings(*NAMES), failed_value=10.0)
    assert result.bold == ("top",) and [row for row, _ in result.worse] == ["tie", "low"]


def test_several_rows_are_not_bold_where_the_design_could_not_tell_the_stated_difference():
    noise = np.random.default_rng(3).normal(80, 4, size=(3, 6))
    rows = {name: dict(enumerate(row)) for name, row in zip(NAMES, noise, strict=True)}
    result = bold_rows(rows, settings(*NAMES))
    assert result.bold == () and result.detectable > 5
    assert f"only a difference of {result.detectable:.1f} would be told" in result.reason
    assert bold_rows(rows, settings(*NAMES), decides=result.detectable).bold == NAMES


def test_a_row_that_all_others_are_told_from_is_bold_whatever_the_scatter():
    noise = np.random.default_rng(4).normal(0, 8, size=(3, 8))
    rows = {
        name: dict(enumerate(row + level))
        for name, row, level in zip(NAMES, noise, (10, 90, 20), strict=True)
    }
    result = bold_rows(rows, settings(*NAMES))
    assert result.detectable > 5 and result.bold == ("top",)


def test_six_seeds_decide_between_two_rows_and_the_best_two_of_three():
    # the smallest p-value of two rows is 2 / 64 = .031, below the level of two rows
    rows = {name: {s: level + 0.01 * s for s in range(6)} for name, level in (("a", 1), ("b", 9))}
    assert bold_rows(rows, settings("a", "b")).bold == ("b",)
    rows["c"] = dict.fromkeys(range(6), 5.0)
    result = bold_rows(rows, settings("a", "b", "c"))
    assert result.bold == ("b",) and [row for row, _ in result.worse] == ["a", "c"]
    assert result.worse[0][1] <= 0.03 < result.worse[1][1] <= 0.05


def test_rows_without_any_scatter_are_decided_and_equal_rows_are_all_bold():
    rows = {name: dict.fromkeys(range(6), 50.0) for name in NAMES}
    result = bold_rows(rows, settings(*NAMES))
    assert result.bold == NAMES and result.worse == ()


def test_a_row_without_settings_is_an_error():
    with pytest.raises(DataError, match="device_class"):
        bold_rows(table(), {"low": {}, "top": {}, "tie": {}})
