#!/usr/bin/env bash
# pynauty 2.8.8.1: the certificate of a coloured graph as a key for cells.
#
# Expected: equal certificates mean isomorphic graphs; a cell with operations as vertex colours can be stored under its
# certificate.
# Seen: the certificate does not hold the colouring. One chain of four vertices, once with four colours and once with
# two, has the same certificate, although isomorphic() tells them apart: the sizes of the colour classes (and
# which operation each class stands for) have to be part of the key.
#
# Output seen:
#   certificates equal: True, isomorphic: False
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pynauty==2.8.8.1 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

import pynauty

chain = {0: [1], 1: [2], 2: [3]}


def cell(classes):
    return pynauty.Graph(4, directed=True, adjacency_dict=chain, vertex_coloring=classes)


first, second = cell([{0}, {1}, {2}, {3}]), cell([{0}, {1, 2, 3}])
equal = pynauty.certificate(first) == pynauty.certificate(second)
same = pynauty.isomorphic(first, second)
print(f"certificates equal: {equal}, isomorphic: {same}")
if (equal, same) != (True, False):
    sys.exit("changed: relied on a certificate that leaves the colouring out")
PY
