"""Where many runs go: processes on this machine, a list of commands, a Ray cluster, Slurm.

An executor is given :class:`Task` objects, each the command line of one run, and yields what
became of them. It knows nothing of searches: a run keeps its own state in its folder, so that a
lost worker is simply started again.
"""

from nasbench_snas.executors.choose import make_executor
from nasbench_snas.executors.task import Executor, Outcome, Task

__all__ = [
    "Executor",
    "Outcome",
    "Task",
    "make_executor",
    "suite",
    "sweep",
]
