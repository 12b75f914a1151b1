"""Loading run stores as data: columns, merging, migration, damage, size."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reports"))
from report_runs import config_of, make_run

import nasbench_snas
from nasbench_snas.errors import DataError
from nasbench_snas.runs.results import export_results, load_rows
from nasbench_snas.runs.rows import complete_row
from nasbench_snas.runs.schema import COLUMNS, SCHEMA, TYPES, migrate


def test_every_run_is_one_row_with_the_documented_columns(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, search=61.5, child=60.0)
    make_run(tmp_path, "darts", 3, search=90.0, child=10.0)
    frame = nasbench_snas.load_results(tmp_path)
    assert list(frame.columns) == list(COLUMNS) and len(frame) == 2
    documented = [c for group, names in SCHEMA.items() if group != "further" for c in names]
    assert len(documented) == 14 + 6 + 7 + 6 + 9 + 14 + 11
    darts = frame[frame.estimator == "darts"].iloc[0]
    assert (darts.seed, darts.child_gap, darts.stage, darts.status) == (3, 80.0, "search", "done")
    assert darts.mac_bytes == 4 * 23570.0
    assert frame.search_valid_acc.dtype == float and math.isnan(darts.test_err_top1)


def test_the_schema_page_lists_every_column_with_its_group_and_type() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "schema.md"
    names = {"object": ("text", "JSON"), "Int64": ("integer",), "boolean": ("yes/no",)}
    listed: dict[str, list[str]] = {}
    for part in page.read_text(encoding="utf-8").split("\n### ")[1:]:
        group = part.partition("\n")[0]
        for column, kind in re.findall(r"^\| `(\w+)` \| (\S+) \| \S", part, re.MULTILINE):
            assert kind in names.get(TYPES.get(column, ""), ("number",)), column
            listed.setdefault(group, []).append(column)
    assert {group: sorted(columns) for group, columns in listed.items()} == {
        group: sorted(columns) for group, columns in SCHEMA.items()
    }


def test_column_types_do_not_depend_on_the_rows(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    make_run(full)
    types = [nasbench_snas.load_results(root).dtypes.to_dict() for root in (empty, full)]
    assert types[0] == types[1]


def test_package_import_stays_light() -> None:
    code = (
        "import sys, nasbench_snas; nasbench_snas.load_results;"
        "print(sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no_such_name"):
        nasbench_snas.no_such_name  # noqa: B018


def test_a_run_copied_to_two_machines_counts_once(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    folder = make_run(a, "snas", 0)
    make_run(b, "snas", 1)
    shutil.copytree(folder, b / folder.name)
    rows = load_rows([a, b])
    assert sorted(row["seed"] for row in rows) == [0, 1]


def test_different_runs_of_one_name_are_refused_naming_both_stores(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_run(a, "snas", 0, search=50.0)
    make_run(b, "snas", 0, search=51.0)
    with pytest.raises(DataError) as caught:
        load_rows([a, b])
    assert str(a) in str(caught.value) and str(b) in str(caught.value)


def test_of_two_copies_the_finished_one_counts_and_else_the_newer(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_run(a, "snas", 0, status="interrupted")
    make_run(b, "snas", 0, search=51.0)
    make_run(a, "snas", 1, status="interrupted")
    newer = make_run(b, "snas", 1, status="interrupted")
    status = {"status": "failed", "reason": "out of memory", "updated": 1_800_000_000.0}
    (newer / "status.json").write_text(json.dumps(status))
    for roots in ([a, b], [b, a]):
        first, second = load_rows(roots)
        assert (first["status"], first["search_valid_acc"]) == ("done", 51.0)
        assert (second["status"], second["reason"]) == ("failed", "out of memory")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", "null"),
        ("result.json", '{"search_valid_acc": "many"}'),
        ("result.json", '{"steps": 1.5}'),
        ("result.json", "[1, 2]"),
        ("status.json", "[]"),
        ("env.json", "{"),
        ("env.json", "[3]"),
        ("tabular.json", "[]"),
    ],
)
def test_a_damaged_file_is_one_damaged_row_in_a_table_of_the_same_types(
    tmp_path: Path, name: str, content: str
) -> None:
    make_run(tmp_path, "snas", 0)
    broken = make_run(tmp_path, "snas", 1)
    (broken / name).write_text(content)
    frame = nasbench_snas.load_results(tmp_path)
    assert sorted(frame.status) == ["damaged", "done"]
    assert frame.set_index("status").run_id["damaged"] == broken.name
    empty = tmp_path / "empty"
    empty.mkdir()
    assert frame.dtypes.to_dict() == nasbench_snas.load_results(empty).dtypes.to_dict()


def test_the_command_of_a_run_can_be_given_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "snas", 0)
    environment = json.loads((folder / "env.json").read_text())
    environment[0]["command"] = ["__main__.py", "run", "--set", "space.operations=['a', 'b']"]
    (folder / "env.json").write_text(json.dumps(environment))
    (row,) = load_rows(tmp_path)
    assert shlex.split(row["command"]) == ["nasbench", *environment[0]["command"][1:]]


def test_one_store_given_twice_is_read_once(tmp_path: Path) -> None:
    make_run(tmp_path)
    assert len(load_rows([tmp_path, tmp_path / ".." / tmp_path.name])) == 1


def test_a_folder_of_version_0_is_migrated_and_left_untouched(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    old = json.loads((folder / "result.json").read_text())
    for key in ("schema_version", "stage", "search_valid_acc", "child_valid_acc", "child_gap"):
        del old[key]
    old |= {"search_acc": 0.625, "child_acc": 0.5, "flops": 2000.0, "seconds": 12.5}
    del old["macs"], old["wall_s"]
    (folder / "result.json").write_text(json.dumps(old))
    before = (folder / "result.json").read_bytes()
    (row,) = load_rows(tmp_path)
    assert (row["search_valid_acc"], row["child_valid_acc"], row["child_gap"]) == (62.5, 50.0, 12.5)
    assert (row["macs"], row["wall_s"], row["schema_version"]) == (1000.0, 12.5, 3)
    assert (folder / "result.json").read_bytes() == before


def test_a_newer_schema_is_one_damaged_row_and_not_the_end(tmp_path: Path) -> None:
    make_run(tmp_path, seed=0)
    make_run(tmp_path, seed=1, result={"schema_version": 99})
    rows = {row["status"]: row for row in load_rows(tmp_path)}
    assert set(rows) == {"done", "damaged"} and "99" in rows["damaged"]["reason"]
    with pytest.raises(DataError, match="newer"):
        migrate({"schema_version": 99})


def test_unfinished_failed_and_damaged_runs_have_rows_with_their_settings(tmp_path: Path) -> None:
    make_run(tmp_path, seed=0, status="diverged", reason="search_loss became nan")
    make_run(tmp_path, seed=1, status="interrupted")
    broken = make_run(tmp_path, seed=2)
    (broken / "result.json").write_text("{")
    rows = {row["status"]: row for row in load_rows(tmp_path)}
    assert set(rows) == {"diverged", "interrupted", "damaged"}
    assert (rows["diverged"]["seed"], rows["diverged"]["estimator"]) == (0, "snas")
    assert "nan" in rows["diverged"]["reason"] and rows["diverged"]["setting"]
    assert rows["interrupted"]["epochs_done"] == 4


def test_setting_ignores_estimator_seed_and_level_and_nothing_else(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    make_run(tmp_path, "darts", 1, settings=("search.level=bilevel",))
    make_run(tmp_path, "snas", 2, settings=("search.batch_size=16",))
    rows = load_rows(tmp_path)
    settings = {row["seed"]: row["setting"] for row in rows}
    comparisons = {row["seed"]: row["comparison"] for row in rows}
    assert settings[0] == settings[1] != settings[2]
    assert len(set(comparisons.values())) == 3


def test_a_changed_estimator_source_is_reported_as_stale(tmp_path: Path) -> None:
    from nasbench_snas.registry import Registry

    (entry,) = [e for e in Registry().estimators() if e.name == "snas"]
    digest = __import__("hashlib").blake2b(entry.file.read_bytes(), digest_size=8).hexdigest()
    make_run(tmp_path, seed=0, result={"estimator_source": digest})
    make_run(tmp_path, seed=1)
    assert [row["stale_source"] for row in load_rows(tmp_path)] == [False, True]


def test_export_round_trips_through_csv_and_parquet(tmp_path: Path) -> None:
    import pandas as pd

    make_run(tmp_path / "runs", seed=0, search=61.25)
    rows = load_rows(tmp_path / "runs")
    export_results(rows, tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text().splitlines()[0].split(",") == list(COLUMNS)
    assert pd.read_csv(tmp_path / "results.csv").search_valid_acc[0] == 61.25
    pytest.importorskip("pyarrow")
    export_results(rows, tmp_path / "results.parquet")
    frame = pd.read_parquet(tmp_path / "results.parquet")
    assert list(frame.columns) == list(COLUMNS) and frame.seed[0] == 0


def test_a_missing_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nasbench run"):
        load_rows(tmp_path / "nowhere")


def many_runs(root: Path, count: int) -> None:
    """Write folders with what loading reads: settings, result, status, environment."""
    first = make_run(root, "snas", 0, epochs=1)
    config, result = ((first / name).read_text() for name in ("config.toml", "result.json"))
    digest = first.name.rpartition("-")[2]
    for seed in range(1, count):
        own = config.replace("\nseed = 0 ", f"\nseed = {seed} ", 1)
        hashed = config_of(own).digest(1)
        folder = root / f"snas-darts-cnn-smoke-s{seed}-{hashed}"
        folder.mkdir()
        (folder / "config.toml").write_text(own)
        (folder / "result.json").write_text(
            result.replace('"seed": 0,', f'"seed": {seed},').replace(digest, hashed)
        )
        for name in ("status.json", "env.json", "events.jsonl"):
            os.link(first / name, folder / name)


@pytest.mark.slow
def test_ten_thousand_runs_load_in_seconds(tmp_path: Path) -> None:
    many_runs(tmp_path, 10_000)
    start = time.process_time()
    frame = nasbench_snas.load_results(tmp_path)
    spent = time.process_time() - start
    assert len(frame) == 10_000 and frame.seed.nunique() == 10_000
    assert spent < 15.0, f"{spent:.1f} s of CPU time"


def test_a_finished_run_without_a_status_is_damaged(tmp_path: Path) -> None:
    folder = make_run(tmp_path, seed=0)
    (folder / "status.json").write_text('{"status": null, "reason": "", "updated": null}')
    (row,) = load_rows(tmp_path)
    assert row["status"] == "damaged"


def test_a_number_in_a_column_of_texts_is_damage_and_not_a_missing_text() -> None:
    for value in (float("inf"), float("nan"), 1.5):
        with pytest.raises(DataError, match="status"):
            complete_row({"run_id": "a", "status": value})
    assert complete_row({"run_id": "a", "search_valid_acc": float("nan")})["status"] is None
