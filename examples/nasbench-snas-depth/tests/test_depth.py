"""The conformance checks of ``depth``, and what is particular to it."""

from nasbench_snas_depth.depth import Depth

from nasbench_snas.registry import Registry
from nasbench_snas.testing import CriterionConformance


class TestDepth(CriterionConformance):
    criterion = Depth


def test_units_are_counted_in_every_cell_that_shares_the_edge():
    space = Registry().space("darts-cnn")(cells=4).build(3, 10, 32)  # two of each kind of cell
    normal, inner = Depth().table(space)[0], Depth().table(space)[4]
    counted = dict(zip(space.operations, normal, strict=True))
    assert counted["sep_conv_3x3"] == 4 and counted["dil_conv_3x3"] == 2
    assert counted["skip_connect"] == counted["none"] == inner[3] == 0
    reduction = dict(zip(space.operations, Depth().table(space)[14], strict=True))
    assert reduction["skip_connect"] == 2 and reduction["max_pool_3x3"] == 1
