"""``nasbench cost``: zoo names, texts, files, runs, spaces and the published tables."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nasbench_snas.architecture.text import to_darts_text
from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import GenotypeError


def run(*arguments: str, root: Path | None = None) -> Result:
    options = [] if root is None else ["--root", str(root)]
    return CliRunner().invoke(nasbench, [*options, "cost", *arguments], catch_exceptions=False)


def found(*arguments: str, root: Path | None = None) -> list[dict[str, object]]:
    result = run(*arguments, "--json", root=root)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)["genotypes"]


def test_each_published_network_of_a_genotype_is_reported_with_its_status() -> None:
    cifar, imagenet = found("snas-mild")
    assert (cifar["parameters"], cifar["published_parameters"]) == (2_661_382, 2.9e6)
    assert (cifar["status"], cifar["source"]) == ("mismatch", "Table 2")
    assert cifar["parameters_difference"] == pytest.approx(-238_618)
    assert (imagenet["parameters"], imagenet["status"]) == (4_235_875, "near")
    assert imagenet["published_macs"] == 522e6
    lines = cifar["lines"]
    assert sum(line["parameters"] for line in lines) == 2_661_382
    kinds = {(line["kind"], line["what"]): line for line in lines}
    assert kinds["normal", "sep_conv_3x3"]["count"] == 3 * 18
    assert kinds["reduce", "max_pool_3x3"]["parameters"] == 0


def test_sizes_are_options_and_another_size_has_no_published_figure() -> None:
    (report,) = found("darts-v2", "--channels", "48", "--dataset", "imagenet")
    assert (report["parameters"], report["network"]) == (4_718_752, "ImageNet C48 L14")
    assert report["status"] == "unpublished"
    (report,) = found("darts-v2", "--pool-norm")
    assert report["parameters"] == 3_351_502
    (report,) = found("darts-v2", "--layers", "8", "--channels", "16", "--dataset", "digits")
    assert report["network"] == "CIFAR C16 L8 8x8"


def test_files_texts_and_folders_are_targets(tmp_path: Path) -> None:
    text = to_darts_text(zoo("gdas"))
    (tmp_path / "my.txt").write_text(text)
    (tmp_path / "a-run").mkdir()
    (tmp_path / "a-run" / "genotype.json").write_text(zoo("gdas").to_json())
    targets = [text, str(tmp_path / "my.txt"), str(tmp_path / "a-run"), "a-run", "GDAS"]
    reports = found(*targets, root=tmp_path)
    assert len(reports) == 5
    assert {report["parameters"] for report in reports} == {3_368_782}


def test_a_published_figure_belongs_to_the_published_cell_not_to_its_name() -> None:
    text = zoo("darts-v2").to_json().replace("dil_conv_3x3", "dil_conv_5x5")
    (report,) = found(text)
    assert report["published_parameters"] is None


def test_the_tables_list_every_row_with_a_status_and_hide_no_mismatch() -> None:
    reports = found("--tables")
    assert len(reports) == 14 + 13
    status = {(r["source"], r["target"]): r["status"] for r in reports}
    assert status["Table 2", "SNAS (single-level) + mild constraint + cutout"] == "mismatch"
    assert status["Table 2", "SNAS (single-level) + moderate constraint + cutout"] == "match"
    assert status["Table 2", "DenseNet-BC (Huang et al., 2017)"] == "no genotype"
    assert status["Table 3", "DARTS (Liu et al., 2019)"] == "match"
    text = run("--tables").output
    assert "mismatch" in text and "no genotype" in " ".join(text.split())


def test_a_space_shows_each_operation_and_the_parts_outside() -> None:
    result = run("darts-cnn", "--convention", "released", "--json")
    (space,) = json.loads(result.output)["spaces"]
    assert space["summary"]["uniform"]["parameters"] == 228_896
    outside = {line["what"] for line in space["lines"] if line["kind"] == "outside"}
    assert outside == {"stem", "preprocess", "blocks", "head"}
    total = space["summary"]["all operations"]["parameters"]
    assert total + space["summary"]["outside"]["parameters"] == 1_930_618
    assert "sep_conv_3x3" in run("darts-cnn", "--layers", "3").output


def test_markdown_has_a_row_for_each_target() -> None:
    lines = run("darts-v1", "darts-v2", "--format", "md", "--layers", "8").output.splitlines()
    assert sum(line.startswith("| darts-v") for line in lines) == 2
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_unknown_targets_and_missing_targets_are_explained() -> None:
    with pytest.raises(GenotypeError, match="Did you mean 'darts-v2'"):
        run("darts-v3")
    result = run()
    assert result.exit_code == 2 and "TARGET" in result.output


def test_a_run_is_reported_inside_its_own_space(tmp_path: Path) -> None:
    from nasbench_snas.architecture.genotype import from_choices
    from nasbench_snas.registry import Registry
    from nasbench_snas.search.plan import plan_run
    from nasbench_snas.settings.toml import to_toml
    from nasbench_snas.spaces.nasbench201 import NasBench201

    planned = plan_run(Registry(), "snas", "nasbench201")
    space = NasBench201(**planned.config.space.parameters).build(1, 10, 8)
    z = [[0.0, 0.0, 1.0, 0.0, 0.0]] * 6
    folder = tmp_path / planned.run_id
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(planned.config, planned.sources))
    (folder / "genotype.json").write_text(from_choices(space, z).to_json())
    (report,) = found(planned.run_id, root=tmp_path)
    assert report["network"] == "in nasbench201"
    lines = {line["what"]: line["count"] for line in report["lines"]}
    assert lines[space.operations[2]] == 6 * len([x for x in space.layers if x.kind == "cell"])


def test_a_genotype_file_means_the_same_as_its_run(tmp_path: Path) -> None:
    from nasbench_snas.architecture.nasbench201 import parse_architecture
    from nasbench_snas.registry import Registry
    from nasbench_snas.search.plan import plan_run
    from nasbench_snas.settings.toml import to_toml

    string = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
    settings = {"stages": 3, "cells_per_stage": 2, "channels": 8, "affine": False}
    space = {"name": "nasbench201", "settings": settings}
    space |= {"in_channels": 1, "num_classes": 10, "resolution": 8}
    genotype = replace(parse_architecture(string), name="", space=space)
    sizes = [f"space.cells_per_stage={2}", "space.channels=8", "data.dataset=digits"]
    planned = plan_run(Registry(), "snas", "nasbench201", assignments=sizes)
    folder = tmp_path / planned.run_id
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(planned.config, planned.sources))
    (folder / "genotype.json").write_text(genotype.to_json())
    (tmp_path / "copied.json").write_text(genotype.to_json())
    targets = [planned.run_id, str(folder / "genotype.json"), str(tmp_path / "copied.json")]
    reports = found(*targets, root=tmp_path)
    assert [report["network"] for report in reports] == ["in nasbench201"] * 3
    assert len({report["parameters"] for report in reports}) == 1
    (benchmark,) = found(string)
    assert benchmark["network"] == "in nasbench201"
    assert benchmark["parameters"] > 5 * reports[0]["parameters"]


COUNTED_THERE = {
    **{"pc-darts": (3.63, False), "p-darts": (3.43, False), "sgas-cri1": (3.80, False)},
    **{"sgas-cri2": (4.09, False), "fairdarts-b": (3.88, True), "fairdarts-d": (3.84, True)},
}
"""Million parameters that the authors' files give, and whether with the auxiliary head."""


@pytest.mark.parametrize("name", COUNTED_THERE)
def test_cells_of_the_zoo_have_the_parameters_that_their_authors_counted(name: str) -> None:
    there, auxiliary = COUNTED_THERE[name]
    (report,) = found(name, *(["--auxiliary"] if auxiliary else []))
    assert abs(report["parameters"] / 1e6 - there) < 0.0051
    assert report["network"].endswith("+auxiliary") == auxiliary
    (without,) = found(name)
    assert (report["parameters"] - without["parameters"] == 476_426) == auxiliary


def test_what_reading_chose_is_said_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    one, two = to_darts_text(zoo("gdas")), to_darts_text(zoo("darts-v2"))
    log.write_text(f"01/02 12:00 genotype = {one}\n01/02 12:01 genotype = {two}\n")
    nasbench.main(["cost", str(log), "--json"], standalone_mode=False)
    printed = capsys.readouterr()
    assert "line 2: the last of 2 genotypes of a log" in printed.err
    (report,) = json.loads(printed.out)["genotypes"]
    assert report["parameters"] == 3_349_342
    assert found(f"{log}:1")[0]["parameters"] == 3_368_782
    with pytest.raises(GenotypeError, match="begins in line 3"):
        run(f"{log}:3")


def test_the_module_imports_no_torch() -> None:
    code = "import sys; import nasbench_snas.cli.cost; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_documentation_shows_the_tables_that_the_command_prints() -> None:
    document = Path(__file__).parents[2] / "docs" / "cost.md"
    text = document.read_text(encoding="utf-8")
    rows = [line for line in run("--tables", "--format", "md").output.splitlines() if "|" in line]
    assert len(rows) == 2 + 27
    assert "\n".join(rows) in text
    space = run("darts-cnn", "--convention", "released", "--format", "md").output
    assert "\n".join(space.strip().splitlines()[-7:]) in text


@pytest.mark.parametrize(
    "option", [("--batch", "8"), ("--rounds", "3"), ("--device", "cpu"), ("-p", "paper")]
)
def test_an_option_of_the_measurement_alone_is_refused_without_it(option: tuple[str, str]) -> None:
    answer = run("darts-cnn", *option)
    assert answer.exit_code == 2
    assert "only --measure-latency takes" in answer.output
