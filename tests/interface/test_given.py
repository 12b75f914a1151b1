"""Classes of a notebook: which text made a stored run, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cells import ESTIMATOR, TINY, Notebook

import nasbench_snas
import nasbench_snas.registry
from nasbench_snas.api import Pathwise
from nasbench_snas.errors import CheckpointError, ConfigError, PluginError
from nasbench_snas.interface.given import settings_of
from nasbench_snas.runs.provenance import class_source, file_of, source_hash

ONE = ESTIMATOR.replace("FACTOR", "1.0")
TWO = ESTIMATOR.replace("FACTOR", "2.0")


def search(cls: Any, **more: Any) -> nasbench_snas.SearchResult:
    return nasbench_snas.search(cls, "snas-unit", settings=TINY, **more)


def test_the_text_of_a_class_in_a_cell_is_found_with_its_decorators_and_bases(
    notebook: Notebook,
) -> None:
    names = notebook.run("class Base:\n    def f(self): return 1\n")
    names = notebook.run("x = 1\ndef plain(c): return c\n@plain\nclass A(Base):\n    def f(self):\n"
                         "        return 2\ny = 2\n")  # fmt: skip
    assert class_source(names["A"]) == (
        "@plain\nclass A(Base):\n    def f(self):\n        return 2\n\n"
        "class Base:\n    def f(self): return 1\n"
    )
    names = notebook.run("class B(Base):\n    n = 3\n")
    assert "('n', 3)" in str(class_source(names["B"]))
    names = notebook.run("class C:\n    def f(self): return 1\n", remembered=False)
    assert class_source(names["C"]) is None
    assert file_of(Pathwise) is not None and class_source(Pathwise) is None
    names["__file__"] = "<stdin>"  # as of a program on standard input
    assert file_of(names["A"]) is None and source_hash(names["C"]) != source_hash(names["A"])


def test_a_stored_run_of_another_text_is_refused_and_a_temporary_one_is_another_run(
    notebook: Notebook, tmp_path: Path
) -> None:
    cls = notebook.run(ONE)["Centred"]
    first, kept = search(cls), search(cls, root=tmp_path)
    cls = notebook.run("\n\n" + ONE)["Centred"]  # the same cell run again
    assert search(cls) == first and search(cls, root=tmp_path) == kept
    cls = notebook.run(TWO)["Centred"]
    assert search(cls).folder != first.folder
    with pytest.raises(CheckpointError, match="another text of estimator 'centred'"):
        search(cls, root=tmp_path)
    again = search(cls, root=tmp_path, rerun="stale")
    assert again.run_id == kept.run_id
    assert again.record["estimator_source"] != kept.record["estimator_source"]
    assert search("centred", root=tmp_path) == again  # registered by now
    nasbench_snas.registry.register(notebook.run(ONE)["Centred"])
    with pytest.raises(CheckpointError, match="another text of estimator 'centred'"):
        search("centred", root=tmp_path)
    assert search("centred") == first


def test_a_study_is_not_continued_with_another_text(notebook: Notebook, tmp_path: Path) -> None:
    settings = {"space": {"nodes": 1, "channels": 2}, "theta_samples": 0, "recipe.steps": 1}

    def study(given: Any) -> nasbench_snas.StudyResult:
        return nasbench_snas.study(
            given, points=["init"], samples=128, settings=settings, root=tmp_path
        )

    first = study(notebook.run(ONE)["Centred"])
    assert study("centred").table().equals(first.table())
    with pytest.raises(CheckpointError, match="another text of estimator 'centred'"):
        study([notebook.run(TWO)["Centred"]])


def test_a_class_without_a_text_runs_in_a_temporary_store_only(
    notebook: Notebook, tmp_path: Path
) -> None:
    cls = notebook.run(ONE, remembered=False)["Centred"]
    first = search(cls)
    assert search(cls).folder != first.folder  # it could have changed
    with pytest.raises(PluginError, match="Centred cannot be used in a stored run"):
        search(cls, root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_stands_in_a_file_is_found_by_the_file(tmp_path: Path) -> None:
    from nasbench_snas.estimators.rloo import RLOO

    nasbench_snas.search(RLOO, "snas-unit", settings=TINY)
    entries = {e.name: e.origin for e in nasbench_snas.registry.Registry().estimators()}
    assert entries["rloo"] == "built-in"
    file = tmp_path / "half.py"
    file.write_text(ONE.replace("centred", "half"))
    assert search("half", plugins=[file], root=tmp_path).estimator == "half"


def test_a_name_that_is_taken_is_refused_and_stays_usable(notebook: Notebook) -> None:
    taken = ONE.replace('"centred"', '"snas"')
    with pytest.raises(PluginError, match="Centred is called 'snas'"):
        search(notebook.run(taken)["Centred"])
    assert search("snas").estimator == "snas"
    with pytest.raises(PluginError, match="has no name"):
        search(notebook.run(ONE.replace('"centred"', '""'))["Centred"])


def test_a_space_of_a_notebook_is_searched_retrained_and_loaded(
    notebook: Notebook, tmp_path: Path
) -> None:
    text = """
from dataclasses import dataclass
from nasbench_snas.spaces.snas_unit import SnasUnit

@dataclass(frozen=True, kw_only=True)
class Own(SnasUnit):
    name = "own-unit"
    nodes: int = 2

    def known(self):
        return None
"""
    own = notebook.run(text)["Own"]
    run = nasbench_snas.search("darts", own(cells=2), settings=TINY, root=tmp_path)
    assert run.space == "own-unit" and '"cells": 2' in run.record["space_params"]
    trained = nasbench_snas.retrain(run, settings={"training.epochs": 1})
    assert trained.parent_id == run.run_id
    assert trained.folder.parent.parent == run.folder.parent  # the search's store
    assert not trained.network().training


IMAGES = """
import numpy as np
from nasbench_snas.api import ImageDataset
from nasbench_snas.data import from_arrays

class Stripes(ImageDataset):
    name = "stripes"
    summary = "stripes, upright or lying"
    licence = "none"

    def load(self, part, root):
        count = 64 if part == "train" else 16
        labels = np.arange(count) % 2
        bars = np.tile(np.array([0, 255], np.uint8), 4)
        images = [np.tile(bars, (8, 1)) if label else np.tile(bars, (8, 1)).T for label in labels]
        return from_arrays(np.stack(images), labels, ("lying", "upright"))
"""


def test_images_of_a_notebook_are_searched_and_trained_with(
    notebook: Notebook, tmp_path: Path
) -> None:
    stripes = notebook.run(IMAGES)["Stripes"]
    settings = {k: v for k, v in TINY.items() if k != "data"} | {"data.dataset": stripes}
    run = nasbench_snas.search("darts", "snas-unit", settings=settings, root=tmp_path)
    assert run.dataset == "stripes"
    trained = nasbench_snas.retrain(run, settings={"training.epochs": 1})
    assert trained.dataset == "stripes" and trained.record["num_classes"] == 2
    again = notebook.run(IMAGES.replace('licence = "none"', 'licence = "MIT"'))["Stripes"]
    with pytest.raises(CheckpointError, match="another text of dataset 'stripes'"):
        nasbench_snas.search(
            "darts", "snas-unit", settings=settings | {"data.dataset": again}, root=tmp_path
        )


def test_a_class_that_is_no_plug_in_is_refused() -> None:
    with pytest.raises(PluginError, match="dict is no plug-in"):
        nasbench_snas.search("snas", settings={"data.dataset": dict})


class Renamed(Pathwise):
    name = "renamed"

    def __init__(self, tau: float = 0.5) -> None:
        super().__init__()
        self.temperature = tau


class Doubled(Pathwise):
    name = "doubled"

    def __init__(self, tau: float = 0.5) -> None:
        super().__init__()
        self.tau = 2 * tau


@pytest.mark.parametrize("cls", [Renamed, Doubled])
def test_settings_that_cannot_be_read_back_are_an_error(cls: type[Pathwise]) -> None:
    with pytest.raises(ConfigError, match=r"no attribute that tells its tau(?s:.)*estimator\.tau"):
        settings_of(cls(0.25), "estimator")  # type: ignore[call-arg]
