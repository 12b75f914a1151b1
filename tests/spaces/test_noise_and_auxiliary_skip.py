"""The operation ``noise`` and auxiliary skip connections: what they compute, cost and continue."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.architecture.genotype import from_choices
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.conventions import tally
from nasbench_snas.cost.network import network_parts, searched, total
from nasbench_snas.cost.table import cost_table
from nasbench_snas.errors import ConfigError
from nasbench_snas.oracle.network import BatchedNetwork
from nasbench_snas.search.unrolled import refuse_noisy_differences
from nasbench_snas.seeding import stream
from nasbench_snas.settings.run import SearchSettings
from nasbench_snas.spaces.darts_bench import DartsBenchSingleCell, DartsBenchWideAllSkip
from nasbench_snas.spaces.robust_darts import DartsS4
from nasbench_snas.supernet.build import build_parent
from nasbench_snas.supernet.child.kernels import child_kernels, fuse_child
from nasbench_snas.supernet.child.network import ChildNetwork, ChildSettings, child_from_parent
from nasbench_snas.supernet.child.plan import plan_in_space
from nasbench_snas.supernet.modules import FactorizedReduce
from nasbench_snas.supernet.noise import Noise
from nasbench_snas.supernet.reference import MixedEdge, ReferenceParent
from nasbench_snas.supernet.skeleton import parameter_count


def noisy() -> Space:
    return DartsS4(nodes=2, cells=3, channels=4).build(1, 10, 8)


def helped() -> Space:
    return DartsBenchWideAllSkip(nodes=2, cells=2, channels=4).build(1, 10, 8)


def images() -> torch.Tensor:
    return torch.randn(4, 1, 8, 8, generator=stream(0, "images"), dtype=torch.float64)


def test_noise_is_standard_gaussian_and_halves_the_resolution() -> None:
    """|mean| and |variance - 1| beyond 5 standard errors: false alarm below 2e-6 for true noise."""
    torch.manual_seed(0)
    x = torch.full((8, 16, 31, 31), 3.0)
    y = Noise(2)(x)
    assert y.shape == (8, 16, 16, 16)
    n = y.numel()
    assert abs(float(y.mean())) < 5 / math.sqrt(n)
    assert abs(float(y.var()) - 1) < 5 * math.sqrt(2 / n)
    assert Noise(1)(x).shape == x.shape


def test_noise_is_new_in_training_the_same_in_evaluation_and_goes_on_where_it_stopped() -> None:
    torch.manual_seed(0)
    module, x = Noise(1), torch.zeros(2, 3, 4, 4)
    first = module(x)
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    second = module(x)
    assert not torch.equal(first, second)
    other = Noise(1)
    other.load_state_dict(kept)
    assert torch.equal(other(x), second)
    module.eval()
    assert torch.equal(module(x), module(x))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    module(x)
    assert torch.equal(torch.get_rng_state(), state), "a pass touched the process's generator"


def test_a_noisy_parent_is_plain_and_the_many_in_one_pass_are_the_same_in_evaluation() -> None:
    parent, note = build_parent(noisy(), stream(0, "theta"), dtype=torch.float64)
    assert isinstance(parent, ReferenceParent)
    assert note.endswith("as operations that draw random numbers need it")
    parent.eval()
    z = torch.tensor([noisy().uniform] * 2, dtype=torch.float64)
    z[1] = one_hot(torch.arange(len(z[1])) % 2, 2, torch.float64)
    wanted = parent(images(), z)
    assert torch.allclose(BatchedNetwork(parent).logits(images(), z), wanted, atol=1e-10)
    child = child_from_parent(parent, from_choices(noisy(), z[1].tolist()))
    assert torch.allclose(child(images()).logits, wanted[1], atol=1e-10)


def test_differences_of_losses_with_different_noise_are_refused() -> None:
    settings = SearchSettings(level="unrolled", unrolled_hessian="finite-difference")
    with pytest.raises(ConfigError, match="different noise"):
        refuse_noisy_differences(noisy(), settings)
    refuse_noisy_differences(noisy(), SearchSettings(level="unrolled"))
    refuse_noisy_differences(helped(), settings)


def test_the_suites_single_cell_is_a_reduction_cell_of_eight_nodes() -> None:
    space = DartsBenchSingleCell().build(3, 10, 32)
    assert [(layer.cell, layer.channels, layer.stride) for layer in space.layers] == [
        ("reduce", 52, 2)
    ]
    assert space.num_edges == 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9


def test_an_edge_with_an_auxiliary_skip_adds_it_without_a_weight() -> None:
    parent = ReferenceParent(helped(), stream(0, "theta")).double().eval()
    edge = parent.cell(1).edges[0]  # of the reduction cell: its skip is a factorised reduction
    assert isinstance(edge, MixedEdge) and isinstance(edge.auxiliary, FactorizedReduce)
    x, row = torch.randn(2, 8, 8, 8, dtype=torch.float64), torch.full((8,), 0.125).double()
    plain = sum(0.125 * module(x) for module in edge.operations.values())
    assert torch.allclose(edge(x, row, list(range(8))), plain + edge.auxiliary(x), atol=1e-12)
    alone = one_hot(torch.tensor(0), 8, torch.float64)
    assert not edge(x, alone, [0]).any(), "an edge that chose none is dropped"


def test_children_have_their_parents_auxiliary_skips() -> None:
    space = helped()
    parent, note = build_parent(space, stream(0, "theta"), dtype=torch.float64)
    assert note.endswith("as auxiliary skip connections need it")
    parent.eval()
    choice = torch.arange(space.num_edges) % 8  # none is among them
    z = one_hot(choice, 8, torch.float64)
    child = child_from_parent(parent, from_choices(space, z.tolist()))
    logits = parent(images(), z[None])
    assert torch.allclose(child(images()).logits, logits[0], atol=1e-10)
    assert torch.allclose(BatchedNetwork(parent).logits(images(), z[None]), logits, atol=1e-10)


def test_auxiliary_skips_are_counted() -> None:
    space = helped()
    z = one_hot(torch.arange(space.num_edges) % 8, 8, torch.float64)
    genotype = from_choices(space, z.tolist())
    plan = plan_in_space(genotype, space)
    child = ChildNetwork(genotype, plan, stream(0, "theta"))
    parts = network_parts(plan)
    assert total(parts).parameters == parameter_count(child)
    assert searched(parts).parameters == float((z[..., None] * cost_table(space))[..., 0].sum())
    parent = ReferenceParent(space, stream(0, "theta"))
    assert sum(".auxiliary." in name for name, _ in parent.named_parameters()) == 4 * 2


def test_counters_count_them() -> None:
    """Ten additions of maps, and four factorised reductions of 8 channels to 4 x 4 pixels."""
    space = helped()
    genotype = from_choices(space, one_hot(torch.full((space.num_edges,), 4), 8, torch.float64))
    plan = plan_in_space(genotype, space)
    found, plain = tally(plan), tally(replace(plan, auxiliary_skip=False))
    assert found.convolution - plain.convolution == 4 * 8 * 8 * 4 * 4
    assert found.addition - plain.addition == 5 * (4 * 8 * 8 + 8 * 4 * 4)


def test_path_dropout_drops_an_identity_with_an_auxiliary_skip() -> None:
    space = helped()
    genotype = from_choices(space, one_hot(torch.full((space.num_edges,), 3), 8, torch.float64))
    for auxiliary_skip in (False, True):
        plan = replace(plan_in_space(genotype, space), auxiliary_skip=auxiliary_skip)
        child = ChildNetwork(genotype, plan, stream(0, "theta")).double()
        x = child.stem(images())
        out = child.cells["0"]([x, x], torch.zeros(5, 4))
        assert bool(out.any()) == (not auxiliary_skip)


@pytest.mark.parametrize("auxiliary_skip", [False, True])
def test_retrained_networks_have_them_too_on_either_kernels(auxiliary_skip: bool) -> None:
    space = helped()
    genotype = from_choices(space, one_hot(torch.full((space.num_edges,), 4), 8, torch.float64))
    settings = ChildSettings(channels=4, layers=2, in_channels=1, resolution=8)
    settings = ChildSettings(**{**vars(settings), "auxiliary_skip": auxiliary_skip})
    child = ChildNetwork(genotype, settings, stream(0, "theta")).double().train()
    skips = [
        name for name, _ in child.named_modules() if ".skips." in name and name.count(".") == 3
    ]
    assert len(skips) == (2 * 5 if auxiliary_skip else 0)
    kernels, _ = child_kernels("auto", "cpu", torch.float64)
    wanted = child(images()).logits
    if kernels is not None:
        fuse_child(child, kernels)
        assert torch.allclose(child(images()).logits, wanted, atol=1e-9)
