#!/usr/bin/env bash
# Table 3: ImageNet, mobile setting. IMAGENET is the folder with train/ and val/. See common.sh for the rest.
# shellcheck source=examples/paper/common.sh
. "$(dirname "$0")/common.sh"
IMAGENET=${IMAGENET:-imagenet} RETRAIN_SEEDS=${IMAGENET_SEEDS:-0} RETRAIN_PRESET=${RETRAIN_PRESET:-imagenet}
search --estimators darts --level unrolled                  # DARTS
search --estimators snas --constraints mild                 # SNAS (mild constraint)
on_imagenet() { retrain "$@" -p "$RETRAIN_PRESET" --data-root "$IMAGENET"; }
on_imagenet --select darts/darts-cnn --search-preset "$PRESET" --search-level unrolled --constraint none
on_imagenet --select snas/darts-cnn --search-preset "$PRESET" --constraint mild
on_imagenet snas-mild --set network.channels=50             # the released cell
report 3
