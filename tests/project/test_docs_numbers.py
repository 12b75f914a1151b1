"""Numbers of README and docs that committed results, a study or the registry can give."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from nasbench_snas.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TITLES = {"snas-unit": "snas-unit", "nasbench201": "NAS-Bench-201, one cell"}
STUDIES = DOCS / "figures" / "gradients"


def table(text: str, head: str) -> list[dict[str, str]]:
    """Return the rows of the first Markdown table in ``text`` whose head begins with ``head``."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head}"))
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[start:]]
    names, rows = cells[0], []
    for row in cells[2:]:
        if len(row) != len(names):
            break
        rows.append(dict(zip(names, row, strict=True)))
    return rows


def points(text: str) -> dict[str, str]:
    """Return the part of a study's page below the head of each of its points, by that head."""
    parts = re.split(
        r"^(?:### |\*\*)((?:init|snas/)[^\n*]*normalised[^\n*]*)\**$", text, flags=re.M
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_number_of_estimators_is_that_of_the_registry(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    (other,) = re.findall(r"SNAS, DARTS, ENAS and (\d+) other", text)
    assert int(other) + 3 == len(Registry().estimators())


def test_the_readme_lists_every_estimator_as_the_registry_does() -> None:
    rows = table((ROOT / "README.md").read_text(encoding="utf-8"), "estimator | family")
    shown = {row["estimator"].strip("`"): row for row in rows}
    entries = {entry.name: entry.attributes for entry in Registry().estimators()}
    assert shown.keys() == entries.keys()
    for name, attributes in entries.items():
        assert shown[name]["family"] == attributes["family"], name
        assert shown[name]["bias"] == attributes["bias"], name


def test_the_page_of_all_estimators_is_its_table_of_results() -> None:
    names = {
        "Bias² / \\|g\\|²": "measured_relative_bias_sq",
        "Variance / \\|g\\|²": "measured_relative_variance",
        "Forward equivalents": "measured_forward_equivalents",
        "MSE at 100 F / \\|g\\|²": "measured_relative_mse",
        "Cosine to exact": "measured_cos_to_ref",
        "Search acc. (%)": "measured_search_valid_acc",
        "Child acc. (%)": "measured_child_valid_acc",
        "Gap": "measured_child_gap",
    }
    page = table((DOCS / "all-estimators.md").read_text(encoding="utf-8"), "Estimator | Bias")
    with (DOCS / "example" / "tables" / "estimators.csv").open(newline="") as stream:
        stored = {row["estimator"]: row for row in csv.DictReader(stream)}
    assert {row["Estimator"] for row in page} == stored.keys()
    compared = 0
    for row in page:
        for head, column in names.items():
            value = stored[row["Estimator"]][column]
            if row[head] in ("—", ""):
                assert value in ("", "—"), (row["Estimator"], head)
            else:
                assert float(row[head]) == pytest.approx(float(value), rel=6e-3, abs=6e-3), (
                    row["Estimator"],
                    head,
                )
                compared += 1
    assert compared > 300


@pytest.mark.parametrize("space", ["snas-unit", "nasbench201"])
def test_the_page_of_the_gradient_study_is_the_study(space: str) -> None:
    text = (DOCS / "gradient-study.md").read_text(encoding="utf-8")
    start = text.index(f"\n## {TITLES[space]}")
    end = text.find("\n## ", start + 5)
    shown = points(text[start : None if end < 0 else end])
    stored = points((STUDIES / space / "study.md").read_text(encoding="utf-8"))
    assert shown.keys() == stored.keys() and shown
    pairs = {"bias² [95 % CI]": 2, "bias <": 4, "variance [95 % CI]": 5, "cos": 6, "F": 8}
    pairs |= {"MSE@100F": 10, "cos@100F": 11, "θ bias²": 12, "arch. share": 14}
    for point, part in shown.items():
        table_lines = stored[point].strip().split("\n\n")[0].splitlines()[2:]
        lines = [[c.strip() for c in line.split("|")[1:-1]] for line in table_lines]
        study = {cells[0]: cells for cells in lines}
        page = {row["estimator"]: row for row in table(part, "estimator | n")}
        assert page.keys() == study.keys(), point
        for name, row in page.items():
            for head, place in pairs.items():
                # a later commit withdraws intervals, and never changes a number
                want = study[name][place]
                assert row[head] in (want, want.split(" [")[0]), (point, name, head)


@pytest.mark.parametrize("space", ["snas-unit", "nasbench201"])
def test_the_rows_of_a_study_are_its_tables(space: str) -> None:
    with (STUDIES / space / "rows.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["coord_set"] == "all"]
    stored = points((STUDIES / space / "study.md").read_text(encoding="utf-8"))
    values = {(row["point"], row["label"]): row for row in rows}
    compared = 0
    for head, part in stored.items():
        for line in part.splitlines():
            cells = [c.strip() for c in line.split("|")[1:-1]]
            row = values.get((head.split(":")[0], cells[0])) if cells else None
            if row is None:
                continue
            bias = float(cells[2].split(" [")[0])
            assert bias == pytest.approx(float(row["relative_bias_sq"]), rel=6e-3, abs=1e-9)
            assert float(cells[8]) == pytest.approx(float(row["forward_equivalents"]), rel=0.05)
            compared += 1
    assert compared == len(values)


def test_the_readmes_example_is_the_example_page() -> None:
    readme = table((ROOT / "README.md").read_text(encoding="utf-8"), "estimator | search accuracy")
    page = table((DOCS / "example-result.md").read_text(encoding="utf-8"), "Estimator | Level")
    stored = {row["Estimator"].split(" ")[0]: row for row in page}
    columns = {"search accuracy": "Measured: Search acc.", "child accuracy": "Measured: Child acc."}
    for row in readme:
        name = row["estimator"].split(" ")[0]
        for begin, column in columns.items():
            ours = next(v for k, v in row.items() if k.startswith(begin))
            theirs = next(v for k, v in stored[name].items() if k.startswith(column))
            known = re.findall(r"[\d.]+", theirs)
            for number in re.findall(r"[\d.]+", ours):
                assert number in known, (name, ours, theirs)


def test_the_first_command_prints_one_thing_on_all_pages() -> None:
    def printed(page: Path) -> list[str]:
        text = page.read_text(encoding="utf-8")
        start = text.index("search snas on darts-cnn:")
        return text[start : text.index("\n```", start)].splitlines()

    whole = printed(DOCS / "quickstart.md")
    short = [line for line in printed(ROOT / "README.md") if line != "…"]
    assert len(whole) > len(short) > 10 and set(short) <= set(whole)
