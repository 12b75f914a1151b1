"""Plug-ins of a run: recorded, compared, and never loaded because a folder says so."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasbench_snas.cli.main import main
from nasbench_snas.errors import PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder, run_folders
from nasbench_snas.runs.plugins import check_plugins, recorded_plugins

ESTIMATOR = """
'''An estimator of a stranger.'''
from nasbench_snas.estimators.snas import SNAS


class Mine(SNAS):
    name = "mine"
    version = 3
"""
SPACE = """
'''A space of a stranger.'''
from nasbench_snas.api import SpaceFamily
from nasbench_snas.spaces.snas_unit import SnasUnit


class Ours(SnasUnit, SpaceFamily):
    name = "ours"
"""
TINY = [
    "data.dataset=fake",
    "data.fake.train_images=48",
    "search.epochs=1",
    "search.batch_size=16",
    "space.channels=2",
    "child.samples=1",
    "child.recalibration_images=16",
]


def call(*words: str, cwd: Path, plugins: tuple[Path, ...] = ()) -> tuple[int, str]:
    """Run a command here; return its exit code and all that it said."""
    options = [word for plugin in plugins for word in ("--plugin", str(plugin))]
    said = io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit) as ended,
    ):
        patch.setenv("NASBENCH_KERNELS", "reference")
        main([*options, *words])
    text = said.getvalue()
    assert "Traceback" not in text and "not expected" not in text, text
    return int(ended.value.code or 0), text


def call_alone(*words: str, cwd: Path) -> None:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nasbench_snas", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NASBENCH_KERNELS": "reference"},
        check=False,
    )
    assert "Traceback" not in done.stderr and "not expected" not in done.stderr, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Path, Path]]:
    """A store with one finished run of an estimator and a space from files, and the files."""
    here = tmp_path_factory.mktemp("plugins")
    files = (here / "mine.py", here / "ours.py")
    for file, text in zip(files, (ESTIMATOR, SPACE), strict=True):
        file.write_text(text)
    settings = [word for setting in TINY for word in ("--set", setting)]
    code, said = call("run", "-e", "mine", "-s", "ours", *settings, cwd=here, plugins=files)
    assert code == 0, said
    return here / "runs", files


def only(root: Path) -> RunFolder:
    (folder,) = run_folders(root)
    return folder


def test_a_run_records_name_version_digest_and_origin(made: Any) -> None:
    root, files = made
    estimator, space = recorded_plugins(only(root))
    assert (estimator["kind"], estimator["name"], estimator["version"]) == ("estimator", "mine", 3)
    assert (space["kind"], space["name"]) == ("space", "ours")
    for used, file in zip((estimator, space), files, strict=True):
        assert len(used["digest"]) == 16 and used["origin"] == f"--plugin {file}"
    assert estimator["digest"] != space["digest"]


def test_another_digest_is_said(
    made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, files = made
    check_plugins(only(root), Registry([str(file) for file in files]))
    assert not caplog.text
    other = tmp_path / "mine.py"
    other.write_text(files[0].read_text() + "# changed\n")
    check_plugins(only(root), Registry([str(other), str(files[1])]))
    assert "estimator 'mine' (version 3, digest " in caplog.text and str(other) in caplog.text


def test_a_missing_plug_in_is_named_with_the_way_to_give_it(made: Any) -> None:
    root, files = made
    with pytest.raises(PluginError, match="used estimator 'mine'") as caught:
        check_plugins(only(root), Registry([str(files[1])]))
    assert "--plugin FILE" in str(caught.value) and "NASBENCH_PLUGINS" in str(caught.value)


def test_without_the_plug_ins_listing_and_reports_work_and_the_rest_says_what_is_missing(
    made: Any,
) -> None:
    root, files = made
    run = only(root).run_id
    for words in (["ls"], ["show", run], ["report", "--figure", "all"], ["draw", run]):
        code, said = call("--root", str(root), *words, cwd=root.parent)
        assert code == 0 and "mine" in said, said
    for words in (
        ["run", "--resume", run],
        ["evaluate", run],
        ["cost", run],
        ["draw", run, "--evolution"],
        ["retrain", run, "--set", "network.skeleton=space"],
    ):
        code, said = call("--root", str(root), *words, cwd=root.parent)
        assert code == 2, said
        assert "which is not here" in said and "--plugin FILE" in said
        assert "used estimator 'mine'" in said or "used space 'ours'" in said
    code, said = call("--root", str(root), "evaluate", run, cwd=root.parent, plugins=files)
    assert code == 0, said


PLANTED = "import pathlib; pathlib.Path({mark!r}).write_text('ran')\n"


@pytest.mark.slow
def test_nothing_in_a_folder_makes_code_run(made: Any, tmp_path: Path) -> None:
    root, files = made
    mark = tmp_path / "mark"
    text = PLANTED.format(mark=str(mark))
    folder = only(root).path
    names = ("mine", "ours", "sitecustomize", "usercustomize", "sklearn", "conftest", "planted")
    for place in (root, folder, root.parent / "estimators", root.parent / "spaces"):
        place.mkdir(exist_ok=True)
        for name in names:
            (place / f"{name}.py").write_text(text)
        (place / "matplotlibrc").write_text("backend: module://planted\n")
        (place / "planted.pth").write_text(text)
    starts = json.loads((folder / "env.json").read_text())
    starts[-1]["plugins"][0]["origin"] = f"--plugin {folder / 'mine.py'}"
    (folder / "env.json").write_text(json.dumps(starts))
    for cwd in (root, folder):
        for words in (["report"], ["run", "--resume", str(folder)]):
            call_alone("--root", str(root), *words, cwd=cwd)
    assert not mark.exists()
