"""Every equation of the paper has code and a test, and the page says which."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "equations.py"


@pytest.fixture(scope="module")
def equations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("equations_page", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_equation_has_code_and_a_test(equations: ModuleType) -> None:
    numbers = set(range(1, 41))
    assert set(equations.MEANING) == numbers
    assert {n for n, _ in equations.in_code()} == numbers
    assert {n for n, _ in equations.in_tests()} == numbers


def test_the_page_is_the_one_that_the_markers_make(equations: ModuleType) -> None:
    text = equations.PAGE.read_text(encoding="utf-8")
    assert text == equations.page(equations.measured()), "run: python docs/equations.py"


@pytest.mark.slow
def test_the_table_of_the_premise_is_measured(equations: ModuleType) -> None:
    def numbers(table: str) -> list[float]:
        return [float(n) for n in re.findall(r"\| (\d[\d.e+-]*)(?= \|)", table)]

    old, new = numbers(equations.measured()), numbers(equations.premise())
    assert len(old) == len(new) == 16
    for was, now in zip(old, new, strict=True):
        assert now == pytest.approx(was, rel=0.05) or max(was, now) < 1e-10
