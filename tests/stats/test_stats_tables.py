"""Cell texts and bold rows: the rules, one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.stats import bold_rows, failed_note, format_cell, iqm, supported_decimals

LEVELS = {"a": 10.0, "b": 50.0, "c": 90.0}
TEN = [93.0, 93.1, 93.2, 93.3, 93.4, 93.5, 93.6, 93.7, 93.8, 93.9]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "—"),
        ([93.456], "93.46"),
        ([93.456, 92.1], "93.46, 92.10"),
        ([93.1, 93.2, 93.3], "mean 93.20, range [93.10, 93.30]"),
        ([93.1, 93.2, 93.3, 93.4], "mean 93.25, range [93.10, 93.40]"),
        ([93.1, 93.2, 93.3, 93.4, 93.5], "93.30 ± 0.16 (5)"),
    ],
)
def test_cell_text_follows_the_number_of_seeds(values, text):
    assert format_cell(values).text == text


def test_no_plus_minus_below_five_seeds():
    for n in range(5):
        cell = format_cell(TEN[:n])
        assert "±" not in cell.text
        assert cell.interval is None


def test_ten_seeds_also_show_the_iqm_and_the_interval_is_the_medians():
    cell = format_cell(TEN)
    assert cell.iqm == pytest.approx(iqm(TEN).estimate)
    assert cell.text == "93.45 ± 0.30 (10); IQM 93.45"
    assert "IQM" not in format_cell(TEN[:9]).text
    # 1 - 2 P(Bin(10, 1/2) <= 1) = 1 - 22 / 1024 = .979 for the second and the ninth value
    assert (cell.interval.low, cell.interval.high) == (93.1, 93.8)
    assert format_cell(TEN[:6]).interval.low == 93.0


def test_standard_deviation_has_n_minus_one():
    cell = format_cell([1.0, 2.0, 3.0, 4.0, 5.0])
    assert cell.std == pytest.approx(math.sqrt(2.5))
    assert cell.median == 3 and cell.interval is None


def test_failed_runs_enter_the_leading_iqm_with_the_value_of_guessing():
    cell = format_cell([90.0] * 7 + [None] * 3, failed_value=10.0)
    # two of ten are cut at each end: (10 + 5 x 90) / 6
    assert cell.iqm == cell.centre == pytest.approx(460 / 6)
    assert cell.text.startswith("IQM 76.67, median 90.00, quartiles [30.00, 90.00]")
    assert cell.text.endswith("(10), 3/10 failed")
    assert cell.interval.low == 10.0 and cell.mean == 90.0


def test_failed_runs_without_a_value_to_count_with_leave_no_iqm_and_say_whose_quantiles():
    values = [*TEN[:5], None, math.nan]
    cell = format_cell(values, n_failed=1)
    assert (cell.n, cell.n_failed, cell.iqm) == (5, 3, None)
    assert cell.text.startswith("of finished runs: ") and cell.text.endswith("3/8 failed")
    assert format_cell([None, None]).text == "—, 2/2 failed"
    assert format_cell([93.0], n_failed=4).text == "of finished runs: 93.00, 4/5 failed"
    assert format_cell([93.0], n_failed=1, failed_value=10).text == (
        "93.00, failed at 10.00, 1/2 failed"
    )
    assert "±" not in format_cell(TEN, n_failed=1).text


def test_a_row_that_holds_collapses_says_so_and_shows_quantiles_instead_of_a_plus_minus():
    cell = format_cell([88.0, 88.5, 89.0, 88.2, 88.7, 12.0], failed_value=10.0)
    assert cell.n_collapsed == 1 and "1/6 collapsed" in cell.text and "±" not in cell.text
    # a collapse by ten standard deviations that stays far above guessing
    cell = format_cell([88.0, 88.5, 89.0, 88.2, 88.7, 88.4, 80.0], failed_value=10.0)
    assert cell.n_collapsed == 1
    assert format_cell([88.0, 88.5, 89.0, 88.2, 88.7, 87.5], failed_value=10.0).n_collapsed == 0
    errors = format_cell([3.0, 3.1, 2.9, 88.0], failed_value=90.0)
    assert errors.n_collapsed == 1 and "range [" in errors.text


def test_failed_note_is_empty_without_failures_and_refuses_impossible_counts():
    assert failed_note(0, 5) == ""
    assert failed_note(2, 5) == "2/5 failed"
    with pytest.raises(ConfigError):
        failed_note(6, 5)


@pytest.mark.parametrize(
    ("half", "decimals"),
    [(0.034, 2), (0.34, 2), (1.0, 1), (3.4, 1), (10.0, 0), (340.0, 0), (0.0, 2)],
)
def test_decimals_do_not_exceed_what_the_interval_supports(half, decimals):
    assert supported_decimals(half) == decimals


def test_wide_cells_lose_decimals_in_all_their_numbers():
    assert format_cell([50.0, 60.0, 70.0, 80.0, 90.0]).text == "70 ± 16 (5)"


def settings(*names: str, **changes: dict[str, str]) -> dict[str, dict[str, str]]:
    base = {"preset": "small", "space": "unit", "dataset": "digits", "device_class": "cpu"}
    return {name: base | changes.get(name, {}) for name in names}


def table(n: int = 8) -> dict[str, dict[int, float | None]]:
    noise = np.random.default_rng(0).normal(scale=0.1, size=(3, n))
    return {
        "low": {s: 80 + noise[0, s] for s in range(n)},
        "top": {s: 90 + noise[1, s] for s in range(n)},
        "tie": {s: 90 + noise[1, s] - 0.001 * (-1) ** s for s in range(n)},
    }


def test_best_row_and_rows_that_cannot_be_told_from_it_are_bold():
    result = bold_rows(table(), settings("low", "top", "tie"))
    assert set(result.bold) == {"top", "tie"}
    assert result.reason == ""
    low = next(c for c in result.comparisons if c.row == "low")
    assert low.p_holm == pytest.approx(4 / 256)


@pytest.mark.parametrize(("n", "told"), [(6, True), (7, False)])
def test_seeds_too_few_for_any_p_value_are_said(n, told):
    # two comparisons: the smallest adjusted p-value is 4 / 64 with six seeds, 4 / 128 with seven
    rows = {name: {s: level + 0.01 * s for s in range(n)} for name, level in LEVELS.items()}
    result = bold_rows(rows, settings(*LEVELS))
    assert result.bold == (("a", "b", "c") if told else ("c",))
    assert ("0.062" in result.powerless and "it takes 7 seeds" in result.powerless) == told
    assert bool(result.powerless) == told


def test_lower_is_better_for_errors():
    errors = {name: {s: 100 - v for s, v in row.items()} for name, row in table().items()}
    result = bold_rows(errors, settings("low", "top", "tie"), higher_is_better=False)
    assert set(result.bold) == {"top", "tie"}
    assert bold_rows(errors, settings("low", "top", "tie")).bold == ("low",)


def test_nothing_is_bold_below_six_seeds_and_the_reason_names_the_rows():
    result = bold_rows(table(5), settings("low", "top", "tie"))
    assert result.bold == () and "fewer than 6 seeds: low, top, tie" in result.reason
    short = table() | {"tie": {0: 90.0}}
    assert bold_rows(short, settings("low", "top", "tie")).bold == ()


@pytest.mark.parametrize("key", ["preset", "space", "dataset", "device_class"])
def test_nothing_is_bold_when_rows_differ_in_a_setting(key):
    result = bold_rows(table(), settings("low", "top", "tie", low={key: "other"}))
    assert result.bold == () and result.reason == f"rows differ in {key}"


def test_rows_must_share_six_seeds_with_the_best():
    rows = table() | {"tie": {s + 100: 89.0 for s in range(8)}}
    result = bold_rows(rows, settings("low", "top", "tie"))
    assert result.bold == () and "shared with top: tie" in result.reason


def test_a_row_with_failed_runs_is_not_bold_and_the_reason_says_so():
    rows = table()
    rows["top"][3] = None
    result = bold_rows(rows, settings("low", "top", "tie"))
    assert result.bold == ("tie",) and "failed runs: top" in result.reason


def test_a_row_without_settings_is_an_error():
    with pytest.raises(DataError, match="device_class"):
        bold_rows(table(), {"low": {}, "top": {}, "tie": {}})
