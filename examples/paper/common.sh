# What the scripts of the tables share; sourced by them. Settings, from the environment:
#   PRESET, SEEDS, RETRAIN_SEEDS   paper, 0-9, 0-9; PRESET=smoke SEEDS=0 RETRAIN_SEEDS=0 tries a script out
#   LAUNCH                         stands before each retraining, e.g. "srun --gpus=1 --time=2-0"; they then run side by side
# Arguments of a script are passed on to every sweep: --executor slurm --executor-config examples/slurm.toml, --dry-run …
set -euo pipefail
PRESET=${PRESET:-paper} SEEDS=${SEEDS:-0-9} RETRAIN_SEEDS=${RETRAIN_SEEDS:-0-9} LAUNCH=${LAUNCH:-}
SWEEP_OPTIONS=("$@")

search() { # options of a sweep; a failed run (exit code 4) is listed by the report and stops nothing
  nasbench sweep --spaces darts-cnn -p "$PRESET" --seeds "$SEEDS" "$@" "${SWEEP_OPTIONS[@]}" || [ $? -eq 4 ]
}

each_seed() { # the seeds of 0-9 or 0,3, one a line
  local part
  for part in ${RETRAIN_SEEDS//,/ }; do seq "${part%-*}" "${part#*-}"; done
}

retrain() { # arguments of nasbench retrain; one training a seed
  local seed job
  case " ${SWEEP_OPTIONS[*]} " in *" --dry-run "*) return 0 ;; esac
  for seed in $(each_seed); do
    if [ -n "$LAUNCH" ]; then continue_until_done "$@" --seeds "$seed" & else continue_until_done "$@" --seeds "$seed"; fi
  done
  for job in $(jobs -p); do wait "$job"; done
}

continue_until_done() { # a scheduler's time limit ends in SIGTERM and code 143, with a checkpoint: go on
  local code
  while true; do
    code=0
    $LAUNCH nasbench retrain "$@" || code=$?
    case $code in
      143) ;;
      2 | 3 | 130) return "$code" ;; # refused, or stopped by hand: nothing after it either
      *) return 0 ;;
    esac
  done
}

report() { # the table, from whatever has finished
  case " ${SWEEP_OPTIONS[*]} " in *" --dry-run "*) return 0 ;; esac
  nasbench report --table "$1" --format terminal,md,csv,tex,html
}
