"""A run's folder through its life: stopped anywhere, continued, begun anew, changed, refused."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nasbench_snas.compute.deadline import Deadline
from nasbench_snas.compute.distributed import World
from nasbench_snas.errors import CheckpointError, ConfigError, MissingDependencyError
from nasbench_snas.registry import Registry
from nasbench_snas.runs import start as running
from nasbench_snas.runs.checkpoint import load_checkpoint, save_checkpoint
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.plan import PlannedRun, load_config, plan_run
from nasbench_snas.search.runner import RunOptions, run_search

SETTINGS = [
    "data.dataset=fake",
    "data.fake.channels=1",
    "data.fake.train_images=80",
    "search.epochs=3",
    "search.batch_size=16",
    "space.nodes=1",
    "space.cells=1",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=16",
    "checkpoint_seconds=0",
]
TIMES = ("t", "seconds", "images_per_s", "peak_memory", "elapsed")
PLUGIN = '''"""Half."""

from nasbench_snas.api import Pathwise


class Half(Pathwise):
    """Half."""

    name = "half"
    reference = "liu2019darts"
    evaluations = "K F forward + backward"
    bias = "biased"

    def __init__(self, factor: float | None = None) -> None:
        super().__init__()
        self.factor = 0.5 if factor is None else factor

    def relax(self, dist, noise):
        return self.factor * dist.probs[:, None]
'''


class Killed(BaseException):
    """What the run cannot catch, as it cannot catch SIGKILL."""


def plan(*assignments: str) -> PlannedRun:
    return plan_run(Registry(), "snas", "darts-cnn", assignments=[*SETTINGS, *assignments])


def search(folder: RunFolder, planned: PlannedRun, **options: Any) -> dict[str, Any]:
    chosen = {"kernels": "reference", **options}
    return run_search(planned.config, Registry(), folder, RunOptions(**chosen))


def killer(kind: str, number: int) -> Any:
    """Return a listener that kills the run at its ``number``-th event of a kind."""
    seen = [0]

    def listen(event: dict[str, Any]) -> None:
        seen[0] += event["kind"] == kind
        if seen[0] == number:
            raise Killed

    return listen


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in event.items() if k not in TIMES} for event in folder.events()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Any]:
    """Events and child matrix of a run that was never stopped."""
    folder = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    result = search(folder, plan())
    return metrics(folder), result["child_matrix"]


def test_a_limit_on_epochs_is_one_of_the_whole_run_and_can_be_lifted(
    tmp_path: Path, whole: Any
) -> None:
    folder = RunFolder(tmp_path / "run")
    for _ in range(2):  # the second time there is nothing left to do
        result = search(folder, plan(), max_epochs=1)
        assert (result["epochs_done"], result["truncated"]) == (1, True)
        assert folder.status()["status"] == "truncated"
    last = search(folder, plan())
    assert (metrics(folder), last["child_matrix"]) == whole
    assert folder.status()["status"] == "done"


def test_a_run_out_of_time_in_its_first_epoch_has_a_result_and_continues_bit_equal(
    tmp_path: Path, whole: Any
) -> None:
    folder = RunFolder(tmp_path / "run")
    result = search(folder, plan(), max_seconds=0.0)
    assert (result["steps"], result["epochs_done"], result["truncated"]) == (1, 0, True)
    assert 0 <= result["search_valid_acc"] <= 100
    measured = {(cell["view"], cell["statistics"]) for cell in result["child_matrix"]}
    assert measured == {("argmax", "inherited"), ("argmax", "recalibrated"), ("hard", "inherited")}
    assert "no time to measure on all images" in folder.status()["reason"]
    last = search(folder, plan())
    assert (metrics(folder), last["child_matrix"]) == whole


def test_a_measurement_that_was_cut_leaves_a_truncated_run_and_is_made_whole(
    tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(running, "Deadline", lambda seconds: Deadline(0.0))
        result = search(folder, plan(), max_seconds=1e6)
    assert (result["epochs_done"], result["truncated"]) == (3, True)
    assert folder.status()["reason"].startswith("trained to the end")
    last = search(folder, plan())
    assert (metrics(folder), last["child_matrix"]) == whole
    assert folder.status()["status"] == "done"


def test_a_measurement_that_another_process_cut_is_a_part_for_all(tmp_path: Path) -> None:
    job = SimpleNamespace(finish=lambda work, truncated: {"truncated": truncated})
    for elsewhere, expected in ((0, False), (1, True)):
        world = SimpleNamespace(
            is_main=False,
            barrier=lambda: None,
            highest=lambda own, other=elsewhere: max(own, other),
        )
        options = RunOptions(max_seconds=1e6)
        runner = running._Runner(job, RunFolder(tmp_path), options, world, [], time.monotonic())
        runner.work = SimpleNamespace(epoch=3, deadline=Deadline())
        assert runner._finish(truncated=False)["truncated"] is expected


def test_part_of_the_time_is_kept_for_the_measurement(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    runner = running._Runner(None, folder, RunOptions(max_seconds=100.0), World(), [], 0.0)
    runner.work = SimpleNamespace(measured_images=50, batch_size=10)

    def stops(now: float, monkeypatch: pytest.MonkeyPatch) -> bool:
        monkeypatch.setattr(running.time, "monotonic", lambda: now)
        return bool(runner._decision(80.0, 40))

    with pytest.MonkeyPatch.context() as patch:  # 0.2 s an image: 10 s for the measurement
        assert not stops(89.9, patch) and stops(90.1, patch)
    runner.work = SimpleNamespace(measured_images=10**6, batch_size=10)
    with pytest.MonkeyPatch.context() as patch:
        assert not stops(79.9, patch) and stops(80.1, patch), "a fifth of it at most"


def test_a_run_stopped_after_an_epoch_without_validation_is_validated_then(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    result = search(folder, plan("search.validate_every=3"), max_epochs=1)
    assert "search_acc" not in folder.events()[0]
    assert 0 <= result["search_valid_acc"] <= 100


def test_a_run_begun_anew_and_killed_at_once_never_mixes_with_what_was_there(
    tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    search(folder, plan())
    with monkeypatch.context() as patch:

        def die(self: object) -> None:
            raise Killed

        patch.setattr(running._Runner, "_save", die)
        with pytest.raises(Killed):
            search(folder, plan(), resume=False)
    assert folder.result() is None
    result = search(folder, plan())
    assert (metrics(folder), result["child_matrix"]) == whole


def test_a_truncated_run_that_dies_when_it_goes_on_does_not_keep_its_old_result(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path / "run")
    search(folder, plan(), max_epochs=1)
    with pytest.raises(Killed):
        search(folder, plan(), listeners=(killer("step", 2),))
    assert folder.result() is None


def test_a_continued_run_keeps_its_kernels_and_says_it_when_they_are_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Killed):
        search(folder, plan(), kernels="plain", listeners=(killer("epoch", 1),))
    with pytest.raises(Killed):
        search(folder, plan(), kernels="auto", listeners=(killer("epoch", 1),))
    starts = json.loads((folder.path / "env.json").read_text())
    assert [start["kernels"] for start in starts] == ["plain", "plain"]
    assert [event["kind"] for event in folder.events()] == ["epoch", "epoch"]
    with caplog.at_level(logging.WARNING, "nasbench_snas"):
        search(folder, plan(), kernels="reference")
    (change,) = [event for event in folder.events() if event["kind"] == "changed"]
    assert "kernels reference instead of plain" in change["note"]
    assert "not bit-equal" in caplog.text


def test_a_run_whose_kernels_are_gone_says_so_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    search(folder, plan(), max_epochs=1)
    env = folder.path / "env.json"
    env.write_text(env.read_text().replace('"kernels": "reference"', '"kernels": "cpu"'))
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("NASBENCH_NO_COMPILER", "1")
    before = folder.checkpoint_file.read_bytes()
    with pytest.raises(MissingDependencyError, match=r"began with kernels 'cpu'(?s:.)*--kernels"):
        search(folder, plan(), kernels="auto")
    assert folder.checkpoint_file.read_bytes() == before
    assert search(folder, plan(), kernels="reference")["epochs_done"] == 3


def test_a_checkpoint_with_the_right_settings_and_other_contents_is_a_clear_error(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path / "run")
    planned = plan()
    search(folder, planned, max_epochs=1)
    digest = planned.config.digest(1)
    state = load_checkpoint(folder.checkpoint_file, config_hash=digest)
    state["search"]["parent"] = {"foreign": torch.zeros(3)}
    save_checkpoint(folder.checkpoint_file, state, config_hash=digest)
    before = folder.checkpoint_file.read_bytes(), folder.events_file.read_bytes()
    with pytest.raises(CheckpointError, match="damaged or foreign"):
        search(folder, planned)
    assert (folder.checkpoint_file.read_bytes(), folder.events_file.read_bytes()) == before


@pytest.mark.parametrize("damage", ["truncated", "foreign state", "other settings", "no torch"])
def test_a_refused_checkpoint_leaves_the_whole_folder_as_it_was(
    tmp_path: Path, damage: str
) -> None:
    folder = RunFolder(tmp_path / "run")
    planned = plan()
    search(folder, planned, max_epochs=1)
    file, digest = folder.checkpoint_file, planned.config.digest(1)
    state = load_checkpoint(file, config_hash=digest)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "foreign state":
        save_checkpoint(file, {**state, "search": []}, config_hash=digest)
    elif damage == "other settings":
        save_checkpoint(file, state, config_hash="0" * 8)
    else:
        file.write_text("not a checkpoint")

    def contents() -> dict[str, bytes]:
        files = (path for path in folder.path.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files if path.name != "run.log"}

    before = contents()
    with pytest.raises(CheckpointError):
        search(folder, planned)
    assert contents() == before
    assert folder.result() is not None and folder.status()["status"] == "truncated"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[search\n", b"unknown = 1\n"])
def test_settings_that_cannot_be_read_are_a_clear_error(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.config_file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config.toml"):
        load_config(folder.config_file)
    with pytest.raises(ConfigError):
        search(folder, plan())
    assert folder.config_file.read_bytes() == content


def test_unset_settings_of_a_plugin_do_not_stop_a_run_from_continuing(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(PLUGIN)
    registry = Registry(plugins=[str(tmp_path / "half.py")])
    planned = plan_run(registry, "half", "darts-cnn", assignments=SETTINGS)
    folder = RunFolder(tmp_path / planned.run_id)
    for limit in (1, 2):
        options = RunOptions(kernels="reference", max_epochs=limit)
        result = run_search(planned.config, registry, folder, options)
        assert result["epochs_done"] == limit


def test_a_store_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        search(RunFolder(tmp_path / "file" / "run"), plan())


def test_a_full_disk_stops_a_run_which_continues_bit_equal(tmp_path: Path, whole: Any) -> None:
    folder = RunFolder(tmp_path / "run")
    search(folder, plan(), max_epochs=1)
    room = folder.checkpoint_file.stat().st_size // 2
    command = [sys.executable, "-m", "nasbench_snas", "--root", str(tmp_path)]
    command += ["run", "--resume", str(folder.path)]
    result = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": ""},  # no git, whose diff may be long
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert "last.pt: File too large" in result.stderr
    assert "Free disk space" in result.stderr
    assert "Traceback" not in result.stderr
    status = folder.status()
    assert (status["status"], status["reason"].count("\n")) == ("failed", 0)
    assert "Traceback" in (folder.path / "run.log").read_text()
    assert not list(folder.path.rglob("*.tmp"))
    last = search(folder, plan())
    assert (metrics(folder), last["child_matrix"]) == whole


@pytest.mark.parametrize("damage", ["gone", "another run's"])
def test_a_run_that_only_lacks_its_result_does_not_bind_another_ones_probabilities(
    tmp_path: Path, damage: str
) -> None:
    folder = RunFolder(tmp_path / plan().run_id)
    search(folder, plan())
    alpha = folder.path / "alpha.npz"
    before = alpha.read_bytes()
    for name in ("result.json", "status.json", "alpha.npz"):
        (folder.path / name).unlink()
    if damage != "gone":
        alpha.write_bytes(before[:-5])
    search(folder, plan())
    assert alpha.read_bytes() == before
    folder.verify()
