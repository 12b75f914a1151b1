"""The notebooks under ``examples/``: stored without outputs, short, and they run."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import nasbench_snas

EXAMPLES = Path(__file__).parents[2] / "examples"


def cells(name: str) -> list[str]:
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    return ["".join(cell["source"]) for cell in code]


def run(name: str) -> list[object]:
    """Run the cells of a notebook and return what each shows: its last expression."""
    names: dict[str, object] = {"__name__": "__main__"}
    shown = []
    for text in cells(name):
        tree = ast.parse(text)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), name, "eval"), names))
    return shown


def test_an_own_loss_and_an_own_estimator_take_fewer_than_fifteen_lines_of_code() -> None:
    first = cells("my-own-estimator")[0]
    statements = [line for line in first.splitlines() if line.strip()]
    code = [line for line in statements if not line.startswith(("import", "from"))]
    assert len(code) < 15


@pytest.mark.slow
def test_an_own_estimator_is_compared_drawn_and_searched_with() -> None:
    comparison, figure, result = run("my-own-estimator")
    rows = {row.estimator: row for row in comparison.rows}  # type: ignore[attr-defined]
    own, rloo, snas = rows["own-mean"], rows["rloo"], rows["snas"]
    assert abs(own.bias2 - 1 / 16) < 5 * own.bias2_error  # as the text says: (1/n)^2
    assert abs(rloo.bias2) < 5 * rloo.bias2_error
    assert snas.variance < own.variance < rloo.variance
    assert isinstance(figure, Figure) and isinstance(result, nasbench_snas.SearchResult)


@pytest.mark.slow
def test_three_estimators_are_compared() -> None:
    gap, result, drawn, matrix, regret, table = run("compare-estimators")
    assert all(isinstance(figure, Figure) for figure in (gap, drawn, regret))
    assert isinstance(result, nasbench_snas.SearchResult) and len(matrix) == 10  # type: ignore[arg-type]
    gaps = dict(zip(table["estimator"], table["child_gap"], strict=True))  # type: ignore[index]
    assert gaps["darts"] > gaps["snas"] + 5  # as the text says
