#!/usr/bin/env bash
# ConfigSpace 1.2.0: the size of a space with a condition and with a forbidden combination.
#
# Expected: estimate_size() counts valid configurations; a space of six or fewer points needs no estimate.
# Seen: it multiplies the numbers of choices. Two architectures of which only one has a parameter with three values make four
# configurations and are counted as six, and a forbidden pair is counted, too. Enumerating finds the right number.
#
# Output seen:
#   conditional: estimate 6, configurations 4; forbidden: estimate 6, configurations 5
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  ConfigSpace==1.2.0 numpy==2.4.6 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
)
from ConfigSpace.util import generate_grid


def space():
    made = ConfigurationSpace(seed=0)
    first, second = Categorical("a", ["x", "y"]), Categorical("b", ["p", "q", "r"], default="q")
    made.add(first, second)
    return made, first, second


conditional, a, b = space()
conditional.add(EqualsCondition(b, a, "x"))
forbidden, a, b = space()
forbidden.add(ForbiddenAndConjunction(ForbiddenEqualsClause(a, "x"), ForbiddenEqualsClause(b, "p")))
seen = []
for made in (conditional, forbidden):
    listed = {tuple(sorted(dict(configuration).items())) for configuration in generate_grid(made)}
    seen.append((int(made.estimate_size()), len(listed)))
print(
    f"conditional: estimate {seen[0][0]}, configurations {seen[0][1]};"
    f" forbidden: estimate {seen[1][0]}, configurations {seen[1][1]}"
)
if seen != [(6, 4), (6, 5)]:
    sys.exit(f"changed: relied on an estimate that ignores conditions and forbidden pairs, saw {seen}")
PY
