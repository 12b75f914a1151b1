"""Results that show themselves, and figures of them without files or pyplot."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import torch
from cells import TINY, Notebook
from matplotlib import pyplot
from matplotlib.figure import Figure

import nasbench_snas
from nasbench_snas import figures
from nasbench_snas.errors import CheckpointError, ConfigError, DataError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(store: Path) -> list[nasbench_snas.SearchResult]:
    return [
        nasbench_snas.search(name, "snas-unit", settings=TINY, root=store)
        for name in ("snas", "darts")
    ]


@pytest.fixture(scope="module")
def study(store: Path) -> nasbench_snas.StudyResult:
    settings = {"space": {"nodes": 2, "channels": 2}, "recipe.steps": 3, "theta_samples": 0}
    return nasbench_snas.study(
        ["snas", "rloo:n=2"],
        points=["init", 0.5],
        temperatures=[1.0, 0.5, 0.1],
        samples=128,
        settings=settings,
        root=store,
    )


def test_a_search_shows_its_numbers_as_text_and_as_a_table(
    runs: list[nasbench_snas.SearchResult],
) -> None:
    run = runs[0]
    text, page = repr(run), run._repr_html_()
    for shown in (
        run.run_id,
        f"{run.search_valid_acc:.2f} %",
        f"{run.child_valid_acc:.2f} %",
        f"{run.child_gap:+.2f} percentage points",
        f"{run.params:,.0f} parameters",
        run.genotype.cells["unit"].edges[0].operation,
    ):
        assert shown in text and shown in page
    with pytest.raises(FrozenInstanceError):
        run.seed = 1  # type: ignore[misc]
    assert run.child_gap == pytest.approx(run.search_valid_acc - run.child_valid_acc)
    assert len(run.table()) == 10 and list(run.history()["epoch"]) == [1, 2]
    assert run.rows()[0]["child_gap"] == run.child_gap
    assert not run.network().training and not nasbench_snas.load(run).training
    table = nasbench_snas.load_results(runs)
    assert list(table["run_id"]) == sorted(run.run_id for run in runs)
    assert nasbench_snas.load_results(run).equals(
        table[table["run_id"] == run.run_id].reset_index(drop=True)
    )


def test_text_of_strangers_is_shown_as_text(runs: list[nasbench_snas.SearchResult]) -> None:
    evil = replace(runs[0], run_id="<script>\x1b[31m")
    assert "<script>" not in evil._repr_html_() and "&lt;script&gt;" in evil._repr_html_()
    assert "\x1b" not in repr(evil) and "\x1b" not in evil._repr_html_()


def test_a_finished_run_is_opened_by_its_folder_as_what_it_is(
    runs: list[nasbench_snas.SearchResult], study: nasbench_snas.StudyResult, tmp_path: Path
) -> None:
    assert nasbench_snas.SearchResult.read(runs[0].folder) == runs[0]
    with pytest.raises(CheckpointError, match="read by SearchResult.read"):
        nasbench_snas.RetrainResult.read(runs[0].folder)
    with pytest.raises(CheckpointError, match="read by StudyResult.read"):
        nasbench_snas.SearchResult.read(study.folder)
    with pytest.raises(CheckpointError, match="is no run's folder"):
        nasbench_snas.SearchResult.read(tmp_path)


def test_figures_are_made_of_results_stores_folders_and_tables(
    store: Path, runs: list[nasbench_snas.SearchResult]
) -> None:
    frame = nasbench_snas.load_results(store)
    searches = frame[frame.stage == "search"]
    for source in (runs, store, [run.folder for run in runs], searches, [searches, runs[:0]]):
        figure = figures.child_gap(source)
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert labels == ["darts", "snas"]
    for kind in ("cells", "progress", "entropy", "gap", "cost"):
        assert isinstance(runs[0].figure(kind), Figure)
    assert runs[0].figure()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert not pyplot.get_fignums()
    with pytest.raises(ConfigError, match="Did you mean 'cells'"):
        runs[0].figure("cell")


def test_figures_say_what_cannot_stand_in_one(runs: list[nasbench_snas.SearchResult]) -> None:
    other = nasbench_snas.search(
        "snas", "snas-unit", settings={**TINY, "search.batch_size": 20}, max_epochs=1
    )
    assert other.truncated and "truncated" in repr(other)
    with pytest.raises(ConfigError, match="2 different settings"):
        figures.child_gap([*runs, other])
    chosen = figures.child_gap([*runs, other], where="truncated=false")
    assert len(chosen.axes[0].get_yticklabels()) == 2
    with pytest.raises(DataError, match="no finished search"):
        figures.child_gap([])
    with pytest.raises(ConfigError, match="lacks the columns"):
        figures.child_gap(nasbench_snas.load_results(runs[0].folder.parent)[["run_id"]])
    with pytest.raises(ConfigError, match="cannot draw a int"):
        figures.child_gap([3])
    with pytest.raises(DataError, match="lack what the figure shows"):
        figures.regret(runs)


def test_a_study_is_a_table_and_figures(study: nasbench_snas.StudyResult) -> None:
    table = study.table()
    labels = {"snas λ=1", "snas λ=0.5", "snas λ=0.1", "rloo (n=2)"}
    assert set(table["estimator"]) == labels
    assert len(table) == 8 and (table["variance"] > 0).all()
    assert "rloo (n=2)" in repr(study) and "rloo (n=2)" in study._repr_html_()
    for kind in ("bias-variance", "temperature", "training", "edges", "compute"):
        assert isinstance(study.figure(kind), Figure)
    assert not pyplot.get_fignums()
    assert json.dumps(dict(study.skipped)) == "{}"


def test_a_study_measures_a_class_and_an_object_beside_names(notebook: Notebook) -> None:
    from cells import ESTIMATOR

    cls = notebook.run(ESTIMATOR.replace("FACTOR", "1.0"))["Centred"]
    found = nasbench_snas.study(
        [cls, cls(n=2)],
        points=["init"],
        samples=128,
        settings={"space": {"nodes": 1, "channels": 2}, "theta_samples": 0, "recipe.steps": 1},
        progress=lambda event: None,
    )
    assert set(found.table()["estimator"]) == {"centred", "centred (n=2)"}


def test_a_comparison_takes_classes_and_shows_itself() -> None:
    from nasbench_snas.estimators.rloo import RLOO

    generator = torch.Generator().manual_seed(0)
    comparison = nasbench_snas.compare_gradients(
        torch.zeros(2, 3),
        lambda z: (z @ torch.arange(3.0)).sum(dim=-1),
        ["snas", RLOO, RLOO(n=8)],
        generator=generator,
        draws=200,
    )
    assert list(comparison.table()["estimator"]) == ["snas", "rloo", "rloo"]
    assert repr(comparison) == str(comparison)
    assert comparison._repr_html_().count("<tr>") == 4
    assert isinstance(figures.bias_variance(comparison), Figure)
    with pytest.raises(ConfigError, match="is no estimator"):
        nasbench_snas.make_estimator(3)  # type: ignore[arg-type]


def test_cells_are_drawn_of_a_genotype_and_of_a_name() -> None:
    assert isinstance(figures.cells("snas-mild"), Figure)


def test_the_packages_are_functions_and_temporary_runs_end_with_the_process() -> None:
    code = (
        "import nasbench_snas.search.plan, nasbench_snas.study.settings as s, nasbench_snas, sys\n"
        "assert s.StudySettings and 'matplotlib' not in sys.modules\n"
        "assert callable(nasbench_snas.search) and callable(nasbench_snas.retrain)\n"
        "from nasbench_snas import study\n"
        "from nasbench_snas.interface import search\n"
        "from nasbench_snas.interface.stores import store_of\n"
        "assert nasbench_snas.search.__call__ is search and callable(study)\n"
        "assert store_of(None, '').is_dir()\n"
        "print(store_of(None, ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    store = Path(done.stdout.strip())
    assert store.name.startswith("nasbench-snas-") and not store.exists()
    signature = inspect.signature(nasbench_snas.search)
    assert list(signature.parameters)[:2] == ["estimator", "space"]
    assert (nasbench_snas.search.__doc__ or "").startswith("Search an architecture")
