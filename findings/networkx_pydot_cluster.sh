#!/usr/bin/env bash
# networkx 3.6.1 with pydot 4.0.1: a cell drawn inside a cluster of a .dot file.
#
# Expected: reading gives every node and every edge; a cluster only groups them for the drawing.
# Seen: what stands inside the subgraph is dropped without a word: its edges, its attributes and each of its nodes
# that no edge outside names. A search cell drawn as a cluster between its inputs and its output comes back
# as its outermost edges.
#
# Output seen:
#   nodes ['input', 'n0', 'n1', 'output'] edges [('input', 'n0'), ('n1', 'output')]
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  networkx==3.6.1 pydot==4.0.1 pyparsing==3.3.3 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

import networkx
import pydot

text = """digraph cell {
  subgraph cluster_normal { n0 -> n1 [label=skip]; n0 -> n2 [label=pool]; n2 -> n1 [label=conv]; }
  input -> n0; n1 -> output;
}"""
read = networkx.nx_pydot.from_pydot(pydot.graph_from_dot_data(text)[0])
nodes, edges = sorted(read.nodes), sorted(read.edges())
print("nodes", nodes, "edges", edges)
if (nodes, edges) != (["input", "n0", "n1", "output"], [("input", "n0"), ("n1", "output")]):
    sys.exit("changed: relied on a reader that leaves out what a cluster holds")
PY
