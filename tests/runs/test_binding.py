"""The parts of a run are bound to each other: a lost or edited one is seen, and not believed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import CheckpointError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.checkpoint import load_checkpoint, save_checkpoint
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.runs.results import load_rows
from nasbench_snas.search.plan import PlannedRun, plan_run
from nasbench_snas.search.runner import run_search

SETTINGS = (
    "data.dataset=fake data.fake.channels=1 data.fake.train_images=32 search.epochs=2 "
    "search.batch_size=16 space.nodes=1 space.cells=1 space.channels=2 child.samples=1 "
    "child.recalibration_images=16"
).split()
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def planned() -> PlannedRun:
    return plan_run(Registry(), "snas", "darts-cnn", assignments=SETTINGS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, planned: PlannedRun) -> Path:
    """A finished run below ``done``; below ``stopped`` one that stopped after an epoch of two."""
    root = tmp_path_factory.mktemp("store")
    for part, limit in (("done", None), ("stopped", 1)):
        folder = RunFolder(root / part / planned.run_id)
        options = RunOptions(kernels="reference", max_epochs=limit)
        run_search(planned.config, Registry(), folder, options)
    return root


def replaced(name: str, old: str, new: str) -> Damage:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


def kept(name: str, size: int) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def forgets(folder: Path) -> None:
    """Leave the folder as a version that recorded no digests would have."""
    for name, key in (("result.json", "bound"), ("status.json", "result_digest")):
        content = json.loads((folder / name).read_text())
        del content[key]
        (folder / name).write_text(json.dumps(content))


def flipped(name: str) -> Damage:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(bytes(content))

    return damage


SEEN_ALWAYS: dict[str, tuple[Damage, str]] = {
    "settings emptied": (kept("config.toml", 0), "config.toml is"),
    "settings cut": (kept("config.toml", 60), "config.toml"),
    "rate edited": (replaced("config.toml", "lr = 0.", "lr = 0.9"), "config.toml"),
    "seed edited": (replaced("config.toml", "seed = 0", "seed = 1"), "config.toml"),
    "settings of a retraining": (
        lambda f: (f / "config.toml").write_text("name = 'x'\ngenotype = '{}'\n[network]\n"),
        "config.toml",
    ),
    "events emptied": (kept("events.jsonl", 0), "events.jsonl"),
    "an epoch lost": (kept("events.jsonl", 700), "events.jsonl"),
    "events of words": (replaced("events.jsonl", '{"kind"', "[3]\n{"), "events.jsonl"),
}
SEEN_WHERE_RECORDED: dict[str, tuple[Damage, str]] = {
    "a loss edited": (
        replaced("events.jsonl", '"train_loss": ', '"train_loss": 1'),
        "events.jsonl",
    ),
    "another cell": (replaced("genotype.json", '"concat"', '"kept"'), "genotype.json"),
    "probabilities flipped": (flipped("alpha.npz"), "alpha.npz"),
    "accuracy edited": (
        replaced("result.json", '"child_valid_acc": ', '"child_valid_acc": 1'),
        "result.json",
    ),
}
CASES = [
    *((name, how, what, old) for name, (how, what) in SEEN_ALWAYS.items() for old in (0, 1)),
    *((name, how, what, False) for name, (how, what) in SEEN_WHERE_RECORDED.items()),
]


@pytest.mark.parametrize(("how", "what", "old"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_no_reader_believes_a_run_whose_parts_do_not_belong_together(
    store: Path, planned: PlannedRun, tmp_path: Path, how: Damage, what: str, old: bool
) -> None:
    shutil.copytree(store / "done", tmp_path / "runs")
    folder = tmp_path / "runs" / planned.run_id
    if old:
        forgets(folder)
    (row,) = load_rows(tmp_path / "runs")
    assert (row["status"], row["epochs_done"]) == ("done", 2)
    assert "damaged" not in invoke(tmp_path, "ls", "runs").output
    how(folder)
    before = contents(folder)
    (row,) = load_rows(tmp_path / "runs")
    assert row["status"] == "damaged"
    assert what in row["reason"]
    assert row["child_valid_acc"] is None
    shown = invoke(tmp_path, "show", planned.run_id)
    assert shown.exit_code == 0
    assert "damaged" in shown.output and what in shown.output and "child" not in shown.output
    assert "damaged" in invoke(tmp_path, "ls", "runs").output
    for command in ("evaluate", "draw"):
        answer = invoke(tmp_path, command, planned.run_id)
        assert isinstance(answer.exception, CheckpointError), (command, answer.output)
        assert what in str(answer.exception)
    assert contents(folder) == before


def test_a_finished_run_that_was_edited_is_not_shown_as_finished_before(
    store: Path, planned: PlannedRun, tmp_path: Path
) -> None:
    shutil.copytree(store / "done", tmp_path / "runs")
    words = ["run", "-e", "snas", "-s", "darts-cnn"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    assert "finished before" in invoke(tmp_path, *words).output
    replaced("result.json", '"child_valid_acc": ', '"child_valid_acc": 1')(
        tmp_path / "runs" / planned.run_id
    )
    answer = invoke(tmp_path, *words)
    assert "result.json" in str(answer.exception) and "finished before" not in answer.output


@pytest.mark.parametrize(
    "how",
    [
        replaced("config.toml", "lr = 0.", "lr = 0.9"),
        replaced("config.toml", "seed = 0", "seed = 1"),
        kept("config.toml", 0),
    ],
    ids=["rate", "seed", "emptied"],
)
@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_a_run_does_not_go_on_with_settings_that_are_not_those_of_its_name(
    store: Path, planned: PlannedRun, tmp_path: Path, how: Damage, with_checkpoint: bool
) -> None:
    folder = RunFolder(shutil.copytree(store / "stopped", tmp_path / "runs") / planned.run_id)
    if not with_checkpoint:
        folder.checkpoint_file.unlink()
        (folder.path / "result.json").unlink()
    how(folder.path)
    before = contents(folder.path)
    answer = invoke(tmp_path, "run", "--resume", planned.run_id)
    assert isinstance(answer.exception, CheckpointError)
    assert "config.toml" in str(answer.exception)
    assert contents(folder.path) == before


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        kept("events.jsonl", 0),
        kept("events.jsonl", 100),
        lambda f: (f / "events.jsonl").unlink(),
        replaced("events.jsonl", '{"kind"', "{"),
    ],
    ids=["emptied", "cut", "lost", "damaged"],
)
def test_lost_events_are_found_before_anything_is_trained(
    store: Path, planned: PlannedRun, tmp_path: Path, how: Damage, old: bool
) -> None:
    folder = RunFolder(shutil.copytree(store / "stopped", tmp_path / "runs") / planned.run_id)
    if old:
        digest = planned.config.digest(1)
        state = load_checkpoint(folder.checkpoint_file, config_hash=digest)
        del state["events_digest"]
        save_checkpoint(folder.checkpoint_file, state, config_hash=digest)
    how(folder.path)
    before, heard = contents(folder.path), []
    options = RunOptions(kernels="reference", listeners=(heard.append,))
    with pytest.raises(CheckpointError, match=r"events.jsonl(?s:.*)--resume never"):
        run_search(planned.config, Registry(), folder, options)
    assert (contents(folder.path), heard) == (before, [])
    anew = RunOptions(kernels="reference", resume=False)
    assert run_search(planned.config, Registry(), folder, anew)["epochs_done"] == 2
    assert folder.result() is not None


def test_what_was_logged_after_the_checkpoint_is_no_damage(
    store: Path, planned: PlannedRun, tmp_path: Path
) -> None:
    folder = RunFolder(shutil.copytree(store / "stopped", tmp_path / "runs") / planned.run_id)
    with folder.events_file.open("ab") as file:
        file.write(b'{"kind": "epoch", "epoch": 2}\n{"torn')
    assert folder.result() is not None
    result = run_search(planned.config, Registry(), folder, RunOptions(kernels="reference"))
    assert result["epochs_done"] == 2
    assert [e["epoch"] for e in folder.events() if e["kind"] == "epoch"] == [1, 2]


def test_of_two_copies_the_whole_one_counts(
    store: Path, planned: PlannedRun, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        shutil.copytree(store / "done", tmp_path / name)
    kept("events.jsonl", 0)(tmp_path / "a" / planned.run_id)
    for roots in (["a", "b"], ["b", "a"]):
        (row,) = load_rows([tmp_path / name for name in roots])
        assert (row["status"], Path(row["folder"]).parent.name) == ("done", "b")


def test_other_folders_of_the_data_are_no_other_settings(
    store: Path, planned: PlannedRun, tmp_path: Path
) -> None:
    folder = RunFolder(shutil.copytree(store / "done", tmp_path / "runs") / planned.run_id)
    text = folder.config_file.read_text().replace("workers = ", "workers = 1")
    folder.config_file.write_text(f"# moved\n{text}")
    assert folder.result() is not None


def invoke(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(nasbench, ["--root", str(tmp_path / "runs"), *words])


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    skipped = ("run.log", "lock", "lock.json")
    found: dict[str, Any] = {str(p): p.read_bytes() for p in files if p.name not in skipped}
    return found
