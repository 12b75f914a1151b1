"""A data set of one's own from numpy arrays, in a single file: through every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import PluginError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/plugins/handwriting.py"
TINY = ["space.channels=2", "search.epochs=1", "search.batch_size=32", "child.samples=1"]
TINY += ["child.recalibration_images=32", "data.parameters.count=200"]
SMALL = ["network.channels=4", "network.cells=3", "training.epochs=1", "network.auxiliary=0"]


def sets(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def call(root: Path, *words: str, plugin: Path | None = EXAMPLE) -> str:
    given = [] if plugin is None else ["--plugin", str(plugin)]
    done = CliRunner().invoke(nasbench, [*given, "--root", str(root), *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A search and its retraining, and their names."""
    root = tmp_path_factory.mktemp("runs")
    options = ["--dataset", "handwriting", "--device", "cpu", *sets(TINY)]
    call(root, "run", "-e", "snas", "-s", "snas-unit", *options)
    (search,) = (folder.name for folder in root.glob("snas-snas-unit-*"))
    call(root, "retrain", search, "--device", "cpu", *sets(SMALL))
    (retrained,) = (folder.name for folder in (root / "_retrain").iterdir())
    return root, search, retrained


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


def test_the_data_set_is_part_of_the_results(store: tuple[Path, str, str]) -> None:
    root, search, retrained = store
    searched, trained = result(root / search), result(root / "_retrain" / retrained)
    assert searched["dataset"] == trained["dataset"] == "handwriting"
    assert trained["stage"] == "retrain" and trained["num_classes"] == 3
    assert trained["test_images"] == 50 and 0 <= trained["test_err_top1"] <= 100
    train = searched["images"].split(",")[0]
    assert train.startswith("train:") and trained["images"].split(",")[0] == train
    for folder in (root / search, root / "_retrain" / retrained):
        (used,) = [
            p
            for p in json.loads((folder / "env.json").read_text())[-1]["plugins"]
            if p["kind"] == "dataset"
        ]
        assert used["name"] == "handwriting" and used["version"] == 1 and used["digest"]
        assert "load_digits" not in (folder / "env.json").read_text()


def test_report_draw_and_evaluate_work(store: tuple[Path, str, str], tmp_path: Path) -> None:
    root, search, retrained = store
    for name, split in ((search, "search_valid"), (retrained, "test"), (retrained, "train")):
        found = json.loads(call(root, "evaluate", name, "--split", split, "--json"))
        assert found["dataset"] == "handwriting"
        if split == "test":
            error = result(root / "_retrain" / retrained)["test_err_top1"]
            assert found["err_top1"] == pytest.approx(error)
    call(root, "draw", search, "--out", str(tmp_path / "cells"), plugin=None)
    assert list((tmp_path / "cells").glob("*.svg"))
    words = ["--table", "1", "--figure", "none", "--format", "terminal,md", "--out"]
    call(root, "report", *words, str(tmp_path / "report"), plugin=None)
    tables = "".join(file.read_text() for file in (tmp_path / "report").rglob("*.md"))
    assert "handwriting" in tables


def test_lists_work_without_and_the_others_say_what_is_missing(
    store: tuple[Path, str, str],
) -> None:
    root, search, retrained = store
    assert search in call(root, "ls", "runs", plugin=None)
    assert "plug-in: dataset handwriting, version 1" in call(root, "show", search, plugin=None)
    assert "handwriting" in call(root, "ls", "datasets")
    assert "handwriting" in call(root, "data", "list")
    for words in (
        ["evaluate", search],
        ["evaluate", retrained],
        ["retrain", search],
        ["run", "--resume", search],
    ):
        with pytest.raises(PluginError) as caught:
            call(root, *words, plugin=None)
        told = str(caught.value)
        assert "used dataset 'handwriting' (version 1, digest" in told, words
        assert "--plugin" in told and "ls, show, report" in told


def test_another_data_set_under_the_name_is_seen(
    store: tuple[Path, str, str], tmp_path: Path
) -> None:
    root, search, _ = store
    other = tmp_path / "handwriting.py"
    other.write_text(EXAMPLE.read_text().replace("np.minimum(digits, 2)", "digits % 3"))
    with pytest.raises(Exception, match="are not the run's"):
        call(root, "evaluate", search, plugin=other)


def test_verify_counts_its_images(store: tuple[Path, str, str]) -> None:
    output = call(store[0], "data", "verify", "handwriting")
    assert "ok  train images: 450 images in 3 classes" in output
    assert "ok  test images: 150 images in 3 classes" in output


def test_gradients_and_sweep_take_it_too(store: tuple[Path, str, str], tmp_path: Path) -> None:
    output = call(
        tmp_path,
        *("gradients", "-s", "snas-unit", "--dataset", "handwriting", "-e", "snas", "--samples"),
        *("128", "--points", "init", "--no-figures", "--set", "theta_samples=0"),
        *sets(["space.channels=2", "temperatures=[1.0]", "replicates=32"]),
    )
    assert "_gradients" in output
    shutil.copytree(store[0] / store[1], tmp_path / store[1])
    words = ["--estimators", "snas", "--spaces", "snas-unit", "--dataset", "handwriting"]
    output = call(tmp_path, "sweep", *words, *sets(TINY), "--dry-run")
    assert "1 runs: 1 done" in output  # the sweep plans the very run that stands there


def test_another_data_set_can_be_asked_for_in_retraining(store: tuple[Path, str, str]) -> None:
    root, search, _ = store
    output = call(root, "retrain", search, "--dataset", "digits", "--dry-run", *sets(SMALL))
    assert 'stage = "transfer"' in output and "count" not in output
