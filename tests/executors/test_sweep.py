"""Sweeps and executors: planned, run, killed, continued; a failure stops nothing else."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from nasbench_snas.cli.main import main
from nasbench_snas.errors import ConfigError, MissingDependencyError
from nasbench_snas.executors import Outcome, Task, make_executor
from nasbench_snas.executors.local import LocalExecutor
from nasbench_snas.executors.printer import PrintExecutor
from nasbench_snas.executors.sweep import (
    SweepSettings,
    execute,
    load_sweep,
    plan_sweep,
    summary,
)
from nasbench_snas.executors.task import wait_until_free
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import SCHEMA_VERSION, RunFolder

TINY = (
    "data.dataset=fake",
    "data.fake.train_images=64",
    "search.epochs=1",
    "search.batch_size=16",
    "space.nodes=1",
    "space.cells=1",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=16",
)


def task(folder: Path, name: str, code: str) -> Task:
    """A task that runs Python code instead of a search."""

    class CodeTask(Task):
        @property
        def command(self) -> tuple[str, ...]:
            return (sys.executable, "-c", code)

    return CodeTask(name, folder / name, ())


def test_local_runs_all_tasks_and_reports_exit_codes_and_the_last_error_line(
    tmp_path: Path,
) -> None:
    executor = LocalExecutor(jobs=2, threads=1, poll_seconds=0.02)
    codes = {
        "good": "import os; assert os.environ['OMP_NUM_THREADS'] == '1'",
        "bad": "import sys; print('first\\nthe reason', file=sys.stderr); sys.exit(3)",
        "killed": "import os; os.kill(os.getpid(), 9)",
    }
    outcomes = {
        o.task.name: o for o in executor.run(task(tmp_path, n, c) for n, c in codes.items())
    }
    assert {name: o.code for name, o in outcomes.items()} == {"good": 0, "bad": 3, "killed": -9}
    assert outcomes["bad"].message == "the reason"


def test_local_keeps_to_the_number_of_jobs_and_deals_out_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    executor = LocalExecutor(gpus_per_run=1, poll_seconds=0.02)
    assert executor.jobs == 2
    code = (
        "import os, pathlib, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "mine = folder / ('gpu' + os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "mine.touch(exist_ok=False)\n"
        "time.sleep(0.2)\n"
        "mine.unlink()\n"
    )
    outcomes = list(executor.run([task(tmp_path, str(i), code) for i in range(5)]))
    assert [o.code for o in outcomes] == [0] * 5  # no two at the same time on one GPU


def test_a_run_that_another_process_works_on_is_waited_for(tmp_path: Path) -> None:
    executor = LocalExecutor(jobs=1, poll_seconds=0.05)
    item = task(tmp_path, "busy", "")
    seen = []
    with RunFolder(item.folder).locked():
        running = executor.run([item])
        start = time.monotonic()
        thread = threading.Thread(target=lambda: seen.extend(running))
        thread.start()
        time.sleep(0.3)
        assert not seen
    thread.join(20)
    assert [o.code for o in seen] == [0]
    assert time.monotonic() - start > 0.3


def test_print_writes_one_command_a_line(tmp_path: Path) -> None:
    stream = io.StringIO()
    items = [Task("a b", tmp_path, ("run", "--set", "x='a b'")), Task("c", tmp_path, ("run",))]
    assert list(PrintExecutor(stream).run(items)) == []
    lines = stream.getvalue().splitlines()
    assert [shlex.split(line) for line in lines] == [["nasbench", *t.arguments] for t in items]


class Scripted:
    """An executor whose tasks fail a given number of times."""

    def __init__(self, failures: dict[str, int]) -> None:
        self.failures, self.calls = failures, list[str]()

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        for item in tasks:
            self.calls.append(item.name)
            left = self.failures.get(item.name, 0)
            self.failures[item.name] = left - 1
            yield Outcome(item, 1 if left > 0 else 0, "no luck")


def tasks(folder: Path, names: str) -> list[Task]:
    return [Task(name, folder / name, ()) for name in names]


def test_a_crashed_run_is_retried_and_a_failure_stops_nothing_else(tmp_path: Path) -> None:
    executor = Scripted({"a": 1, "b": 9})
    report = execute(executor, tasks(tmp_path, "abc"), retries=1)
    assert sorted(report.succeeded) == ["a", "c"]
    assert [o.task.name for o in report.failed] == ["b"]
    assert executor.calls == ["a", "b", "c", "a", "b"]


def test_a_diverged_run_is_not_retried(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a").set_status("diverged")
    executor = Scripted({"a": 9})
    report = execute(executor, tasks(tmp_path, "a"), retries=3)
    assert executor.calls == ["a"]
    assert len(report.failed) == 1


def test_fail_fast_stops_at_the_first_failure(tmp_path: Path) -> None:
    executor = Scripted({"a": 9})
    execute(executor, tasks(tmp_path, "ab"), fail_fast=True)
    assert executor.calls == ["a"]


def test_a_sweep_file_is_read_and_its_errors_are_named(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('estimators = ["snas", "darts"]\nseeds = "0-2"\nset = ["search.epochs=1"]\n')
    assert load_sweep(file).seeds == (0, 1, 2)
    file.write_text('estimators = ["snas"]\nseed = 1\n')
    with pytest.raises(ConfigError, match="sweep.toml.seed"):
        load_sweep(file)


def test_the_plan_is_the_product_and_knows_what_is_there(tmp_path: Path) -> None:
    settings = SweepSettings(estimators=("snas", "random"), seeds=(0, 1), set=TINY)
    runs = plan_sweep(Registry(), settings, tmp_path)
    assert [(r.plan.config.estimator.name, r.plan.config.seed) for r in runs] == [
        ("snas", 0),
        ("snas", 1),
        ("random", 0),
        ("random", 1),
    ]
    assert {r.status for r in runs} == {"new"}
    done = runs[0].folder
    done.path.mkdir()
    done.config_file.write_text("[search]\nepochs = 1\n")
    done.write_result({"schema_version": SCHEMA_VERSION}, "done")
    again = plan_sweep(Registry(), settings, tmp_path)
    assert [r.is_done for r in again] == [True, False, False, False]
    assert summary(again, None) == "4 runs: 1 done, 0 begun, 3 new.  Of unknown time."


def test_a_run_that_is_named_twice_is_planned_once(tmp_path: Path) -> None:
    settings = SweepSettings(estimators=("snas", "snas"), seeds=(0, 0, 1), set=TINY)
    assert len(plan_sweep(Registry(), settings, tmp_path)) == 2


def test_unknown_executors_and_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'local'"):
        make_executor("locl", jobs=1, gpus_per_run=1, options={})
    with pytest.raises(ConfigError, match="partition"):
        make_executor("local", jobs=1, gpus_per_run=1, options={"partition": "x"})


def sweep_arguments(root: Path, *more: str) -> list[str]:
    words = ["--root", str(root), "sweep", "--estimators", "random,darts", "--seeds", "0-1", *more]
    return words + [word for setting in TINY for word in ("--set", setting)]


@pytest.mark.slow
def test_a_sweep_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nasbench_snas", *sweep_arguments(tmp_path)]
    environment = {**os.environ, "NASBENCH_KERNELS": "reference"}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not list(tmp_path.glob("*/status.json")):
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert len(list(tmp_path.glob("*/result.json"))) == 4
    third = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "4 runs: 4 done, 0 begun, 0 new." in third.stdout


@pytest.mark.slow
def test_a_failing_run_gives_exit_code_four_and_the_others_finish(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = sweep_arguments(tmp_path, "--retries", "0", "--estimators", "darts,random")
    words += ["--set", "search.theta.lr=1e30", "--set", "search.theta.clip=0"]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 4
    assert "diverged" in capsys.readouterr().err


@pytest.mark.slow
def test_ray_runs_a_sweep_on_a_local_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray comes with the extra [ray]")
    executor = make_executor("ray", jobs=2, gpus_per_run=0, options={})
    items = [Task(name, tmp_path / name, ("--version",)) for name in "ab"]
    outcomes = list(executor.run(items))
    assert [o.code for o in outcomes] == [0, 0]
    bad = list(executor.run([Task("bad", tmp_path / "bad", ("no-such-command",))]))
    assert bad[0].code == 2


@pytest.mark.slow
def test_submitit_runs_jobs_with_its_local_executor(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit comes with the extra [slurm]")
    options = {"cluster": "local", "folder": str(tmp_path / "logs"), "timeout_min": 5}
    executor = make_executor("slurm", jobs=1, gpus_per_run=0, options=options)
    items = [Task("a", tmp_path / "a", ("--version",)), Task("b", tmp_path / "b", ("nothing",))]
    assert {o.task.name: o.code for o in executor.run(items)} == {"a": 0, "b": 2}


def test_a_worker_waits_for_a_process_that_its_predecessor_left(tmp_path: Path) -> None:
    seen = []
    with RunFolder(tmp_path).locked():
        thread = threading.Thread(target=lambda: seen.append(wait_until_free(tmp_path, 0.02)))
        thread.start()
        time.sleep(0.2)
        assert not seen
    thread.join(20)
    assert seen == [None]


RUN_THAT_IS_PREEMPTED = """
import os, pathlib, signal, sys, time
from nasbench_snas.runs.folder import SCHEMA_VERSION, RunFolder
folder = RunFolder(pathlib.Path(sys.argv[1]))
def stop(number, frame):
    (folder.path / "checkpoint").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
with folder.locked():
    if not (folder.path / "checkpoint").exists():
        (folder.path / "job").write_text(f"{os.getppid()} ")
        time.sleep(60)
"""


@pytest.mark.slow
def test_a_preempted_job_lets_its_run_write_a_checkpoint_and_continues(tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit", reason="submitit comes with the extra [slurm]")
    from nasbench_snas.executors.slurm import _Run

    executor = submitit.LocalExecutor(folder=tmp_path / "logs")
    executor.update_parameters(timeout_min=5)
    command = (sys.executable, "-c", RUN_THAT_IS_PREEMPTED, str(tmp_path / "run"))
    job = executor.submit(_Run(), command, tmp_path / "run")
    number, deadline = tmp_path / "run" / "job", time.monotonic() + 60
    while not (number.exists() and " " in number.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(int(number.read_text()), signal.SIGUSR2)  # as Slurm warns a job
    assert job.result() == (0, "")
    assert (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.parametrize("code", [2, 3])
def test_a_refused_run_is_not_retried_and_its_way_out_is_kept(code: int, tmp_path: Path) -> None:
    told = "Error: no images.\\n  They are not there.\\n  nasbench data prepare cifar10"
    script = f"import sys; print('x\\n{told}\\nbye', file=sys.stderr); sys.exit({code})"
    states = []
    report = execute(
        LocalExecutor(jobs=1, poll_seconds=0.02),
        [task(tmp_path, "one", script)],
        retries=3,
        progress=lambda outcome, state: states.append(state),
    )
    assert states == ["failed"]
    assert report.failed[0].message.splitlines() == told.replace("\\n", "\n").splitlines()


def test_slurm_is_refused_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="no Slurm on this machine"):
        make_executor("slurm", jobs=0, gpus_per_run=1, options={})


def test_jobs_of_a_local_cluster_are_bounded_and_share_the_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    running = tmp_path / "running"
    running.mkdir()
    script = (
        f"import os, pathlib, time; r = pathlib.Path({str(running)!r});"
        "me = r / str(os.getpid()); me.touch();"
        "time.sleep(1.5); n = len(list(r.iterdir())); me.unlink();"
        "raise SystemExit(10 * n + int(os.environ['CUDA_VISIBLE_DEVICES']))"
    )
    options = {"cluster": "local", "folder": str(tmp_path / "logs"), "poll_seconds": 0.1}
    executor = make_executor("slurm", jobs=0, gpus_per_run=1, options=options)
    outcomes = list(executor.run(task(tmp_path, str(i), script) for i in range(3)))
    assert {o.code % 10 for o in outcomes} == {3, 5}
    assert all(o.code // 10 <= 2 for o in outcomes)


def test_options_of_a_sweep_reach_every_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--root", str(tmp_path), "sweep", "--executor", "print", "--estimators", "snas"]
    words += ["--seeds", "0-1", "--level", "bilevel", "--amp", "bf16", "--device", "cpu"]
    words += ["--no-deterministic", "--track", "tensorboard", "--dataset", "fake"]
    words += [w for setting in TINY[1:] for w in ("--set", setting)]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert not stop.value.code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        for part in ("search.level=", "bilevel", "bf16", "--device cpu", "--no-deterministic"):
            assert part in line
        assert "--track tensorboard" in line and "data.dataset=" in line
