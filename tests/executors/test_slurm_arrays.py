"""Slurm: one array, nothing submitted twice; a stand-in for its commands runs the jobs here."""

from __future__ import annotations

import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from nasbench_snas.errors import NasbenchError
from nasbench_snas.executors import Task, make_executor

submitit = pytest.importorskip("submitit")

_SBATCH = """#!{python}
import os, re, subprocess, sys
text = open(sys.argv[1]).read()
open({calls!r}, "a").write(text + "\\n---\\n")
array = re.search(r"--array=0-(\\d+)", text)
folder = re.search(r"_submit (\\S+)", text)[1]
for index in range(int(array[1]) + 1):
    extra = dict(SLURM_JOB_ID=str(78 + index), SLURM_ARRAY_JOB_ID="77", SLURM_NTASKS="1",
                 SLURM_ARRAY_TASK_ID=str(index), SLURM_JOB_NUM_NODES="1", SLURM_NODEID="0",
                 SLURM_PROCID="0", SLURM_LOCALID="0", SUBMITIT_EXECUTOR="slurm")
    subprocess.Popen([sys.executable, "-m", "submitit.core._submit", folder],
                     env=dict(os.environ, **extra), stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)
print("Submitted batch job 77")
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for Slurm's commands; returns the file that holds what was submitted."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    sbatch = _SBATCH.format(python=sys.executable, calls=str(calls))
    queue = "#!/bin/sh\necho '77_0 RUNNING'; echo '77_1 PENDING'\n"
    scripts = {"sbatch": sbatch, "squeue": queue, "srun": "#!/bin/sh\n", "sacct": "#!/bin/sh\n"}
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return calls


class _Waiting(Task):
    @property
    def command(self) -> tuple[str, ...]:
        code = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists():\n"
        return (sys.executable, "-c", f"{code} time.sleep(0.05)", str(self.folder.parent / "go"))


def test_runs_are_one_array_and_a_second_sweep_waits_for_it(tmp_path: Path, slurm: Path) -> None:
    tasks = [_Waiting(name, tmp_path / name, ()) for name in ("a", "b")]
    options = {"folder": str(tmp_path / "logs"), "poll_seconds": 0.1}
    codes: list[int] = []

    def sweep() -> None:
        executor = make_executor("slurm", jobs=0, gpus_per_run=1, options=dict(options))
        codes.extend(outcome.code for outcome in executor.run(tasks))

    first = threading.Thread(target=sweep)
    first.start()
    deadline = time.monotonic() + 240
    while not (tmp_path / "logs" / "submitted.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    second = threading.Thread(target=sweep)
    second.start()
    time.sleep(0.3)
    (tmp_path / "go").touch()
    first.join(240)
    second.join(240)
    assert codes == [0, 0, 0, 0]
    assert slurm.read_text().count("---") == 1
    assert "--array=0-1%2" in slurm.read_text() and "--gpus-per-node=1" in slurm.read_text()


def test_a_job_that_is_completing_is_not_in_the_queue(tmp_path: Path, slurm: Path) -> None:
    from nasbench_snas.executors.slurm import _queue

    lines = "7_0 RUNNING\\n7_1 PENDING\\n7_2 COMPLETING\\n"
    (tmp_path / "bin" / "squeue").write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    assert _queue() == {"7_0", "7_1"}


def test_a_queue_that_does_not_answer_is_an_error_and_nothing_is_submitted_twice(
    tmp_path: Path, slurm: Path
) -> None:
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\nexit 1\n")
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "submitted.json").write_text(f'{{"{tmp_path / "a"}": "77_0"}}')
    executor = make_executor("slurm", jobs=0, gpus_per_run=1, options={"folder": str(logs)})
    with pytest.raises(NasbenchError, match="cannot ask Slurm for its queue"):
        list(executor.run([_Waiting("a", tmp_path / "a", ())]))
    assert not slurm.exists()


def test_the_example_asks_for_time_gpu_type_and_a_warning_before_the_limit(
    tmp_path: Path, slurm: Path
) -> None:
    example = Path(__file__).parents[2] / "examples" / "slurm.toml"
    options = {**tomllib.loads(example.read_text()), "folder": str(tmp_path / "logs")}
    executor = make_executor("slurm", jobs=0, gpus_per_run=1, options=options)
    inner = executor._executor._executor
    text = inner._make_submission_file_text("command", "uid")
    for part in ("--time=240", "--gres=gpu:h100:1", "--signal=USR2@120", "--mem=32GB"):
        assert part in text
    assert "gpus-per-node" not in text
    assert inner.max_num_timeout == 100


def test_a_part_of_a_gpu_is_a_gpu_and_not_none(tmp_path: Path, slurm: Path) -> None:
    options = {"folder": str(tmp_path / "logs")}
    executor = make_executor("slurm", jobs=0, gpus_per_run=0.5, options=options)
    text = executor._executor._executor._make_submission_file_text("command", "uid")
    assert "--gpus-per-node=1" in text
