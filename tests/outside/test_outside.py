"""Text of strangers on its way to a terminal, a file name, a spreadsheet."""

from __future__ import annotations

import random

import pytest

from nasbench_snas.outside import file_name, guarded, unguarded, visible


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/x",
        "/etc/x",
        "a\\..\\b",
        ".",
        "..",
        "...",
        "",
        ".hidden",
        "a\0b",
        "a\nb",
        "ä" * 400,
    ],
)
def test_a_file_name_is_one_visible_part_of_a_path(name: str) -> None:
    made = file_name(name, "other")
    assert made and not made.startswith(".") and not set(made) & set("/\\\0\n")
    assert len(made.encode()) <= 120


def test_plain_names_stay_as_they_are() -> None:
    for name in ("snas-mild", "snas-darts-cnn-smoke-s0-9f31c2aa", "zelle_1.0", "größe"):
        assert file_name(name, "other") == name


def test_control_characters_are_written_out_and_text_stays() -> None:
    shown = visible("a\x1b[2Jb\rc\x07\x9b1md\u202ee\udcff")
    assert shown == "a\\x1b[2Jb\\rc\\x07\\x9b1md\\u202ee\\udcff"
    text = "bias² ± 0.1\tλ → 模型\n"
    assert visible(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+1x", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "'=1", "＝1"])
def test_a_formula_becomes_a_text_and_is_read_back_unchanged(text: str) -> None:
    cell = guarded(text)
    assert cell[0] == "'" and cell != text
    assert unguarded(cell) == text


@pytest.mark.parametrize("text", ["", "snas", "-2.13", "+5", "-1e-3", "'quoted'", "it's", "a=b"])
def test_other_texts_and_numbers_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text == unguarded(text)


def test_reading_undoes_guarding_for_any_text() -> None:
    chance = random.Random(0)
    for _ in range(20_000):
        text = "".join(chance.choices("'=+-@\t\r\n1.e a", k=chance.randrange(6)))
        assert unguarded(guarded(text)) == text, repr(text)
