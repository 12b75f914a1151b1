#!/usr/bin/env bash
# Table 1: search accuracy against child accuracy without retraining. See common.sh for what can be set.
# shellcheck source=examples/paper/common.sh
. "$(dirname "$0")/common.sh"
search --estimators darts --level unrolled                  # DARTS (2nd order bi-level)
search --estimators snas --constraints mild                 # SNAS (single-level) + mild constraint
search --estimators random,random-sampling                  # what chance gives
report 1
