"""What no command can use is a clear error at once: what, where, how to mend; no traceback."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch

from nasbench_snas.cli.main import known_error, main
from nasbench_snas.errors import CheckpointError, ConfigError, DataError
from nasbench_snas.runs.checkpoint import load_checkpoint
from nasbench_snas.settings.seed_list import parse_seeds
from nasbench_snas.truth.table import Table

RUN = ["run", "-e", "snas", "-s", "darts-cnn", "--dry-run"]
LONG = "x" * 5000


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run the command line as a process would; return exit code and what it said."""
    began = time.monotonic()
    with pytest.raises(SystemExit) as left:
        main(list(words))
    assert time.monotonic() - began < 30
    said = capsys.readouterr()
    text = said.out + said.err
    assert "not expected" not in text and "Traceback" not in text, text[-800:]
    return int(left.value.code or 0), text


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("search.theta.lr=inf", "search.theta.lr"),
        ("search.theta.lr=nan", "search.theta.lr"),
        ("search.theta.lr='inf'", "search.theta.lr"),
        ("search.alpha.betas=[0.5, inf]", "search.alpha.betas"),
        ("estimator.tau_start=inf", "estimator.tau_start"),
        ("cost.weights.params=-inf", "cost.weights.params"),
        ("data.fake.noise=inf", "data.fake.noise"),
        ("search.epochs=99999999999999999999", "search.epochs"),
        ("space.channels=1e9", "space.channels"),
        ("space.channels=1000000000", "space.channels"),
        ("space.cells=1000000000", "space.cells"),
        ("space.nodes=1000000", "space.nodes"),
        ('data.root="a\\u0000b"', "data.root"),
        ("data.fake.size=1000000000", "data.fake"),
    ],
)
def test_impossible_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, setting: str, what: str
) -> None:
    words = [*RUN[:-1], "--set", setting, "--set", "data.dataset=fake"]
    code, text = told(capsys, "--root", str(tmp_path / "runs"), *words)
    assert code == 2
    assert what in text


def test_a_parent_that_does_not_fit_into_the_machine_is_refused_before_it_is_built(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*RUN[:-1], "--set", "space.channels=60000", "--set", "data.dataset=fake"]
    code, text = told(capsys, "--root", str(tmp_path / "runs"), *words)
    assert code == 2
    assert "GiB" in text and "space.channels" in text


@pytest.mark.parametrize(
    "text", ["0-999999999", "0-9999,10000", "٣", "9" * 30, "1-", "", "0-9" * 99]
)
def test_impossible_seeds(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match="seeds"):
        parse_seeds(text)
    assert time.monotonic() - began < 1


def test_ten_thousand_seeds_are_possible() -> None:
    assert len(parse_seeds("0-9999")) == 10_000


@pytest.mark.parametrize("name", [LONG, "a\0b", "./" + LONG, "", "."])
@pytest.mark.parametrize(
    "command",
    [
        ["show"],
        ["evaluate"],
        ["retrain"],
        ["draw"],
        ["run", "--resume"],
        ["config", "show"],
        ["export"],
        ["report", "--format", "terminal"],
        ["cite"],
        ["cost"],
        ["gradients", "--samples", "128", "--points"],
        ["run", "-e", "snas", "-s", "darts-cnn", "-c"],
        ["sweep"],
        ["--plugin"],
    ],
    ids=lambda words: words[0],
)
def test_impossible_names(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str], name: str
) -> None:
    (tmp_path / "runs").mkdir()
    more = ["run", "-e", "snas", "-s", "darts-cnn", "--dry-run"] if command == ["--plugin"] else []
    code, text = told(capsys, "--root", str(tmp_path / "runs"), *command, name, *more)
    assert code in (1, 2, 3) or command == ["--plugin"], text  # a plug-in that is not used
    assert text.strip()


@pytest.mark.parametrize("root", [LONG, "a\0b"])
def test_impossible_roots(capsys: pytest.CaptureFixture[str], root: str) -> None:
    for words in (["ls", "runs"], ["report"], ["show", "x"]):
        told(capsys, "--root", root, *words)


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "RANK"])
@pytest.mark.parametrize("value", ["abc", "-1", "1e3", "99999999999999999999", "²"])
def test_impossible_launchers(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    code, text = told(capsys, "--root", str(tmp_path), "ls", "runs")
    assert code == 2
    assert variable in text and "unset" in text


@pytest.mark.parametrize("columns", ["abc", "-5", "9" * 40])
def test_impossible_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert told(capsys, "ls", "presets")[0] == 0


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "x"])
@pytest.mark.parametrize("command", ["run", "retrain", "gradients"])
def test_impossible_times(capsys: pytest.CaptureFixture[str], command: str, seconds: str) -> None:
    code, text = told(capsys, command, "--max-time", seconds)
    assert code == 2
    assert "--max-time" in text


def test_what_the_machine_refuses_is_told_without_surprise() -> None:
    refused = known_error(OSError(36, "File name too long", LONG))
    assert "File name too long" in refused.what and len(refused.what) < 300
    for error in (MemoryError(), RuntimeError("x: can't allocate memory: you tried 99 bytes")):
        assert "memory" in known_error(error).what
    assert "not expected" in str(known_error(RuntimeError("else")))


TABLE = "architecture,seed,setting,valid_acc,test_acc\n00,0,abcd,50.0,51.0\n01,0,abcd,52.0,53.0\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("52.0", "nan"),
        ("52.0", "inf"),
        ("52.0", "-3"),
        ("52.0", "520"),
        ("52.0", ""),
        ("52.0", "x"),
        ("abcd,52.0,53.0", "abcd"),
        ("53.0", "53.0,54.0"),
        ("01", "0!"),
        ("01", "012"),
        ("setting", "settings"),
        (TABLE, ""),
        ("00", "\0"),
    ],
)
def test_impossible_tables(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(TABLE)
    assert len(Table.read(file).valid) == 2
    assert old in TABLE
    file.write_text(TABLE.replace(old, new, 1))
    with pytest.raises(DataError, match=r"not a table(?s:.*)nasbench tabulate"):
        Table.read(file)


def test_a_folder_where_a_table_should_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a table"):
        Table.read(tmp_path)


def test_a_foreign_checkpoint_never_makes_us_advise_to_switch_the_guard_off(
    tmp_path: Path,
) -> None:
    class Foreign:
        pass

    globals()["Foreign"] = Foreign
    Foreign.__qualname__ = "Foreign"
    try:
        torch.save({"state": Foreign()}, tmp_path / "last.pt")
    finally:
        del globals()["Foreign"]
    with pytest.raises(CheckpointError, match="damaged or foreign") as refused:
        load_checkpoint(tmp_path / "last.pt", config_hash="")
    assert "weights_only" not in str(refused.value) and "torch.load" not in str(refused.value)


PARTS = "config.toml env.json events.jsonl status.json result.json genotype.json alpha.npz".split()
CONTENTS = {
    "a folder": None,
    "nothing": "",
    "a number": "7",
    "a list of numbers": "[1, 2]",
    "an object of lists": '{"run_id": [], "status": [], "updated": "x", "epochs_done": {}}',
    "deeply nested": "[" * 100_000,
    "a huge number": '{"epochs_done": 1' + "0" * 4000 + ', "updated": 1' + "0" * 400 + "}",
    "a huge number in a list": "[1" + "0" * 400 + "]",
    "bytes": "\udcff\udcfe\0",
    "objects of another kind": '[{"git": 3, "versions": [], "command": 4}]',
    "an event of words": '{"kind": "epoch", "epoch": "x"}\n',
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a whole run and one to be hurt, as a version without digests left them."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
    from report_runs import make_run

    root = tmp_path_factory.mktemp("impossible")
    make_run(root, "snas", 0)
    make_run(root, "snas", 1)
    return root


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("content", CONTENTS)
def test_no_content_of_a_runs_file_breaks_a_reader(
    capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path, part: str, content: str
) -> None:
    root = shutil.copytree(runs, tmp_path / "runs")
    (hurt,) = root.glob("*-s1-*")
    (hurt / part).unlink()
    text = CONTENTS[content]
    if text is None:
        (hurt / part).mkdir()
    else:
        (hurt / part).write_bytes(text.encode(errors="surrogateescape"))
    listed = told(capsys, "--root", str(root), "ls", "runs", "--json")
    assert listed[0] == 0 and len(json.loads(listed[1])) >= 1
    told(capsys, "--root", str(root), "show", hurt.name)
    code, text = told(capsys, "--root", str(root), "report", "--table", "1", "--format", "terminal")
    assert code == 0 and "snas" in text
