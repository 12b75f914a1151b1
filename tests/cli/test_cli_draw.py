"""``nasbench draw``: files for genotypes, the zoo, runs and several genotypes at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import DataError, GenotypeError


def run(*arguments: str, root: Path | None = None) -> Result:
    options = [] if root is None else ["--root", str(root)]
    return CliRunner().invoke(nasbench, [*options, "draw", *arguments], catch_exceptions=False)


def test_each_cell_is_written_in_each_format_and_the_paths_are_printed(tmp_path: Path) -> None:
    result = run("snas-mild", "--out", str(tmp_path), "--format", "svg,png,dot")
    names = {
        f"snas-mild-{cell}.{kind}"
        for cell in ("normal", "reduce")
        for kind in ("svg", "png", "dot")
    }
    assert {path.name for path in tmp_path.iterdir()} == names
    assert set(result.output.split()) == {str(tmp_path / name) for name in names}
    assert Image.open(tmp_path / "snas-mild-normal.png").width > 400


def test_together_draws_one_picture(tmp_path: Path) -> None:
    run("darts-v2", "--together", "--out", str(tmp_path), "--format", "pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["darts-v2.pdf"]


def test_frequencies_of_several_targets_share_one_picture(tmp_path: Path) -> None:
    result = run("snas-mild", "snas-moderate", "--frequency", "--out", str(tmp_path))
    assert "2 genotypes" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["frequency.svg"]


def make_run(root: Path) -> str:
    from nasbench_snas.architecture.genotype import from_choices
    from nasbench_snas.registry import Registry
    from nasbench_snas.search.plan import plan_run
    from nasbench_snas.settings.toml import to_toml
    from nasbench_snas.spaces.darts_cnn import DartsCNN

    planned = plan_run(Registry(), "snas", "darts-cnn")
    space = DartsCNN(**planned.config.space.parameters).build(1, 10, 8)
    folder = root / planned.run_id
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(planned.config, planned.sources))
    z = np.eye(space.num_operations)[np.arange(space.num_edges) % space.num_operations]
    (folder / "genotype.json").write_text(from_choices(space, z.tolist()).to_json())
    shape = (3, space.num_edges, space.num_operations)
    np.savez(folder / "alpha.npz", probs=np.full(shape, 1 / space.num_operations))
    return planned.run_id


@pytest.mark.slow
def test_a_run_is_drawn_with_the_evolution_of_its_distribution(tmp_path: Path) -> None:
    name = make_run(tmp_path / "runs")
    out = tmp_path / "out"
    run(name, "--evolution", "--animate", "--out", str(out), root=tmp_path / "runs")
    files = {path.name.removeprefix(name) for path in out.iterdir()}
    assert {"-normal.svg", "-evolution.svg", "-evolution.gif"} <= files
    assert Image.open(out / f"{name}-evolution.gif").n_frames == 3


@pytest.mark.parametrize("together", [True, False])
def test_names_in_a_genotype_of_a_stranger_stay_in_the_folder(
    tmp_path: Path, together: bool
) -> None:
    cell = {"num_inputs": 2, "num_nodes": 1, "edges": [["skip_connect", 0, 2]], "concat": [2]}
    names = ["../../escaped", "/tmp/escaped", "a/b", "a b", "a-b-4", ".."]
    names += ["\x1b[31mred", "$\\frac$", "x" * 300]
    genotype = {"name": "../../../up", "cells": dict.fromkeys(names, cell)}
    file = tmp_path / "in" / "genotype.json"
    file.parent.mkdir()
    file.write_text(json.dumps(genotype))
    out = tmp_path / "a" / "b" / "out"
    words = ["--together"] if together else []
    run(str(file), "--out", str(out), "--format", "dot,png", "--dpi", "30", *words)
    made = {path for path in tmp_path.rglob("*") if path.is_file() and path != file}
    assert {path.parent for path in made} == {out}
    assert all(path.name.isprintable() for path in made)
    pictures = 1 if together else len(names)
    assert sorted(path.suffix for path in made) == [".dot"] * len(names) + [".png"] * pictures


def test_what_cannot_be_drawn_is_explained(tmp_path: Path) -> None:
    with pytest.raises(GenotypeError, match="Did you mean 'snas-mild'"):
        run("snas-milt", "--out", str(tmp_path))
    with pytest.raises(DataError, match="not a run"):
        run("snas-mild", "--evolution", "--out", str(tmp_path))
    assert "unknown format gif" in run("snas-mild", "--format", "gif").output


def test_the_module_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, nasbench_snas.cli.draw; sys.exit(bool({'torch', 'matplotlib'} & "
    code += "set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
