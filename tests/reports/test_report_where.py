"""The selection language: what it selects, and that nothing is evaluated."""

from __future__ import annotations

import pytest

from nasbench_snas.errors import ConfigError
from nasbench_snas.settings.where import parse_where

ROW = {"space": "darts-cnn", "preset": "paper", "seed": 3, "dirty": False, "gpu_days": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("space=darts-cnn and preset=paper", True),
        ("space=darts-cnn and preset=smoke", False),
        ("preset=smoke or seed=3", True),
        ("not preset=smoke", True),
        ("not (preset=paper or seed=9)", False),
        ("preset=smoke or preset=paper and seed=9", False),
        ("(preset=smoke or preset=paper) and seed=3", True),
        ("seed>=3 and seed<4", True),
        ("seed > 3", False),
        ("seed == 3.0", True),
        ("preset != paper", False),
        ("space ~ CNN", True),
        ("space = 'darts-cnn'", True),
        ('preset = "paper"', True),
        ("dirty=false", True),
        ("dirty=true", False),
        ("gpu_days=none", True),
        ("gpu_days < 1", False),
        ("seed=three", False),
    ],
)
def test_an_expression_selects_what_it_says(text: str, expected: bool) -> None:
    assert parse_where(text, ROW)(ROW) is expected


@pytest.mark.parametrize(
    "text",
    [
        "space",
        "space=",
        "= 3",
        "spce=x",
        "seed > many",
        "(seed=3",
        "seed=3)",
        "seed=3 preset=paper",
        "and seed=3",
        "__import__('os').system('true')",
        "seed=3; seed=4",
        "(" * 200 + "seed=3" + ")" * 200,
        "not " * 2000 + "seed=3",
        'seed = 3 "',
    ],
)
def test_what_cannot_be_read_is_a_settings_error(text: str) -> None:
    with pytest.raises(ConfigError, match="where"):
        parse_where(text, ROW)


def test_a_misspelt_column_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'space'"):
        parse_where("spaces=x", ROW)
