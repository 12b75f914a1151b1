"""submitit's local executor and Ray's retry: a worker that dies, an exit code, a long message."""

import sys
from pathlib import Path

import pytest
from relied import relied_on

from nasbench_snas.executors import Task, make_executor

pytestmark = [pytest.mark.tools, pytest.mark.slow]

DIES_ONCE = """
import os, pathlib, signal
folder = pathlib.Path({folder!r})
folder.mkdir(parents=True, exist_ok=True)
(folder / "tries").open("a").write("x")
if len((folder / "tries").read_text()) == 1:
    os.kill(os.getppid(), signal.SIGKILL)
    import time; time.sleep(60)
"""


class Code(Task):
    """A task that runs Python code instead of a search."""

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-c", self.arguments[0])


def tries(folder: Path) -> int:
    return len((folder / "tries").read_text())


def test_ray_starts_a_task_again_whose_worker_was_killed(tmp_path):
    pytest.importorskip("ray")
    executor = make_executor("ray", jobs=1, gpus_per_run=0, options={})
    folder = tmp_path / "run"
    task = Code("run", folder, (DIES_ONCE.format(folder=str(folder)),))
    (outcome,) = executor.run([task])
    what = "a task whose worker is killed runs again (max_retries)"
    assert (outcome.code, tries(folder)) == (0, 2), relied_on("ray", what)


def test_ray_does_not_repeat_a_task_that_exits_with_an_error(tmp_path):
    pytest.importorskip("ray")
    executor = make_executor("ray", jobs=1, gpus_per_run=0, options={})
    folder = tmp_path / "run"
    code = f"import pathlib, sys; p = pathlib.Path({str(folder)!r}); p.mkdir(exist_ok=True)\n"
    code += "(p / 'tries').open('a').write('x'); sys.exit(4)"
    (outcome,) = executor.run([Code("run", folder, (code,))])
    what = "a task that returns is not repeated, whatever it returns"
    assert (outcome.code, tries(folder)) == (4, 1), relied_on("ray", what)


def test_submitit_hands_back_the_exit_code_and_the_last_line_of_a_failing_task(tmp_path):
    pytest.importorskip("submitit")
    options = {"cluster": "local", "folder": str(tmp_path / "logs"), "timeout_min": 5}
    executor = make_executor("slurm", jobs=1, gpus_per_run=0, options=options)
    code = (
        "import sys; print('first', file=sys.stderr); print('last', file=sys.stderr); sys.exit(3)"
    )
    (outcome,) = executor.run([Code("run", tmp_path / "run", (code,))])
    what = "a job's return value comes back through its pickle file"
    assert (outcome.code, outcome.message) == (3, "last"), relied_on("submitit", what)
