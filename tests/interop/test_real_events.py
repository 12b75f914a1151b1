"""Events in the trackers' own readers: TensorBoard's accumulator, W&B's own record type."""

import json
import struct
import time

import pytest
from relied import relied_on

from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.trackers import open_tracker
from nasbench_snas.search.plan import plan_run

pytestmark = [pytest.mark.tools, pytest.mark.slow]

EPOCHS = [
    {"kind": "epoch", "epoch": 1, "step": 5, "search_acc": 40.25, "loss": 2.0, "note": "text"},
    {"kind": "epoch", "epoch": 2, "step": 10, "search_acc": 60.5, "loss": float("nan")},
]
RESULT = {"kind": "result", "child_valid_acc": 55.5, "truncated": False}


def send(name, folder, events):
    tracker = open_tracker(
        name, RunFolder(folder), plan_run(Registry(), "snas", "darts-cnn").config
    )
    for event in events:
        tracker(event)


def test_tensorboard_reads_a_resumed_run_as_one(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    send("tensorboard", tmp_path, [{"kind": "start"}, EPOCHS[0]])  # killed here
    time.sleep(1.1)  # event files are named by the second
    again = {**EPOCHS[0], "search_acc": 41.0}
    send("tensorboard", tmp_path, [again, EPOCHS[1], RESULT])
    found = accumulators.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(found.Tags()["scalars"]) == {"search_acc", "loss"}
    points = [(item.step, item.value) for item in found.Scalars("search_acc")]
    what = "both files of a folder are read in the order written, a repeated step stays twice"
    assert points == [(5, 40.25), (5, 41.0), (10, 60.5)], relied_on("tensorboard", what)
    losses = [item.value for item in found.Scalars("loss")]
    assert losses[:2] == [2.0, 2.0] and losses[2] != losses[2]


def records(content, kind):
    """Yield W&B's records: a log of 32 KiB blocks (checksum, length, type) after seven bytes."""
    position, parts = 7, b""
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:  # a block's end that no header fits into
            position += left
            continue
        _, length, part = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if part in (1, 4):  # a whole record, or the last part of one
            record = kind()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_wandb_reads_every_epoch_at_its_step_and_the_result(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    send("wandb", tmp_path, [*EPOCHS, RESULT])
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list(records(file.read_bytes(), Record))
        if any(record.HasField("exit") for record in found):
            break
        time.sleep(0.2)
    history = []
    for record in found:
        if record.HasField("history"):
            items = {i.key or ".".join(i.nested_key): i.value_json for i in record.history.item}
            history.append({key: json.loads(value) for key, value in items.items()})
    rows = [(row["_step"], row["search_acc"], row["epoch"]) for row in history]
    what = "a history record holds its step and values as JSON"
    assert rows == [(5, 40.25, 1.0), (10, 60.5, 2.0)], relied_on("wandb", what)
    (run,) = [record.run for record in found if record.HasField("run")][:1]
    assert run.run_id == RunFolder(tmp_path).run_id
    summaries = [u for r in found if r.HasField("summary") for u in r.summary.update]
    last = {u.key or ".".join(u.nested_key): json.loads(u.value_json) for u in summaries}
    assert last["child_valid_acc"] == 55.5, relied_on("wandb", "the summary is updated by key")
