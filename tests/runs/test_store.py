"""Run folders and checkpoints: nothing is lost, nothing foreign is accepted."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import filelock
import pytest
import torch

from nasbench_snas.errors import CheckpointError
from nasbench_snas.runs import folder as store_module
from nasbench_snas.runs.checkpoint import load_checkpoint, save_checkpoint
from nasbench_snas.runs.events import read_events
from nasbench_snas.runs.folder import RunFolder, find_run, run_folders, write_atomic

STATE = {"weights": torch.arange(3.0), "epoch": 2, "nested": {"list": [1, 2]}}


def test_a_checkpoint_reads_back_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(file, STATE, config_hash="abc")
    back = load_checkpoint(file, config_hash="abc")
    assert torch.equal(back["weights"], STATE["weights"])
    assert back["nested"] == {"list": [1, 2]}


def test_many_tensors_are_written_as_few_and_read_back_the_same(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    network = {f"w{i}": torch.randn(i % 3, 2, dtype=torch.float64) for i in range(40)}
    network |= {f"n{i}": torch.tensor(i) for i in range(3)}
    network["t"] = torch.randn(4, 3).t()
    save_checkpoint(file, {"parent": network, "few": {"a": torch.ones(2)}}, config_hash="abc")
    with zipfile.ZipFile(file) as archive:
        assert sum("/data/" in name for name in archive.namelist()) == 4
    back = load_checkpoint(file, config_hash="abc")
    assert list(back["parent"]) == list(network)
    for name, tensor in network.items():
        found = back["parent"][name]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)
        assert found.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    assert torch.equal(back["few"]["a"], torch.ones(2))


def test_checkpoints_of_the_format_before_are_read(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    state = {"parent": {f"w{i}": torch.randn(2) for i in range(40)}, "epoch": 3}
    torch.save({"format": 1, "config_hash": "abc", "state": state}, file)
    back = load_checkpoint(file, config_hash="abc")
    assert back["epoch"] == 3
    assert all(torch.equal(back["parent"][name], t) for name, t in state["parent"].items())
    torch.save({"format": 3, "config_hash": "abc", "state": state}, file)
    with pytest.raises(CheckpointError, match="reads 1 to 2"):
        load_checkpoint(file, config_hash="abc")


def test_a_checkpoint_of_other_settings_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    save_checkpoint(file, STATE, config_hash="abc")
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match="belongs to other settings"):
        load_checkpoint(file, config_hash="xyz")
    assert file.read_bytes() == before


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_damaged_checkpoint_is_a_clear_error(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "last.pt"
    save_checkpoint(file, STATE, config_hash="abc")
    content = file.read_bytes()
    file.write_bytes(content[:cut])
    with pytest.raises(CheckpointError, match="damaged or foreign"):
        load_checkpoint(file, config_hash="abc")


def test_no_flipped_bit_of_a_checkpoint_is_taken_for_a_weight(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    save_checkpoint(file, STATE, config_hash="abc")
    content = file.read_bytes()
    place = content.index(STATE["weights"].numpy().tobytes())
    for position in [place + 5, *range(0, len(content), 97)]:
        flipped = bytearray(content)
        flipped[position] ^= 4
        file.write_bytes(flipped)
        try:
            back = load_checkpoint(file, config_hash="abc")
        except CheckpointError:
            continue
        assert position != place + 5
        assert torch.equal(back["weights"], STATE["weights"])  # it was between the parts
        assert (back["epoch"], back["nested"]) == (2, {"list": [1, 2]})


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    file = tmp_path / "last.pt"
    torch.save({"format": 1, "config_hash": "abc", "state": Evil()}, file)
    with pytest.raises(CheckpointError, match="damaged or foreign"):
        load_checkpoint(file, config_hash="abc")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_full_disk_leaves_the_previous_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file = tmp_path / "last.pt"
    write_atomic(file, "old")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    name = "fsync" if step == "write" else "replace"
    monkeypatch.setattr(store_module.os, name, full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_atomic(file, "new")
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_torn_last_line_of_the_event_log_is_ignored(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append_event({"kind": "epoch", "epoch": 1})
    with folder.events_file.open("a") as file:
        file.write('{"kind": "epo')
    assert folder.events() == [{"kind": "epoch", "epoch": 1}]


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(CheckpointError, match="line 2"):
        list(read_events(file))


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        code = (
            "from pathlib import Path\n"
            "from nasbench_snas.runs.folder import RunFolder\n"
            f"with RunFolder(Path({str(folder.path)!r})).locked(): pass\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert result.returncode != 0
        assert f"is in use by process {os.getpid()}" in result.stderr
    with folder.locked():
        pass


def test_a_run_is_found_by_an_unambiguous_beginning_of_its_name(tmp_path: Path) -> None:
    for name in ("snas-a-1", "snas-b-2", "_gradients"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text("estimator.name = 'snas'")
    assert [f.run_id for f in run_folders(tmp_path)] == ["snas-a-1", "snas-b-2"]
    assert find_run(tmp_path, "snas-b").run_id == "snas-b-2"
    with pytest.raises(CheckpointError, match="several runs"):
        find_run(tmp_path, "snas")
    with pytest.raises(CheckpointError, match="no run"):
        find_run(tmp_path, "darts")


def test_a_look_whether_a_run_is_locked_does_not_turn_a_run_away(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        assert folder.is_locked()
    look = filelock.FileLock(folder.path / "lock", thread_local=False)
    look.acquire()
    threading.Timer(0.1, look.release).start()
    with folder.locked():
        pass


def test_a_lock_that_cannot_be_looked_at_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        pass

    def refuse(self: object, **options: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert not folder.is_locked()
    with pytest.raises(CheckpointError, match="Read-only file system"), folder.locked():
        pass
