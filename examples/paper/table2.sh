#!/usr/bin/env bash
# Table 2: CIFAR-10 test error of retrained cells. See common.sh for what can be set.
# shellcheck source=examples/paper/common.sh
. "$(dirname "$0")/common.sh"
search --estimators enas,darts --level bilevel              # ENAS; DARTS (1st order bi-level)
search --estimators darts --level unrolled                  # DARTS (2nd order bi-level)
search --estimators darts --level joint                     # DARTS (single-level)
search --estimators snas --constraints mild,moderate,aggressive
best() { # estimator, further options: the best search of its kind by search validation
  retrain --select "$1/darts-cnn" --search-preset "$PRESET" -p "$PRESET" "${@:2}"
}
best enas --search-level bilevel --constraint none
best darts --search-level bilevel --constraint none
best darts --search-level unrolled --constraint none
best darts --search-level joint --constraint none
for constraint in mild moderate aggressive; do best snas --constraint "$constraint"; done
retrain snas-mild -p "$PRESET"                              # the released cells
retrain darts-v2 -p "$PRESET"
report 2
