"""The networks that are put through public counters: five cells, and DARTS on ImageNet."""

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.text import parse_genotype
from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.spaces.nasbench201 import NasBench201, parse_architecture
from nasbench_snas.supernet.child.plan import ChildPlan, ChildSettings, plan_child, plan_in_space

POOLS_AND_SKIPS = """Genotype(
    normal=[('max_pool_3x3', 0), ('skip_connect', 1), ('avg_pool_3x3', 0), ('skip_connect', 2),
            ('avg_pool_3x3', 1), ('max_pool_3x3', 2), ('skip_connect', 0), ('avg_pool_3x3', 3)],
    normal_concat=[2, 3, 4, 5],
    reduce=[('avg_pool_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 0), ('skip_connect', 2),
            ('max_pool_3x3', 1), ('avg_pool_3x3', 2), ('skip_connect', 0), ('skip_connect', 3)],
    reduce_concat=[2, 3, 4, 5])"""
"""A cell without any convolution of its own."""

MIXED_201 = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
)
"""A NAS-Bench-201 cell with all five operations."""


def in_201(architecture: str, *, affine: bool = False) -> tuple[Genotype, ChildPlan]:
    """Return a cell of NAS-Bench-201 in the benchmark's own network: 15 cells, 16 channels."""
    genotype = parse_architecture(architecture)
    return genotype, plan_in_space(genotype, NasBench201(affine=affine).build(3, 10, 32))


def small_networks() -> dict[str, tuple[Genotype, ChildPlan]]:
    """Return small networks of the same cells: every module and function of the large ones."""
    small = ChildSettings(layers=3, channels=4, resolution=16)
    cells = {name: zoo(name) for name in ("darts-v2", "snas-moderate", "nasnet-a")}
    cells["pools and skips"] = parse_genotype(POOLS_AND_SKIPS)
    networks = {name: (cell, plan_child(cell, small)) for name, cell in cells.items()}
    genotype = parse_architecture(MIXED_201)
    space = NasBench201(cells_per_stage=1, channels=4).build(3, 10, 16)
    networks["nas-bench-201"] = (genotype, plan_in_space(genotype, space))
    imagenet = ChildSettings(recipe="imagenet", layers=3, channels=8, resolution=64)
    networks["darts-v2 on ImageNet"] = (cells["darts-v2"], plan_child(cells["darts-v2"], imagenet))
    return networks


def counted_networks() -> dict[str, tuple[Genotype, ChildPlan]]:
    """Return the networks by name, the CIFAR ones as in Table 2."""
    cells = {name: zoo(name) for name in ("darts-v2", "snas-moderate", "nasnet-a")}
    cells["pools and skips"] = parse_genotype(POOLS_AND_SKIPS)
    networks = {name: (cell, plan_child(cell, ChildSettings())) for name, cell in cells.items()}
    networks["nas-bench-201"] = in_201(MIXED_201)
    darts = zoo("darts-v2")
    networks["darts-v2 on ImageNet"] = (darts, plan_child(darts, ChildSettings.imagenet()))
    return networks
