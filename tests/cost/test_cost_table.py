"""The cost table: known numbers, the built network, and the flop counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nasbench_snas.architecture.genotype import from_choices
from nasbench_snas.architecture.operations import DARTS_OPERATIONS, OPERATIONS, operation
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.cost.network import network_parts, outside_parts, searched, total
from nasbench_snas.cost.table import Cost, cost_table, operation_cost, position_table
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.supernet.child.network import ChildNetwork, ChildSettings
from nasbench_snas.supernet.child.plan import plan_child, plan_in_space
from nasbench_snas.supernet.modules import build_operation
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.supernet.skeleton import parameter_count, positions

RELEASED = {
    "none": (0, 0, 0),
    "max_pool_3x3": (0, 147456, 32768),
    "avg_pool_3x3": (0, 147456, 32768),
    "skip_connect": (0, 0, 32768),
    "sep_conv_3x3": (800, 819200, 131872),
    "sep_conv_5x5": (1312, 1343488, 132384),
    "dil_conv_3x3": (400, 409600, 65936),
    "dil_conv_5x5": (656, 671744, 66192),
}


@pytest.mark.parametrize("name", DARTS_OPERATIONS)
def test_released_costs_of_sixteen_channels_at_32_pixels_are_the_known_numbers(name: str) -> None:
    cost = operation_cost(operation(name), 16, 1, 32, convention="released")
    assert (cost.parameters, cost.flops, cost.access) == RELEASED[name]


@pytest.mark.parametrize("channels", [16, 6])
@pytest.mark.parametrize("size", [16, 8])
def test_released_strided_costs_are_the_known_formulas(channels: int, size: int) -> None:
    n = size * size // 4

    def cost(name: str) -> tuple[int, int, int]:
        c = operation_cost(operation(name), channels, 2, size, convention="released")
        return c.parameters, c.flops, c.access

    for name, k, factor, copies in (
        ("sep_conv_3x3", 3, 11, 2),
        ("sep_conv_7x7", 7, 11, 2),
        ("dil_conv_5x5", 5, 7, 1),
    ):
        weights = copies * (channels * k * k + channels**2)
        assert cost(name) == (weights, weights * n, n * factor * channels + weights)
    assert cost("avg_pool_3x3") == (0, 9 * n * channels, 5 * n * channels)
    moved = 2 * n * (4 * channels + channels // 2) + channels**2
    assert cost("skip_connect") == (channels**2, n * channels**2, moved)
    assert cost("none") == (0, 0, 0)


def test_the_released_code_halves_odd_resolutions_downwards_and_the_sound_count_does_not() -> None:
    pool = operation("max_pool_3x3")
    released = operation_cost(pool, 6, 2, 9, convention="released")
    assert (released.flops, released.access) == (9 * 16 * 6, (64 + 16) * 6)
    sound = operation_cost(pool, 6, 2, 9)
    assert (sound.flops, sound.access) == (9 * 25 * 6, (81 + 25) * 6)


@pytest.mark.equation(35, 36, 37, 38, 39, 40)
def test_the_papers_equations_are_followed_to_the_letter_under_its_convention() -> None:
    n, c = 16 * 16, 16
    pool = operation_cost(operation("max_pool_3x3"), c, 2, 32, convention="paper")
    assert (pool.flops, pool.access) == (n * 9 * c * c, n * 2 * c)
    skip = operation_cost(operation("skip_connect"), c, 2, 32, convention="paper")
    assert skip == Cost(0, 0, 0, n * 2 * c)
    conv = operation_cost(operation("conv_3x3"), c, 2, 32, convention="paper")
    assert conv == Cost(9 * c * c, n * 9 * c * c, 0, n * 2 * c + 9 * c * c)


def test_the_three_criteria_tell_the_four_kinds_of_operation_apart() -> None:
    names = ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3")
    costs = [operation_cost(operation(name), 16, 1, 32) for name in names]
    assert [c.parameters > 0 for c in costs] == [False, False, False, True]
    assert [c.flops > 0 for c in costs] == [False, False, True, True]
    assert [c.access > 0 for c in costs] == [False, True, True, True]


def test_uniform_cost_of_the_eight_cell_network_is_the_known_one() -> None:
    table = cost_table(DartsCNN().build(3, 10, 32), "released")
    size, flops, access = table.mean(dim=1).sum(dim=0).tolist()
    assert size == 228_896
    assert round(flops / 1e6, 2) == 37.17
    assert round(access / 1e6, 3) == 4.192


@pytest.mark.parametrize("name", list(OPERATIONS))
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 7])
def test_every_operation_costs_what_its_built_module_has_and_does(
    name: str, stride: int, size: int
) -> None:
    spec = operation(name)
    cost = operation_cost(spec, 6, stride, size, affine=True)
    module = build_operation(spec, 6, stride, affine=True, pool_norm=True)
    assert cost.parameters == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 6, size, size))
    assert 2 * cost.macs == counter.get_total_flops()


@pytest.mark.parametrize("name", [n for n in OPERATIONS if operation(n).kind == "conv"])
@pytest.mark.parametrize("stride", [1, 2])
def test_memory_access_is_the_elements_that_the_built_convolutions_read_and_write(
    name: str, stride: int
) -> None:
    module = build_operation(operation(name), 6, stride, affine=False, pool_norm=True)
    moved = []

    def hook(conv: torch.nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        moved.append(inputs[0].numel() + out.numel() + conv.weight.numel())

    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(hook)
    module(torch.zeros(1, 6, 9, 9))
    assert operation_cost(operation(name), 6, stride, 9).access == sum(moved)


def residual_space(affine: bool) -> Space:
    layers = (Layer("cell", 8, 1, "cell"), Layer("residual", 16, 2), Layer("cell", 16, 1, "cell"))
    return Space(
        name="residual",
        operations=("none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3"),
        cells=(CellType.dense("cell", 1, 3, "last"),),
        layers=layers,
        stem_channels=8,
        preprocess=False,
        head="bn-relu-linear",
        affine=affine,
        resolution=8,
    )


SPACES = [
    DartsCNN(cells=5, channels=4).build(3, 10, 16),
    DartsCNN(cells=5, channels=4).build(1, 10, 9),
    residual_space(True),
    residual_space(False),
]


@pytest.mark.parametrize("space", SPACES, ids=["darts", "darts-odd", "residual-affine", "residual"])
def test_table_plus_outside_parts_is_the_parents_number_of_parameters(space: Space) -> None:
    parent = ReferenceParent(space, stream(0, "init"))
    outside = outside_parts(space)
    table = cost_table(space)
    fixed = sum(cost.parameters for cost in outside.values())
    assert table[..., 0].sum().item() + fixed == parameter_count(parent)


@pytest.mark.equation(10)
@pytest.mark.parametrize("space", SPACES[:3], ids=["darts", "darts-odd", "residual-affine"])
@pytest.mark.parametrize("seed", [0, 1])
def test_linear_cost_of_a_sample_is_that_of_the_built_child_in_parameters_and_multiply_adds(
    space: Space, seed: int
) -> None:
    choice = torch.randint(
        space.num_operations, (space.num_edges,), generator=stream(seed, "choice")
    )
    z = torch.nn.functional.one_hot(choice, space.num_operations).double()
    costs = torch.einsum("ek,ekc->c", z, cost_table(space))
    outside = outside_parts(space).values()
    plan = plan_in_space(from_choices(space, z.tolist()), space)
    child = ChildNetwork(from_choices(space, z.tolist()), plan, stream(0, "init")).eval()
    assert costs[0].item() + sum(c.parameters for c in outside) == parameter_count(child)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        child(torch.zeros(1, space.in_channels, space.resolution, space.resolution))
    parts = network_parts(plan)
    pooling = total(parts).pooling
    assert costs[1] + sum(c.flops for c in outside) == counter.get_total_flops() / 2 + pooling
    assert searched(parts).access == costs[2]
    assert searched(parts).parameters == costs[0]


CHILDREN = [
    ("darts-v2", ChildSettings(channels=8, layers=6)),
    ("amoebanet-a", ChildSettings(channels=6, layers=5, resolution=17, auxiliary=True)),
    ("nasnet-a", ChildSettings(recipe="imagenet", channels=6, layers=5, resolution=50)),
    ("snas-aggressive", ChildSettings(channels=8, layers=6, dropped_nodes="remove")),
    ("snas-moderate", ChildSettings(channels=8, layers=3, pool_norm=True)),
]


@pytest.mark.parametrize(("name", "settings"), CHILDREN)
def test_parts_of_a_child_add_up_to_the_built_network(name: str, settings: ChildSettings) -> None:
    parts = network_parts(plan_child(zoo(name), settings))
    with torch.device("meta"), torch.no_grad():
        network = ChildNetwork(zoo(name), settings, torch.Generator())
        auxiliary = network.auxiliary
        assert total(parts, auxiliary=True).parameters == parameter_count(network)
        if auxiliary is not None:
            assert total(parts).parameters == parameter_count(network) - parameter_count(auxiliary)
        network.eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, settings.resolution, settings.resolution))
    assert total(parts).macs * 2 == counter.get_total_flops()


def test_the_table_is_the_sum_over_the_cells_that_share_an_edge() -> None:
    space = DartsCNN(cells=6, channels=4).build(3, 10, 16)
    table = cost_table(space)
    expected = torch.zeros_like(table)
    for position in positions(space):
        expected[space.rows[position.cell.name]] += position_table(space, position)
    assert table.shape == (28, 8, 3) and table.dtype == torch.float64
    assert torch.equal(table, expected)
    first = position_table(space, next(positions(space)))
    assert (table[:14] > first).any()


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(ConfigError, match="sound"):
        operation_cost(operation("none"), 4, 1, 8, convention="sounds")  # type: ignore[arg-type]
