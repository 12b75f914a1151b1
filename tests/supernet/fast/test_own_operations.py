"""Operations of one's own: the fast parent equals the reference, cost and children follow."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from test_fast_parent import assert_equal, backend, darts, parents, single_input, weights
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nasbench_snas.api import CandidateOperation, Conv, OperationCost
from nasbench_snas.architecture import operations
from nasbench_snas.architecture.candidates import declared
from nasbench_snas.architecture.genotype import Genotype, from_choices
from nasbench_snas.cost.network import network_parts, searched
from nasbench_snas.cost.table import cost_table, operation_cost
from nasbench_snas.errors import PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.supernet.child.network import child_from_parent
from nasbench_snas.supernet.child.plan import plan_in_space
from nasbench_snas.supernet.modules import build_operation
from nasbench_snas.supernet.reference import ReferenceParent

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FILES = (
    EXAMPLES / "nasbench-snas-squeeze-excite/src/nasbench_snas_squeeze_excite/squeeze_excite.py",
    EXAMPLES / "plugins/attention_space.py",
)
MODULES = ("squeeze-excite", "self-attention")
MIXED = ("none", "skip_connect", "squeeze-excite", "sep_conv_3x3", "self-attention")


class Grouped(CandidateOperation):
    """Declared units: a depthwise 5x5 of dilation 1, a pointwise."""

    name = "grouped"
    summary = "units"
    units = ((Conv((5, 5), depthwise=True), Conv((1, 1), strided=(False, False))),)


@pytest.fixture(autouse=True)
def known():
    before = dict(operations._offered)
    registry = Registry(plugins=[str(file) for file in FILES])
    registry.offer_operations()
    operations.offer("grouped", lambda: declared(Grouped))
    yield registry
    operations._offered.clear()
    operations._offered.update(before)


@pytest.fixture(params=["reference", "cpu"])
def kernels(request):
    return backend(request.param)


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_parent_with_modules_of_ones_own_equals_the_reference(kernels, draws, one_hot):
    space = darts(cells=2, operations=MIXED)
    assert_equal(space, kernels, draws=draws, one_hot=one_hot)


def test_also_with_learnt_norms_path_dropout_recomputing_and_all_operations(kernels):
    space = darts(cells=2, operations=MIXED, affine=True)
    assert_equal(space, kernels, draws=2, one_hot=True, all_operations=True, masked=True)
    assert_equal(space, kernels, draws=2, recompute=True)
    assert_equal(space, kernels, draws=2, train=False)


def test_also_where_a_source_has_nothing_but_modules_of_ones_own(kernels):
    space = single_input(operations=("none", *MODULES))
    assert_equal(space, kernels, draws=2)
    assert_equal(space, kernels, draws=2, one_hot=True)


def test_declared_units_run_in_compiled_cells(kernels):
    space = darts(cells=2, operations=("none", "grouped", "conv_1x1"))
    assert_equal(space, kernels, draws=2)
    if kernels.name == "cpu":
        assert parents(space, kernels)[1].is_compiled


def test_a_wrong_gradient_of_the_calls_would_be_seen(kernels, monkeypatch):
    from nasbench_snas.supernet.fast import backward

    right = backward.backward_own

    def wrong(cell, records, z, *rest):
        return right(cell, records, 1.001 * z, *rest)

    monkeypatch.setattr(backward, "backward_own", wrong)
    with pytest.raises(AssertionError):
        assert_equal(darts(cells=2, operations=MIXED), kernels)


def test_no_graph_is_kept_without_gradients():
    _, fast = parents(darts(cells=2, operations=MIXED), backend("reference"))
    fast.eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        first = fast(images, weights(fast.space, 1))
    assert torch.equal(first, copy.deepcopy(fast)(images, weights(fast.space, 1)).detach())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("name", [*MODULES, "grouped"])
def test_declared_costs_equal_an_independent_count(name, stride, affine, known):
    spec = operations.operation(name)
    module = build_operation(spec, 8, stride, affine=affine, pool_norm=True).eval()
    from nasbench_snas.cost.table import operation_cost

    cost = operation_cost(spec, 8, stride, 7, affine=affine)
    assert cost.parameters == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter:
        y = module(torch.randn(1, 8, 7, 7))
    assert 2 * cost.macs == counter.get_total_flops()
    assert y.shape == (1, 8, -(-7 // stride), -(-7 // stride))
    assert cost.access >= 8 * (49 + y[0, 0].numel()) + cost.parameters - 16 * affine


def test_child_cost_and_genotype_follow():
    space = darts(cells=3, operations=MIXED, affine=True)
    parent = ReferenceParent(space, torch.Generator().manual_seed(0)).double()
    z = weights(space, 1, one_hot=True, seed=4)
    assert z[..., 2].any() and z[..., 4].any(), "both are drawn"
    genotype = from_choices(space, z[0].tolist())
    assert Genotype.from_dict(genotype.to_dict()) == genotype
    parent.eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    child = child_from_parent(parent, genotype)
    torch.testing.assert_close(child(images).logits, parent(images, z)[0])
    table = cost_table(space)
    found = searched(network_parts(plan_in_space(genotype, space)))
    expected = (z[0, ..., None] * table).sum(dim=(0, 1))
    assert [found.parameters, found.flops, found.access] == expected.tolist()


class Wrong(CandidateOperation):
    """Returns too few pixels."""

    name = "wrong"
    summary = "wrong"

    def build(self, channels, stride, affine):
        return nn.AdaptiveAvgPool2d(1)

    def cost(self, channels, stride, resolution, affine):
        return OperationCost(0, 0, 0)


def test_a_module_that_returns_another_shape_is_refused(kernels):
    operations.offer("wrong", lambda: declared(Wrong))
    _, fast = parents(darts(cells=2, operations=("none", "wrong")), kernels)
    with pytest.raises(PluginError, match=r"'wrong' returned shape \(2, 4, 1, 1\), not"):
        fast(torch.randn(2, 3, 8, 8, dtype=torch.float64), weights(fast.space, 1))


def test_an_operation_declares_units_or_a_module_with_its_cost():
    both = type("Both", (Wrong,), {"units": Grouped.units})
    neither = type("Neither", (CandidateOperation,), {"name": "neither"})
    half = type("Half", (CandidateOperation,), {"name": "half", "build": Wrong.build})
    for cls in (both, neither, half):
        with pytest.raises(PluginError, match="units, or a module and its cost"):
            declared(cls)


@pytest.mark.parametrize("name", MODULES)
def test_many_architectures_at_once_leave_running_statistics_alone(name):
    from nasbench_snas.oracle.functional import apply_module

    module = build_operation(operations.operation(name), 4, 1, affine=False, pool_norm=True)
    module.double().train()
    x = torch.randn(3, 2, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    before = {key: buffer.clone() for key, buffer in module.named_buffers()}
    y = apply_module(module, x) + apply_module(module, x)
    (gradient,) = torch.autograd.grad((y**2).sum(), x)
    assert all(torch.equal(buffer, before[key]) for key, buffer in module.named_buffers())
    other = x.detach().clone().requires_grad_()
    right = torch.stack([2 * module(row) for row in other])
    torch.testing.assert_close(y, right)
    torch.testing.assert_close(gradient, torch.autograd.grad((right**2).sum(), other)[0])


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (((Conv((3, 3), depthwise=True), Conv((1, 1))),), "carries the stride 2 times in height"),
        (((Conv((3, 3), strided=(True, False)),),), "0 times in width"),
        (((Conv((2, 2)),),), "changes the resolution"),
        (((Conv((3, 3)),), ()), "a unit is empty"),
    ],
)
def test_units_that_lose_the_resolution_are_refused(units, message):
    cls = type("Wrong", (CandidateOperation,), {"name": "wrong", "units": units})
    with pytest.raises(PluginError, match=message):
        declared(cls)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (OperationCost(float("nan"), 0, 1), "value nan"),  # type: ignore[arg-type]
        (OperationCost(-1, 0, 1), "value -1"),
        (OperationCost(0, float("inf"), 1), "value inf"),  # type: ignore[arg-type]
        (OperationCost(0.5, 0, 1), "value 0.5"),  # type: ignore[arg-type]
        ((1, 2, 3), "returned tuple"),
        (None, "returned NoneType"),
    ],
)
def test_a_cost_that_cannot_be_is_refused(cost, message):
    class Odd(CandidateOperation):
        name = "odd"
        summary = "odd"

        def build(self, channels, stride, affine):
            raise ValueError("no such module")

        def cost(self, channels, stride, resolution, affine):
            return cost

    with pytest.raises(PluginError, match=message):
        operation_cost(declared(Odd), 4, 1, 8)
    with pytest.raises(PluginError, match="'odd': build.*no such module"):
        build_operation(declared(Odd), 4, 1, affine=False, pool_norm=True)


def test_the_version_of_an_operation_is_part_of_a_runs_identity(tmp_path):
    def planned(version, *named):
        file = tmp_path / f"v{version}" / "own.py"
        file.parent.mkdir(exist_ok=True)
        text = FILES[0].read_text().replace("    name = ", f"    version = {version}\n    name = ")
        file.write_text(text)
        names = '["none", "conv_1x1", ' + ", ".join(f'"{n}"' for n in named) + "]"
        registry = Registry(plugins=[str(file)])
        return plan_run(registry, "snas", "snas-unit", assignments=[f"space.operations={names}"])

    assert planned(1, "squeeze-excite").run_id != planned(2, "squeeze-excite").run_id
    assert planned(2, "squeeze-excite").config.versions == {"operation squeeze-excite": 2}
    without = planned(1, "conv_3x3")
    assert without.run_id == planned(2, "conv_3x3").run_id
    assert "versions" not in without.config.identity(1)
