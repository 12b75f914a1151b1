"""The transcribed tables: every number is in its quote, and every quote is in the paper."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import nasbench_snas
from nasbench_snas.architecture.zoo import zoo_names
from nasbench_snas.cost.published import PublishedRow, compare, find_published, published_rows

NUMBERS = {
    1: ("search_valid_acc", "child_valid_acc", "search_gpu_days"),
    2: ("test_error", "test_error_std", "params_m", "search_gpu_days"),
    3: ("top1_error", "top5_error", "params_m", "madds_m", "search_gpu_days"),
}
WORDS = ("method", "completeness")
ROWS = [row for table in (1, 2, 3) for row in published_rows(table)]


def identity(row: PublishedRow) -> str:
    return f"{row.table}-{row.architecture}"


def test_every_published_row_is_there() -> None:
    assert [len(published_rows(table)) for table in (1, 2, 3)] == [2, 14, 13]
    for table in (1, 2, 3):
        names = [row.architecture for row in published_rows(table)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", ROWS, ids=identity)
def test_every_number_and_word_of_a_row_stands_in_its_quote_in_this_order(
    row: PublishedRow,
) -> None:
    cells = row.values["quote"].split("\t")[1:]
    expected = [row.values[column] for column in NUMBERS[row.table] if row.values[column]]
    printed = [number for cell in cells for number in re.findall(r"\d+(?:\.\d+)?", cell)]
    assert printed == expected
    for word in WORDS:
        assert row.values.get(word, "") in (*cells, "")


@pytest.mark.parametrize("row", ROWS, ids=identity)
def test_every_quote_is_a_line_of_the_paper(row: PublishedRow) -> None:
    paper = Path(os.environ.get("NASBENCH_TEST_PAPER", ""))
    if not paper.is_file():
        root = Path(nasbench_snas.__file__).resolve().parents[1]
        paper = root.parent / "shared" / "paper" / "snas.md"
    if not paper.is_file():
        pytest.skip("the paper's text is not here; name it in NASBENCH_TEST_PAPER")
    lines = paper.read_text(encoding="utf-8").splitlines()
    start = next(i for i, text in enumerate(lines) if re.match(r"Architecture\t", text))
    assert row.values["quote"] in lines[start:]


def test_missing_spreads_stay_missing() -> None:
    mild = next(row for row in published_rows(2) if "mild" in row.architecture)
    assert (mild.values["test_error"], mild.values["test_error_std"]) == ("2.98", "")


def test_constructed_networks_name_genotypes_of_the_zoo() -> None:
    for row in ROWS:
        assert (row.settings is None) == (not row.genotype)
        assert not row.genotype or row.genotype in zoo_names()
        if row.settings is not None:
            assert find_published(row.genotype, row.settings) == row


def test_statuses_follow_half_a_printed_digit_and_three_percent() -> None:
    assert compare(2_847_358, 2.8e6) == "match"
    assert compare(2_849_999, 2.8e6) == "match"
    assert compare(2_850_001, 2.8e6) == "near"
    assert compare(2_661_382, 2.9e6) == "mismatch"
    assert compare(1.0, None) == "unpublished"
