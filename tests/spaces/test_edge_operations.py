"""Operations that differ from edge to edge: every part of the suite against brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from nasbench_snas.api import DerivationRule
from nasbench_snas.architecture.distributions import Categorical, one_hot
from nasbench_snas.architecture.genotype import from_choices
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.cost.expected import CostModel
from nasbench_snas.cost.file_table import FileTable
from nasbench_snas.cost.latency import measure_latency
from nasbench_snas.cost.listing import space_lines, space_summary
from nasbench_snas.cost.own import own_cost
from nasbench_snas.cost.settings import CostSettings
from nasbench_snas.cost.table import cost_table
from nasbench_snas.errors import ConfigError, GenotypeError, PluginError
from nasbench_snas.estimators.drnas import DrNAS
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.oracle.exact import Oracle
from nasbench_snas.oracle.network import BatchedLoss, BatchedNetwork
from nasbench_snas.reports.draw.evolution import by_operation
from nasbench_snas.search.rules import derive_by
from nasbench_snas.search.topology import choosable, strongest
from nasbench_snas.seeding import stream
from nasbench_snas.spaces.robust_darts import S1, DartsS1, DartsS2, DartsS3, DartsS4
from nasbench_snas.supernet.build import build_parent
from nasbench_snas.supernet.child.network import child_from_parent
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.supernet.skeleton import parameter_count

ROWS = (("none", "conv_3x3"), ("skip_connect",), ("max_pool_3x3", "none", "conv_3x3"))
"""Of a cell with the edges 0-1, 0-2, 1-2: 2 x 1 x 3 architectures."""


def unequal(cells: int = 1, **changes: object) -> Space:
    return Space(
        name="unequal",
        operations=("none", "skip_connect", "max_pool_3x3", "conv_3x3"),
        cells=(CellType.dense("cell", 1, 2),),
        layers=(Layer("cell", 4, 1, "cell"),) * cells,
        stem_channels=4,
        preprocess=cells > 1,
        in_channels=1,
        resolution=8,
        edge_operations=ROWS,
        **changes,  # type: ignore[arg-type]
    )


def images() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(6, 1, 8, 8, generator=stream(0, "images"), dtype=torch.float64)
    return x, torch.arange(6)


def test_s1_to_s4_are_the_published_sets() -> None:
    space = DartsS1().build(3, 10, 32)
    assert (space.num_edges, space.num_operations, len(space.layers)) == (28, 2, 8)
    assert space.num_architectures == 2**28
    assert all(len(set(row)) == 2 for rows in S1.values() for row in rows)
    own = dict(zip(space.edge_names, space.candidates, strict=True))
    assert own["normal 0->2"] == ("skip_connect", "dil_conv_3x3")
    assert own["normal 0->4"] == ("max_pool_3x3", "skip_connect")
    assert own["normal 4->5"] == ("dil_conv_3x3", "dil_conv_5x5")
    assert own["reduce 1->2"] == ("max_pool_3x3", "dil_conv_3x3")
    assert own["reduce 1->4"] == ("max_pool_3x3", "sep_conv_3x3")
    assert own["reduce 4->5"] == ("skip_connect", "dil_conv_5x5")
    small = dict(zip(*_named(DartsS1(nodes=2).build(1, 10, 8)), strict=True))
    assert small == {name: own[name] for name in small}
    assert DartsS2().build(3, 10, 32).operations == ("skip_connect", "sep_conv_3x3")
    assert DartsS3().build(3, 10, 32).operations == ("none", "skip_connect", "sep_conv_3x3")
    assert DartsS4().build(3, 10, 32).operations == ("noise", "sep_conv_3x3")
    with pytest.raises(ConfigError, match="at most 4"):
        DartsS1(nodes=5)


def _named(space: Space) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    return space.edge_names, space.candidates


def test_a_space_counts_what_its_edges_have() -> None:
    space = unequal()
    assert (space.num_operations, space.num_architectures) == (3, 6)
    assert space.absent == ((False, False, True), (False, True, True), (False, False, False))
    assert space.places("none") == ((0, 0), (2, 1))
    assert not DartsS2().build(1, 10, 8).absent
    for rows in (ROWS[:2], (*ROWS[:2], ("conv_1x1",)), (*ROWS[:2], ()), (*ROWS[:2], ("none",) * 2)):
        with pytest.raises(ConfigError):
            Space("x", space.operations, space.cells, space.layers, 4, edge_operations=rows)


def test_absent_operations_have_no_probability_and_no_gradient() -> None:
    space = unequal()
    dist = SNAS().make_distribution(space, stream(0, "alpha"))
    assert isinstance(dist, Categorical)
    absent = torch.tensor(space.absent)
    assert float(dist.probs.detach()[0][absent].abs().max()) == 0
    noise = dist.noise(1, 500, stream(0, "noise"))
    assert (
        not dist.hard(noise)[:, :, absent].any() and not dist.soft(noise, 0.1)[:, :, absent].any()
    )
    weight = torch.randn(3, 3, generator=stream(1, "weight"))
    (dist.soft(noise, 1.0) * weight).sum().backward()
    assert torch.isfinite(dist.alpha.grad).all() and not dist.alpha.grad[0][absent].any()
    assert dist.alpha.grad[0][~absent].any()
    assert torch.isfinite(dist.log_prob(dist.hard(noise))).all()
    twice = dist.replicate(2)
    assert not twice.probs[:, absent].any() and twice.probs.shape[0] == 2
    assert list(dist.state_dict()) == ["alpha"]


@pytest.mark.parametrize("cells", [1, 2])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_exact_loss_and_gradient_are_the_sums_over_what_exists(cells: int, auxiliary: bool) -> None:
    space = unequal(cells, auxiliary_skip=auxiliary)
    parent = ReferenceParent(space, stream(0, "theta")).double().eval()
    x, labels = images()
    dist = Categorical(
        torch.randn(3, 3, generator=stream(0, "alpha"), dtype=torch.float64),
        torch.tensor(space.absent),
    )
    found = Oracle(BatchedNetwork(parent), x, labels).gradient(dist)
    # each architecture by itself through the readable network, probabilities by hand
    logits = [dist.alpha[0, e, : len(row)] for e, row in enumerate(ROWS)]
    value = torch.zeros((), dtype=torch.float64)
    for choice in product(*(range(len(row)) for row in ROWS)):
        z = one_hot(torch.tensor([choice]), 3, torch.float64)
        loss = functional.cross_entropy(parent(x, z)[0], labels)
        p = torch.stack([row.softmax(0)[k] for row, k in zip(logits, choice, strict=True)]).prod()
        value = value + p * loss
    theta = list(parent.parameters())
    slope, *by_theta = torch.autograd.grad(value, [dist.alpha, *theta], allow_unused=True)
    assert found.value == pytest.approx(float(value.detach()), abs=1e-12)
    assert torch.allclose(found.dist, slope.flatten(), atol=1e-12)
    pairs = zip(by_theta, theta, strict=True)
    flat = torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
    assert found.theta is not None and torch.allclose(found.theta, flat, atol=1e-10)


@pytest.mark.parametrize("space", [unequal(2), unequal(2, auxiliary_skip=True)], ids=["own", "aux"])
def test_many_architectures_in_one_pass_are_the_parents_one_by_one(space: Space) -> None:
    parent = ReferenceParent(space, stream(0, "theta")).double().train()
    x, _ = images()
    soft = torch.tensor([space.uniform], dtype=torch.float64)
    hard = one_hot(torch.tensor([[0, 0, 1], [1, 0, 2]]), 3, torch.float64)
    z = torch.cat([soft, hard])
    assert torch.allclose(BatchedNetwork(parent).logits(x, z), parent(x, z), atol=1e-10)


def test_what_an_edge_does_not_have_is_refused_wherever_it_is_used() -> None:
    space = unequal()
    parent = ReferenceParent(space, stream(0, "theta")).double()
    x, labels = images()
    z = one_hot(torch.tensor([[0, 1, 0]]), 3, torch.float64)
    for use in (
        lambda: parent(x, z),
        lambda: BatchedLoss(BatchedNetwork(parent), x, labels)(z[None]),
    ):
        with pytest.raises(ConfigError, match="its edge does not have"):
            use()
    with pytest.raises(GenotypeError, match="It has 1: skip_connect"):
        from_choices(space, z[0].tolist())
    drawn = DrNAS()
    dist = drawn.make_distribution(space, stream(0, "alpha"))
    weights = drawn.relax(dist, drawn.noise(dist, 1, stream(0, "noise")))[0]
    with pytest.raises(ConfigError, match="give every edge the same number"):
        parent(x, weights.double())


def test_costs_are_those_of_each_edges_own_operations() -> None:
    space, table = unequal(), cost_table(unequal())
    conv = 9 * 4 * 4
    expected = [[0, conv, 0], [0, 0, 0], [0, 0, conv]]
    assert table[..., 0].tolist() == expected
    model = CostModel(space, CostSettings(weights={"params": 1.0, "flops": 0.0, "mac": 0.0}))
    share = torch.tensor(space.uniform, dtype=torch.float64)
    mean = conv / 2 + conv / 3
    assert float(model.cost(share)) == pytest.approx(1.0)
    z = one_hot(torch.tensor([1, 0, 2]), 3, torch.float64)
    assert float(model.cost(z)) == pytest.approx(2 * conv / mean)
    summary = space_summary(space)
    assert summary["uniform"]["parameters"] == round(mean)
    assert summary["cheapest"]["parameters"] == 0 and summary["cheapest"]["access"] > 0
    lines = {line["what"]: line["parameters"] for line in space_lines(space)}
    assert lines["conv_3x3"] == 2 * conv


@pytest.mark.parametrize("auxiliary", [False, True])
def test_a_table_of_latencies_is_read_as_it_was_measured(tmp_path: Path, auxiliary: bool) -> None:
    space = unequal(auxiliary_skip=auxiliary)
    found = measure_latency(space, rounds=1)
    file = tmp_path / "latency.json"
    file.write_text(json.dumps(found.content()))
    assert own_cost(FileTable(str(file)), space).table.tolist() == found.table()
    timed = [[value > 0 for value in row] for row in found.table()]
    assert timed == [[False, True, False], [True, False, False], [True, False, True]]
    built = [one.part.build() for one in found.parts if one.part.chosen]
    assert all(hasattr(module, "skip") == auxiliary for module in built)


def test_only_what_an_edge_has_can_be_chosen() -> None:
    rows = (("none", "conv_3x3", "skip_connect"), ("none",), ("conv_3x3", "none"))
    space = replace(unequal(), edge_operations=rows)
    every = [[True, True, True], [True, False, False], [True, True, False]]
    assert choosable(space, none=True).tolist() == every
    without = [[False, True, True], [True, False, False], [True, False, False]]
    assert choosable(space, none=False).tolist() == without


def test_children_are_derived_from_an_edges_own_operations() -> None:
    space = unequal()
    strengths = torch.tensor([[0.9, 0.1, 0.0], [1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
    assert strongest(space, strengths).argmax(dim=-1).tolist() == [1, 0, 2]
    idle = replace(space, edge_operations=(("none",), *space.edge_operations[1:]))
    without = strongest(idle, torch.tensor([[1.0, 0.0, 0.0], *strengths[1:].tolist()]))
    assert without.tolist() == [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    genotype = from_choices(space, strongest(space, strengths).tolist())
    kept = [edge.operation for edge in genotype.cells["cell"].edges]
    assert kept == ["conv_3x3", "skip_connect", "conv_3x3"]

    class Wrong(DerivationRule):
        """Chooses what is not there."""

        name = "wrong"

        def derive(self, state):  # type: ignore[no-untyped-def]
            """Return it."""
            return one_hot(torch.tensor([0, 2, 0]), 3, torch.float32)

    with pytest.raises(PluginError, match="its edge does not have"):
        derive_by(Wrong(), type("State", (), {"space": space})())  # type: ignore[arg-type]


def test_a_child_is_the_parent_and_its_genotype_must_fit_the_edge() -> None:
    space = DartsS1(nodes=2, cells=3, channels=4).build(1, 10, 8)
    parent = ReferenceParent(space, stream(0, "theta")).double().eval()
    x, _ = images()
    z = one_hot(torch.arange(space.num_edges) % 2, 2, torch.float64)
    genotype = from_choices(space, z.tolist())
    child = child_from_parent(parent, genotype)
    assert torch.allclose(child(x).logits, parent(x, z[None])[0], atol=1e-10)
    plain = genotype.to_dict()
    plain["cells"]["normal"]["edges"][0][0] = "sep_conv_3x3"
    with pytest.raises(GenotypeError, match="Operations: skip_connect, dil_conv_3x3"):
        child_from_parent(parent, type(genotype).from_dict(plain))


def test_parents_have_modules_for_what_exists_only_and_say_why_they_are_plain() -> None:
    space = unequal()
    parent, note = build_parent(space, stream(0, "theta"))
    assert isinstance(parent, ReferenceParent)
    assert note.endswith("as operations that differ from edge to edge need it")
    with pytest.raises(ConfigError, match="has no fused parent"):
        FastParent(space, stream(0, "theta"), kernels=None)  # type: ignore[arg-type]
    names = [list(edge.operations) for edge in parent.cell(0).edges]  # type: ignore[union-attr]
    assert names == [list(row) for row in ROWS]
    searched = float(cost_table(space)[..., 0].sum())
    outside = parameter_count(parent.stem) + parameter_count(parent.head)
    assert parameter_count(parent) == searched + outside


def test_pictures_show_operations_and_leave_absent_ones_blank() -> None:
    space = unequal()
    probs = torch.tensor([space.uniform]).numpy()
    shown = by_operation(probs, space.candidates, space.operations)
    assert shown.shape == (1, 3, 4)
    assert shown[0, 0].tolist()[0::3] == [0.5, 0.5] and (shown[0, 0, 1:3] != shown[0, 0, 1:3]).all()
    same = DartsS2(nodes=2).build(1, 10, 8)
    assert by_operation(probs, same.candidates, same.operations) is probs
