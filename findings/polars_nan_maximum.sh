#!/usr/bin/env bash
# polars 2.1.0, duckdb 2.0.1, pyarrow 26.0.1: the best architecture in a results table with a diverged run (accuracy NaN).
#
# Expected: each library has one rule for NaN, so that its maximum and the first row of its descending order agree.
# Seen: polars leaves NaN out of max() and arg_max() and takes it for the largest value in top_k(), in sort() and
# in every comparison: "accuracy > 0.6" keeps the diverged run, and its best row is the NaN one or not depending
# on which of the two one writes. duckdb takes NaN for the largest throughout, pyarrow leaves it out of max and puts
# it last in both orders.
#
# Output seen:
#   polars  max 0.9, arg_max a, top_k b, over 0.6: ['a', 'b']
#   duckdb  max nan, arg_max b, over 0.6: ['a', 'b']
#   pyarrow max 0.9, over 0.6: ['a'], descending ['a', 'c', 'b'], ascending ['c', 'a', 'b']
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import math
import sys

import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.parquet

table = pyarrow.table({"arch": ["a", "b", "c"], "acc": [0.9, math.nan, 0.5]})
pyarrow.parquet.write_table(table, "runs.parquet")

frame = polars.read_parquet("runs.parquet")
over = polars.col("acc") > 0.6
one = (
    frame["acc"].max(),
    frame["arch"][frame["acc"].arg_max()],
    frame.top_k(1, by="acc")["arch"].item(),
    frame.filter(over)["arch"].to_list(),
)
print("polars  max {}, arg_max {}, top_k {}, over 0.6: {}".format(*one))

largest, where = duckdb.sql("select max(acc), arg_max(arch, acc) from 'runs.parquet'").fetchall()[0]
kept = [row[0] for row in duckdb.sql("select arch from 'runs.parquet' where acc > 0.6").fetchall()]
two = (math.isnan(largest), where, kept)
print(f"duckdb  max {largest}, arg_max {where}, over 0.6: {kept}")

def order(direction):
    return table["arch"].take(pyarrow.compute.array_sort_indices(table["acc"], order=direction)).to_pylist()

three = (
    pyarrow.compute.max(table["acc"]).as_py(),
    table.filter(pyarrow.compute.field("acc") > 0.6)["arch"].to_pylist(),
    order("descending"),
    order("ascending"),
)
print("pyarrow max {}, over 0.6: {}, descending {}, ascending {}".format(*three))
if (one, two, three) != (
    (0.9, "a", "b", ["a", "b"]),
    (True, "b", ["a", "b"]),
    (0.9, ["a"], ["a", "c", "b"], ["c", "a", "b"]),
):
    sys.exit(f"changed: relied on three rules for NaN, saw {one}, {two}, {three}")
PY
