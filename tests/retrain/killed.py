"""Runs a small retraining and kills its own process at a step: ``killed.py ROOT STEP SETTINGS``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from nasbench_snas.registry import Registry
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.runner import retrain_folder, run_retraining
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.settings.retrain import RetrainConfig


def main(root: Path, step: int, text: str) -> None:
    torch.set_num_threads(1)
    config = RetrainConfig.model_validate(json.loads(text))
    whole = Retraining.one_step

    def one_step(self: Retraining) -> None:
        if self.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(self)

    Retraining.one_step = one_step  # type: ignore[method-assign]
    run_retraining(config, Registry(), retrain_folder(root, config), RunOptions())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
