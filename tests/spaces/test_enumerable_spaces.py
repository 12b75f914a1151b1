"""The unit space and NAS-Bench-201: shapes, strings, parameters, accuracies."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype, from_choices
from nasbench_snas.errors import ConfigError, GenotypeError
from nasbench_snas.spaces.nasbench201 import (
    OPERATIONS,
    NasBench201,
    architecture_string,
    parse_architecture,
)
from nasbench_snas.spaces.snas_unit import SnasUnit
from nasbench_snas.supernet.modules import build_operation
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.supernet.skeleton import Head, Stem, parameter_count, residual_layers


@pytest.mark.equation(18, 20)
def test_unit_space_is_figure_six() -> None:
    space = SnasUnit().build(1, 10, 8)
    assert space.cells[0].edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert (space.num_edges, space.num_operations, space.num_architectures) == (6, 3, 729)
    assert SnasUnit(nodes=2).build(1, 10, 8).num_architectures == 27


@pytest.mark.parametrize("cells", [1, 2])
def test_unit_parent_runs_with_one_and_with_two_cells(cells: int) -> None:
    space = SnasUnit(cells=cells, channels=4).build(1, 10, 8)
    parent = ReferenceParent(space, torch.Generator().manual_seed(0))
    z = torch.full((1, 6, 3), 1 / 3)
    assert parent(torch.randn(2, 1, 8, 8), z).shape == (1, 2, 10)


@pytest.mark.parametrize("settings", [{"nodes": 0}, {"operations": ("none",)}])
def test_impossible_unit_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SnasUnit(**settings)  # type: ignore[arg-type]


def test_nasbench201_is_the_benchmarks_skeleton() -> None:
    space = NasBench201().build(3, 10, 32)
    assert space.num_architectures == 15_625
    kinds = [layer.kind for layer in space.layers]
    assert kinds == (["cell"] * 5 + ["residual"]) * 2 + ["cell"] * 5
    assert [layer.channels for layer in space.layers] == [16] * 5 + [32] * 6 + [64] * 6
    assert len(NasBench201(stages=1, cells_per_stage=1).build(1, 10, 8).layers) == 1


def test_parameters_of_an_all_conv_architecture_follow_by_construction() -> None:
    space = NasBench201().build(3, 10, 32)
    network = sum(parameter_count(part) for part in (Stem(space), Head(space)))
    network += parameter_count(residual_layers(space))
    spec = space.operation_specs[3]
    for layer in space.layers:
        if layer.kind == "cell":
            conv = build_operation(spec, layer.channels, 1, affine=True, pool_norm=False)
            network += 6 * parameter_count(conv)
    cells = sum(5 * 6 * (9 * c * c + 2 * c) for c in (16, 32, 64))
    blocks = sum(9 * c * 2 * c + 9 * 4 * c * c + 2 * c * c + 8 * c for c in (16, 32))
    assert network == (3 * 16 * 9 + 32) + cells + blocks + (128 + 64 * 10 + 10) == 1_531_546


def test_every_architecture_string_comes_back() -> None:
    space = NasBench201().build(3, 10, 32)
    eye, seen = torch.eye(5), set()
    for choice in product(range(5), repeat=6):
        if sum(choice) % 7:
            continue
        genotype = from_choices(space, eye[list(choice)].tolist())
        text = architecture_string(genotype)
        assert parse_architecture(text) == genotype
        seen.add(text)
    assert len(seen) == sum(sum(c) % 7 == 0 for c in product(range(5), repeat=6))


def test_string_of_a_known_architecture_is_the_benchmarks() -> None:
    space = NasBench201().build(3, 10, 32)
    choice = [3, 0, 2, 1, 4, 3]
    genotype = from_choices(space, torch.eye(5)[choice].tolist())
    assert architecture_string(genotype) == (
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    )
    assert OPERATIONS[3] == "conv_3x3"


@pytest.mark.parametrize(
    "text",
    [
        "|none~0|",
        "|none~0|+|none~0|none~0|+|none~0|none~1|none~2|",
        "|conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|+|none~0|none~1|none~2|",
        "none~0+|none~0|none~1|+|none~0|none~1|none~2|",
    ],
)
def test_a_wrong_string_is_refused(text: str) -> None:
    with pytest.raises(GenotypeError):
        parse_architecture(text)


def test_a_foreign_genotype_has_no_string() -> None:
    cell = CellGenotype(2, 3, (Edge("conv_3x3", 0, 2),), (2, 3, 4))
    with pytest.raises(GenotypeError):
        architecture_string(Genotype({"cell": cell}))
