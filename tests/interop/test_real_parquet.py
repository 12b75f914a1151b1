"""Parquet results in polars, duckdb and pyarrow: the same values, and no NaN to rank by."""

import sys
from pathlib import Path

import pytest
from relied import relied_on

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reports"))
from report_runs import make_run

from nasbench_snas.runs.results import export_results, load_rows
from nasbench_snas.runs.schema import COLUMNS, TYPES

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.tools

KINDS = {"object": ("String", "VARCHAR"), "Int64": ("Int64", "BIGINT")}
KINDS |= {"boolean": ("Boolean", "BOOLEAN"), "float64": ("Float64", "DOUBLE")}
"""Our type of a column, to that of polars and of duckdb."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three searches, of which one diverged and has no accuracy."""
    root = tmp_path_factory.mktemp("runs")
    make_run(root, "snas", 0, search=61.5, child=60.0)
    make_run(root, "darts", 1, search=90.0, child=10.0)
    make_run(root, "snas", 2, status="diverged", reason="loss is not finite at step 3")
    file = root / "results.parquet"
    rows = load_rows(root)
    export_results(rows, file)
    return file, rows


def values(rows, column):
    return {row["run_id"]: row[column] for row in rows}


def test_polars_reads_every_column_with_its_type_and_values(results):
    polars = pytest.importorskip("polars")
    file, rows = results
    frame = polars.read_parquet(file)
    assert frame.columns == list(COLUMNS)
    for column, kind in frame.schema.items():
        ours = KINDS[TYPES.get(column, "float64")][0]
        if frame[column].null_count() < len(frame):  # a column without values has any type
            assert str(kind) == ours, relied_on("polars", f"{column} is {ours}")
        found = dict(zip(frame["run_id"], frame[column], strict=True))
        assert found == values(rows, column), column


def test_duckdb_reads_every_column_with_its_type_and_values(results):
    duckdb = pytest.importorskip("duckdb")
    file, rows = results
    for column in COLUMNS:
        found = duckdb.sql(f'select run_id, "{column}", typeof("{column}") from \'{file}\'')
        table = found.fetchall()
        assert {name: value for name, value, _ in table} == values(rows, column), column
        ours = KINDS[TYPES.get(column, "float64")][1]
        if any(value is not None for _, value, _ in table):
            assert {kind for *_, kind in table} == {ours}, relied_on("duckdb", f"{column}: {ours}")


def test_the_best_run_is_the_same_for_all_readers_although_one_diverged(results):
    """polars, duckdb and pyarrow rank a NaN by three rules; a diverged run has no value at all."""
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    from pyarrow import compute, parquet

    file, _ = results
    frame, table = polars.read_parquet(file), parquet.read_table(file)
    column = frame["search_valid_acc"]
    assert column.null_count() == 1 and column.is_nan().sum() == 0
    best = {
        "polars max": column.max(),
        "polars top_k": column.top_k(1).item(),
        "polars filter": column.filter(column > 70).max(),
        "pyarrow": compute.max(table["search_valid_acc"]).as_py(),
        "duckdb": duckdb.sql(f"select max(search_valid_acc) from '{file}'").fetchall()[0][0],
    }
    assert set(best.values()) == {90.0}, relied_on("polars", f"empty values are not ranked: {best}")


def test_reports_of_other_runs_have_one_schema_and_are_read_together(tmp_path):
    dataset = pytest.importorskip("pyarrow.dataset")
    files = []
    for name, status in (("one", "done"), ("two", "diverged")):  # the second has no accuracy
        made = {"search": 61.5, "child": 60.0} if status == "done" else {"reason": "not finite"}
        make_run(tmp_path / name, "snas", 0, status=status, **made)
        files.append(tmp_path / f"{name}.parquet")
        export_results(load_rows(tmp_path / name), files[-1])
    schemas = [dataset.dataset(file).schema.remove_metadata() for file in files]
    assert schemas[0] == schemas[1]
    assert "null" not in {str(kind) for kind in schemas[0].types}
    both = dataset.dataset(files).to_table(columns=["run_id", "search_valid_acc"])
    assert both.column("search_valid_acc").to_pylist() == [61.5, None]
    for package, read in (
        ("polars", lambda m: m.scan_parquet(files).select("search_valid_acc").collect().height),
        ("duckdb", lambda m: len(m.read_parquet([str(f) for f in files]).fetchall())),
    ):
        assert read(pytest.importorskip(package)) == 2
