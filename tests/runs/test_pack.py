"""Packed runs: what is kept, that it reads as the store does, and what is refused."""

from __future__ import annotations

import io
import json
import shlex
import sys
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reports"))
from report_runs import make_run

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.runs.folder import RunFolder, write_atomic
from nasbench_snas.runs.index import read_index
from nasbench_snas.runs.pack import pack, store_of, unpack
from nasbench_snas.runs.results import load_rows

WHERE = {"folder", "command", "updated"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "runs"
    for seed in range(3):
        make_run(root, "snas", seed=seed, search=60.0 + seed)
    (next(root.glob("snas-*")) / "checkpoints").mkdir()
    (next(root.glob("snas-*")) / "checkpoints" / "last.pt").write_bytes(b"x" * 1000)
    return root


def comparable(rows: list) -> list:
    return [{k: v for k, v in row.items() if k not in WHERE} for row in rows]


def test_a_pack_reads_as_the_store_it_was_made_of(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.tar.xz"
    assert pack(store, file) == 3
    assert repr(comparable(load_rows(file))) == repr(comparable(load_rows(store)))
    with tarfile.open(file) as archive:
        assert not [n for n in archive.getnames() if "checkpoint" in n or n.endswith("lock")]


def test_the_same_runs_give_the_same_bytes(store: Path, tmp_path: Path) -> None:
    pack(store, tmp_path / "a.tar.xz")
    pack(store, tmp_path / "b.tar.xz")
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()
    pack(store_of(tmp_path / "a.tar.xz"), tmp_path / "c.tar.xz")  # packed again from a pack
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "c.tar.xz").read_bytes()


def test_paths_of_the_machine_and_uncommitted_changes_stay_behind(
    store: Path, tmp_path: Path
) -> None:
    run = next(store.glob("snas-*"))
    starts = json.loads((run / "env.json").read_text()) if (run / "env.json").exists() else [{}]
    starts[0]["git"] = {"sha": "1", "dirty": True, "diff": "secret change", "diff_sha": "2"}
    starts[0]["command"] = ["/home/me/bin/nasbench", "--set", 'data.root="/home/me/images"', "a/b"]
    (run / "env.json").write_text(json.dumps(starts))
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config + '\n[data2]\nroot = "/home/me/images"  # file\n')
    pack(store, tmp_path / "some.tar.xz")
    unpack(tmp_path / "some.tar.xz", tmp_path / "other")
    text = "".join(
        p.read_text() for p in (tmp_path / "other").rglob("*") if p.suffix in (".json", ".toml")
    )
    assert "/home/me" not in text and "secret change" not in text
    assert 'root = "images"  # file' in text and "data.root=images" in text and '"a/b"' in text


def test_a_study_and_a_comparison_are_whole_in_a_pack(store: Path, tmp_path: Path) -> None:
    study = RunFolder(store / "_gradients" / "snas-unit-01234567")
    write_atomic(study.config_file, "samples = 128\n")
    write_atomic(study.path / "samples.npz", b"moments")
    study.write_result({"rows": []}, "done")
    compared = next(store.glob("snas-*")) / "tabular.json"
    compared.write_text('{"table": "/home/me/table.csv", "test_regret": 1.5}')
    file, other = tmp_path / "some.tar.xz", tmp_path / "other"
    assert pack(store, file) == 4
    assert unpack(file, other) == (4, 0) and unpack(file, other) == (0, 4)
    assert {row["status"] for row in read_index(other)} == {"done"}
    assert json.loads((other / compared.relative_to(store)).read_text()) == {
        "table": "table.csv",
        "test_regret": 1.5,
    }


def test_unpacked_runs_are_finished_and_equal_ones_stay(store: Path, tmp_path: Path) -> None:
    pack(store, tmp_path / "some.tar.xz")
    other = tmp_path / "other"
    assert unpack(tmp_path / "some.tar.xz", other) == (3, 0)
    assert unpack(tmp_path / "some.tar.xz", other) == (0, 3)
    assert {row["status"] for row in load_rows(other)} == {"done"}
    run = next(other.glob("snas-*"))
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "search_valid_acc": 1.0}))
    before = sorted(p for p in other.rglob("*"))
    with pytest.raises(DataError, match="different results"):
        unpack(tmp_path / "some.tar.xz", other)
    assert sorted(p for p in other.rglob("*")) == before


def test_runs_are_chosen_by_name(store: Path, tmp_path: Path) -> None:
    name = next(store.glob("snas-*")).name
    assert pack(store, tmp_path / "one.tar.xz", [name]) == 1
    with pytest.raises(ConfigError, match="no run called other"):
        pack(store, tmp_path / "one.tar.xz", ["other"])
    with pytest.raises(ConfigError, match=r"\.tar\.xz"):
        pack(store, tmp_path / "one.zip")
    with pytest.raises(DataError, match="no runs"):
        pack(tmp_path / "nothing", tmp_path / "one.tar.xz")


@pytest.mark.parametrize(
    "name",
    [
        "../up/result.json",
        "../result.json",
        "_retrain/../result.json",
        "/abs/x/result.json",
        "a/b.py",
        "x/y/z/result.json",
    ],
)
def test_entries_that_are_no_records_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "made.tar.xz"
    with tarfile.open(file, "w:xz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b"{}"))
    with pytest.raises(DataError, match="unexpected entry"):
        unpack(file, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_damaged_pack_is_refused(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.tar.xz"
    pack(store, file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read as packed runs"):
        unpack(file, tmp_path / "other")
    (tmp_path / "text.tar.xz").write_text("no archive")
    with pytest.raises(DataError, match="cannot be read as packed runs"):
        store_of(tmp_path / "text.tar.xz")


def test_commands_read_a_pack_and_do_not_write_into_it(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.tar.xz"
    runner = CliRunner()
    made = runner.invoke(nasbench, ["--root", str(store), "pack", "--out", str(file)])
    assert made.exit_code == 0 and "3 runs in" in made.output
    shown = runner.invoke(nasbench, ["--root", str(file), "report", "--format", "terminal"])
    assert shown.exit_code == 0 and "61" in shown.output, shown.output
    merged = runner.invoke(
        nasbench, ["--root", str(tmp_path / "none"), "report", str(file), "--format", "terminal"]
    )
    assert merged.exit_code == 0 and "61" in merged.output, merged.output
    listed = runner.invoke(nasbench, ["--root", str(file), "ls", "runs"])
    assert listed.exit_code == 0 and listed.output.count("snas-") >= 3
    refused = runner.invoke(nasbench, ["--root", str(file), "run", "-e", "snas", "-s", "snas-unit"])
    assert refused.exit_code == 2 and "--unpack" in refused.output
    both = runner.invoke(nasbench, ["pack"])
    assert both.exit_code == 2 and "--out" in both.output
    text = tmp_path / "a.txt"
    text.write_text("x")
    assert runner.invoke(nasbench, ["--root", str(text), "ls", "runs"]).exit_code == 2
    back = runner.invoke(
        nasbench, ["--root", str(tmp_path / "back"), "pack", "--unpack", str(file)]
    )
    assert back.exit_code == 0 and "3 runs unpacked" in back.output


def test_a_report_says_how_to_make_it_again_from_the_pack(store: Path, tmp_path: Path) -> None:
    file, other, out = tmp_path / "some.tar.xz", tmp_path / "other.tar.xz", tmp_path / "out"
    pack(store, file)
    pack(store, other, [next(store.glob("snas-*")).name])
    words = ["--root", str(file), "report", str(other), "--table", "1", "--format", "csv"]
    done = CliRunner().invoke(nasbench, [*words, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    command = json.loads((out / "manifest.json").read_text())["command"]
    assert shlex.split(command) == ["nasbench", *words]


def test_a_damaged_environment_is_packed_as_it_is(store: Path, tmp_path: Path) -> None:
    for env in ('[null, {"command": [1.5, null]}, 3]', '{"command": 1}', "7"):
        for file in store.glob("*/env.json"):
            file.write_text(env)
        assert pack(store, tmp_path / "damaged.tar.xz") > 0
