#!/usr/bin/env bash
# torch 2.14.1, torch.utils.flop_counter.FlopCounterMode: an LSTM on the CPU.
#
# Expected: the matrix products of nn.LSTM are counted, as those of nn.GRU and nn.LSTMCell are.
# Seen: nn.LSTM costs nothing at all (the CPU runs one fused operation that the counter has no formula for, and
# nothing says so), whereas nn.GRU of the same sizes is counted to the last product: a controller of an
# architecture search is free or not depending on which of the two it is made of.
#
# Output seen:
#   LSTM 0, GRU 54000, LSTMCell 14400 a step (expected 72000, 54000, 14400)
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# FINDINGS_PYTHON: an interpreter that has the pinned packages already (torch is large).
python=${FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
  python3 -m venv "$work/venv" || exit 2
  "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.14.1 numpy==2.4.6 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode


def flops(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


steps, batch, inputs, hidden = 5, 3, 10, 20
x = torch.ones(steps, batch, inputs)
gate = 2 * batch * (inputs + hidden) * hidden
lstm, gru, cell = torch.nn.LSTM(inputs, hidden), torch.nn.GRU(inputs, hidden), torch.nn.LSTMCell(inputs, hidden)
seen = (flops(lambda: lstm(x)), flops(lambda: gru(x)), flops(lambda: cell(x[0])))
right = (steps * 4 * gate, steps * 3 * gate, 4 * gate)
print(f"LSTM {seen[0]}, GRU {seen[1]}, LSTMCell {seen[2]} a step (expected {right[0]}, {right[1]}, {right[2]})")
if seen != (0, right[1], right[2]):
    sys.exit(f"changed: relied on (0, {right[1]}, {right[2]}), saw {seen}")
PY
