"""The command line in one rank; ``KILL_AT=rank:step`` kills that rank's process there."""

from __future__ import annotations

import os
import signal

import torch

from nasbench_snas.cli.main import main
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.search.search import Search


def killing(cls: type) -> None:
    rank, step = os.environ["KILL_AT"].split(":")
    whole = cls.one_step  # type: ignore[attr-defined]

    def one_step(self: object) -> None:
        if os.environ["RANK"] == rank and self.step == int(step):  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        whole(self)

    cls.one_step = one_step  # type: ignore[attr-defined]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "KILL_AT" in os.environ:
        killing(Retraining)
        killing(Search)
    main()
