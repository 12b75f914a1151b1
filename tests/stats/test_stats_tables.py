"""Texts of cells: the rules, one by one."""

from __future__ import annotations

import math

import pytest

from nasbench_snas.errors import ConfigError
from nasbench_snas.stats import failed_note, format_cell, interquartile_mean, supported_decimals

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
    assert cell.iqm == pytest.approx(interquartile_mean(TEN))
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
