"""Figures: which ones there are, what they draw, what marks them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import make_run

from nasbench_snas.errors import ConfigError
from nasbench_snas.reports.figures.files import drawings, wanted, write_drawing
from nasbench_snas.reports.figures.results import _front
from nasbench_snas.reports.figures.style import MARKERS, PALETTE, Drawing, looks
from nasbench_snas.reports.tables.selection import select
from nasbench_snas.runs.results import load_rows


def made(root: Path, *names: str) -> dict[str, Drawing]:
    rows = load_rows(root)
    groups, _ = select(rows)
    return {drawing.name: drawing for drawing in drawings(groups, rows, names)}


def texts(drawing: Drawing) -> list[str]:
    return [text.get_text() for axis in drawing.figure.axes for text in axis.texts]


def test_search_progress_draws_every_seed_and_the_median_on_three_axes(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "snas", seed, search=50.0 + seed**2)
    (drawing,) = made(tmp_path, "3").values()
    axes = drawing.figure.axes
    assert [axis.get_xlabel() for axis in axes] == [
        "epoch",
        "seconds",
        "images seen (thousand)",
    ]
    for axis in axes:
        assert len(axis.lines) == 4 and not axis.collections
    thin = np.array([line.get_ydata() for line in axes[0].lines[:3]], dtype=float)
    np.testing.assert_allclose(axes[0].lines[3].get_ydata(), np.median(thin, axis=0))
    np.testing.assert_allclose(axes[1].lines[3].get_xdata(), [2, 4, 6, 8])
    np.testing.assert_allclose(axes[2].lines[3].get_xdata(), [0.32, 0.64, 0.96, 1.28])


@pytest.mark.parametrize("seeds", [5, 6])
def test_bands_are_the_intervals_of_the_tables_from_six_seeds_on(
    tmp_path: Path, seeds: int
) -> None:
    for seed in range(seeds):
        make_run(tmp_path, "snas", seed, search=50.0 + seed)
    drawing, gap, pareto = made(tmp_path, "3", "gap", "pareto").values()
    for axis in drawing.figure.axes:
        assert len(axis.collections) == (seeds >= 6)
    thin = np.array([line.get_ydata() for line in drawing.figure.axes[0].lines[:seeds]])
    if seeds >= 6:
        band = drawing.figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == pytest.approx((thin.min(), thin.max()))
    assert len(gap.figure.axes[0].lines) == 1 + (seeds >= 6)
    assert len(pareto.figure.axes[0].lines) == 1 + 2 * (seeds >= 6)


def test_failed_runs_count_with_guessing_from_their_last_record_on(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, "snas", seed, search=60.0)
    for seed in range(2, 5):
        make_run(tmp_path, "snas", seed, search=60.0, epochs=2, status="diverged", reason="nan")
    (drawing,) = made(tmp_path, "3").values()
    axis = drawing.figure.axes[0]
    assert axis.lines[-1].get_ydata()[1:].tolist() == [10.0] * 3
    assert axis.lines[-1].get_ydata()[0] > 10.0
    assert axis.get_legend_handles_labels()[1] == ["snas (3/5 failed)"]
    assert len(drawing.runs) == 5


def test_failed_runs_count_in_error_and_profile_and_are_named_where_they_have_no_value(
    tmp_path: Path,
) -> None:
    for seed in range(3):
        make_run(tmp_path, "snas", seed, search=60.0)
        make_run(tmp_path, "random", seed, search=30.0)
        make_run(tmp_path, "gdas", seed, status="failed", reason="nan")
    for seed in range(3, 7):
        make_run(tmp_path, "snas", seed, status="failed", reason="nan")
    gap, pareto = made(tmp_path, "gap", "pareto").values()
    labels = [text.get_text() for text in gap.figure.axes[0].get_yticklabels()]
    assert labels == ["gdas (3/3 failed)", "random", "snas (4/7 failed)"]
    axis = pareto.figure.axes[0]
    assert "gdas (3/3 failed)" in axis.get_legend_handles_labels()[1]
    (large,) = [c for c in axis.collections if c.get_label() == "snas (4/7 failed)"]
    assert large.get_offsets()[0][1] == 90.0


def test_runs_of_different_length_meet_where_both_have_data(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, epochs=4)
    make_run(tmp_path, "snas", 1, epochs=3)
    (drawing,) = made(tmp_path, "3").values()
    mean = drawing.figure.axes[0].lines[2]
    assert (mean.get_xdata()[0], mean.get_xdata()[-1]) == (1, 3)


def test_entropy_has_a_panel_a_cell_type_and_the_log_k_line(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    (drawing,) = made(tmp_path, "4").values()
    assert [axis.get_title() for axis in drawing.figure.axes] == ["normal cell", "reduce cell"]
    for axis in drawing.figure.axes:
        level = [line.get_ydata() for line in axis.lines if len(set(line.get_ydata())) == 1]
        assert level and level[0][0] == pytest.approx(math.log(8))
    assert "log 8" in texts(drawing)


def test_smoke_figures_carry_a_watermark_and_paper_figures_none(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    make_run(tmp_path, "snas", 1, preset="paper")
    for drawing in made(tmp_path, "3", "4", "gap", "pareto", "cells").values():
        assert ("not comparable" in texts(drawing)) == drawing.provisional
        assert drawing.provisional == ("smoke" in drawing.name)


def test_child_gap_shows_every_seed_as_a_dot(tmp_path: Path) -> None:
    for seed in range(4):
        make_run(tmp_path, "darts", seed, search=90.0, child=20.0 + seed)
    make_run(tmp_path, "darts", 4, status="failed", reason="out of memory")
    (drawing,) = made(tmp_path, "gap").values()
    dots = drawing.figure.axes[0].collections[0].get_offsets()
    assert sorted(float(x) for x, _ in np.asarray(dots)) == [67.0, 68.0, 69.0, 70.0]


def test_the_front_holds_what_nothing_beats() -> None:
    assert _front([(3, 1), (1, 5), (2, 6), (2, 3), (4, 2)]) == [(1, 5), (2, 3), (3, 1)]


def test_cells_show_the_best_seed_and_the_shares_over_seeds(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0, search=50.0, constraint="mild")
    make_run(tmp_path, "snas", 1, search=60.0, constraint="mild", drop=1)
    found = made(tmp_path, "2")
    best = next(d for name, d in found.items() if name.endswith("best"))
    shares = next(d for name, d in found.items() if name.endswith("frequency"))
    assert best.title == "Figure 2. Cells of snas, seed 1" and len(shares.runs) == 2
    assert any("50 %" in text for text in texts(shares))


def test_profiles_need_several_spaces_with_a_random_search(tmp_path: Path) -> None:
    for space in ("darts-cnn", "snas-unit"):
        for seed in range(2):
            make_run(tmp_path, "snas", seed, space=space, search=60.0 + seed)
    assert not made(tmp_path, "profile", "improvement")
    for space in ("darts-cnn", "snas-unit"):
        for seed in range(2):
            make_run(tmp_path, "random", seed, space=space, search=30.0 + seed)
    assert [d.kind for d in made(tmp_path, "profile", "improvement").values()] == [
        "profile",
        "improvement",
    ]


def test_constraint_figure_needs_levels(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    assert not made(tmp_path, "constraints")
    make_run(tmp_path, "snas", 0, constraint="aggressive", drop=2)
    assert len(made(tmp_path, "constraints")) == 1


def test_files_are_vectors_and_equal_each_time(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "snas", 0)
    contents: list[dict[str, bytes]] = []
    for turn in "ab":
        (drawing,) = made(tmp_path / "runs", "gap").values()
        files = write_drawing(drawing, tmp_path / turn)
        contents.append({file.name: file.read_bytes() for file in files})
    assert contents[0] == contents[1] and {n[-4:] for n in contents[0]} == {".svg", ".pdf"}


def test_rows_are_told_apart_without_colour_too() -> None:
    styles = looks([str(i) for i in range(28)])
    seen: set[Any] = {(s.colour, s.marker, str(s.line)) for s in styles.values()}
    assert len(seen) == 28 and len({s.marker for s in styles.values()}) == len(MARKERS)
    assert len({s.colour for s in list(styles.values())[: len(PALETTE)]}) == len(PALETTE)


def test_an_unknown_figure_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'pareto'"):
        wanted(["paretto"])
    assert wanted(["none"]) == () and wanted(["5"]) == ("cells",)
