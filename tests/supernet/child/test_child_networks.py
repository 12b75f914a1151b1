"""Child networks: published sizes by construction, and weights inherited from a parent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype, from_choices
from nasbench_snas.architecture.operations import OPERATIONS
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.architecture.zoo import zoo, zoo_names
from nasbench_snas.errors import ConfigError, GenotypeError
from nasbench_snas.seeding import stream
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.supernet.child.network import ChildNetwork, ChildSettings, child_from_parent
from nasbench_snas.supernet.child.plan import plan_child, plan_in_space, without_dropped
from nasbench_snas.supernet.reference import ReferenceParent

imagenet = ChildSettings.imagenet

CIFAR = [
    ("darts-v2", ChildSettings(), 3_349_342, 528.4),
    ("darts-v2", ChildSettings(pool_norm=True), 3_351_502, 528.4),
    ("snas-mild", ChildSettings(), 2_661_382, 422.2),
    ("snas-mild", ChildSettings(pool_norm=True), 2_663_542, 422.2),
    ("snas-moderate", ChildSettings(), 2_847_358, 440.7),
    ("snas-moderate", ChildSettings(pool_norm=True), 2_848_222, 440.7),
    ("snas-aggressive", ChildSettings(), 2_313_622, 374.9),
]
PUBLISHED_TABLE = [
    ("amoebanet-a", ChildSettings(), 3.145, 488.9),
    ("amoebanet-a", ChildSettings(pool_norm=True), 3.159, 488.9),
    ("darts-v1", ChildSettings(), 3.169, None),
    ("nasnet-a", ChildSettings(channels=32), 3.328, 525.8),
    ("nasnet-a-darts", ChildSettings(), 3.831, None),
    ("pnas", ChildSettings(channels=48, layers=11), 4.271, None),
    ("enas", ChildSettings(layers=17), 3.729, None),
    ("enas", ChildSettings(), 4.395, None),
    ("darts-v2", imagenet(48), 4.719, 529.9),
    ("darts-v1", imagenet(50), 4.854, 547.5),
    ("nasnet-a", imagenet(44), 5.290, 554.7),
    ("amoebanet-a", imagenet(50), 4.986, 569.7),
    ("pnas", imagenet(54, 11), 6.441, 700.6),
    ("snas-mild", imagenet(48), 3.939, 438.0),
    ("snas-mild", imagenet(50), 4.236, 474.2),
    ("snas-mild", imagenet(52), 4.543, 511.7),
    ("snas-moderate", imagenet(48), 4.313, 465.6),
    ("snas-moderate", imagenet(50), 4.636, 503.5),
    ("snas-aggressive", imagenet(48), 3.562, 395.7),
    ("snas-aggressive", imagenet(50), 3.824, 427.7),
]


def measured(name: str, settings: ChildSettings) -> tuple[int, float]:
    """Return parameters and million multiply-adds of the built network (on no device)."""
    with torch.device("meta"), torch.no_grad():
        network = ChildNetwork(zoo(name), settings, torch.Generator()).eval()
        shape = (1, settings.in_channels, settings.resolution, settings.resolution)
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(shape))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 2e6


@pytest.mark.parametrize(("name", "settings", "parameters", "macs"), CIFAR)
def test_cifar_children_have_the_known_number_of_parameters_exactly(
    name: str, settings: ChildSettings, parameters: int, macs: float
) -> None:
    count, million = measured(name, settings)
    assert count == parameters
    assert round(million, 1) == macs


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings", "parameters", "macs"), PUBLISHED_TABLE)
def test_children_agree_with_the_by_construction_table_in_every_digit_it_gives(
    name: str, settings: ChildSettings, parameters: float, macs: float | None
) -> None:
    count, million = measured(name, settings)
    assert abs(count / 1e6 - parameters) <= 0.0006
    assert macs is None or abs(million - macs) <= 0.051


def test_the_auxiliary_head_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = ChildNetwork(zoo("darts-v2"), ChildSettings(auxiliary=True), torch.Generator())
    assert network.auxiliary is not None
    assert sum(p.numel() for p in network.auxiliary.parameters()) == 476_426


def small(**changes: object) -> ChildSettings:
    values: dict[str, object] = {"channels": 4, "layers": 3, "resolution": 16}
    return ChildSettings(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", zoo_names())
@pytest.mark.parametrize("recipe", ["cifar", "imagenet"])
def test_every_zoo_entry_runs_forward_and_backward(name: str, recipe: str) -> None:
    settings = small(recipe=recipe, resolution=32, auxiliary=True)
    network = ChildNetwork(zoo(name), settings, stream(0, "init"))
    out = network(torch.randn(2, 3, 32, 32), drop_path=0.3, generator=stream(1, "drop"))
    assert out.logits.shape == (2, 10)
    assert out.auxiliary.shape == (2, 10)
    (out.logits.sum() + out.auxiliary.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    network.eval()
    assert network(torch.randn(2, 3, 32, 32)).auxiliary is None


def test_every_operation_of_the_catalogue_can_stand_in_a_child() -> None:
    names = [name for name in OPERATIONS if name != "none"]
    edges = tuple(Edge(name, i % 2, 2) for i, name in enumerate(names))
    cell = CellGenotype(2, 1, edges, (2,))
    settings = small(resolution=9)
    network = ChildNetwork(Genotype({"normal": cell, "reduce": cell}), settings, stream(0, "init"))
    assert network(torch.randn(2, 3, 9, 9)).logits.shape == (2, 10)


def test_two_edges_between_the_same_nodes_are_both_counted() -> None:
    one = CellGenotype(2, 1, (Edge("avg_pool_3x3", 0, 2),), (2,))
    two = CellGenotype(2, 1, one.edges * 2, (2,))
    x = torch.randn(2, 3, 8, 8)
    outputs = []
    for cell in (one, two):
        net = ChildNetwork(Genotype({"reduce": cell}), small(layers=1), stream(0, "init")).eval()
        outputs.append(net(x).logits - net.head.linear.bias)
    torch.testing.assert_close(outputs[1], 2 * outputs[0])


def test_path_dropout_zeroes_whole_images_scales_the_rest_and_spares_identities() -> None:
    cell = CellGenotype(2, 2, (Edge("skip_connect", 0, 2), Edge("conv_1x1", 0, 3)), (2, 3))
    settings = ChildSettings(channels=4, layers=4, resolution=8)
    genotype = Genotype({"normal": cell, "reduce": cell})
    network = ChildNetwork(genotype, settings, stream(0, "init"))
    first = network.cells["0"]
    x = torch.randn(64, 12, 8, 8)
    mask = network.draw_masks(len(x), 0.25, stream(3, "drop")).to(x)
    assert mask is not None and mask.shape == (network.plan.num_edges, 64)
    torch.testing.assert_close(mask.unique(), torch.tensor([0.0, 1 / 0.75]))
    plain, dropped = first([x, x], None), first([x, x], mask[:2])
    torch.testing.assert_close(dropped[:, :4], plain[:, :4])
    factor = mask[1].view(-1, 1, 1, 1)
    torch.testing.assert_close(dropped[:, 4:], plain[:, 4:] * factor)


def test_path_dropout_draws_only_from_the_passed_generator_and_needs_one() -> None:
    network = ChildNetwork(zoo("darts-v2"), small(), stream(0, "init"))
    before = torch.random.get_rng_state()
    x = torch.randn(4, 3, 16, 16, generator=stream(0, "x"))
    one = network(x, drop_path=0.5, generator=stream(1, "drop")).logits
    two = network(x, drop_path=0.5, generator=stream(1, "drop")).logits
    other = network(x, drop_path=0.5, generator=stream(2, "drop")).logits
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())
    with pytest.raises(ConfigError, match="generator"):
        network(x, drop_path=0.5)


def test_dropped_nodes_are_kept_as_zero_maps_or_removed_with_their_unused_inputs() -> None:
    keep, remove = (small(dropped_nodes=how) for how in ("keep", "remove"))
    plans = [plan_child(zoo("snas-aggressive"), settings) for settings in (keep, remove)]
    reduces = [next(p for p in plan.cells if p.kind == "reduce") for plan in plans]
    kept = ChildNetwork(zoo("snas-aggressive"), keep, stream(0, "init"))
    maps = kept.cells["1"]([torch.randn(2, c, 16, 16) for c in reduces[0].input_channels], None)
    assert maps[:, 16:].eq(0).all() and maps[:, :16].ne(0).any()
    assert [p.output_channels // p.channels for p in reduces] == [4, 2]
    assert reduces[0].preprocess == (True, True)
    assert reduces[1].preprocess == (True, False)
    x = torch.randn(2, 3, 16, 16)
    net = ChildNetwork(zoo("snas-aggressive"), remove, stream(0, "init"))
    assert net(x).logits.shape == (2, 10)


def test_removal_follows_nodes_that_only_dropped_nodes_feed() -> None:
    edges = (Edge("skip_connect", 0, 3), Edge("skip_connect", 2, 4), Edge("skip_connect", 4, 5))
    cell = without_dropped(CellGenotype(2, 4, edges, (2, 3, 4, 5)))
    assert cell.edges == edges[:1]
    assert cell.concat == (3,)
    with pytest.raises(GenotypeError, match="no output"):
        without_dropped(CellGenotype(2, 1, (), (2,)))


def test_a_missing_cell_type_is_named() -> None:
    with pytest.raises(GenotypeError, match="'reduce'"):
        plan_child(Genotype({"normal": zoo("darts-v2").cells["normal"]}), small())


def residual_space() -> Space:
    cell = CellType.dense("cell", 1, 3, "last")
    layers = (Layer("cell", 8, 1, "cell"), Layer("residual", 16, 2), Layer("cell", 16, 1, "cell"))
    names = ("none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3")
    return Space(
        name="residual",
        operations=names,
        cells=(cell,),
        layers=layers,
        stem_channels=8,
        preprocess=False,
        head="bn-relu-linear",
        pool_norm=False,
        resolution=8,
    )


def spaces() -> list[Space]:
    darts = DartsCNN(cells=4, channels=4).build(3, 10, 9)
    return [darts, residual_space()]


@pytest.mark.parametrize("space", spaces(), ids=lambda space: space.name)
@pytest.mark.parametrize("training", [True, False])
def test_an_inherited_child_returns_the_logits_of_its_parent(space: Space, training: bool) -> None:
    parent = ReferenceParent(space, stream(0, "init")).double()
    images = torch.randn(6, 3, space.resolution, space.resolution, dtype=torch.float64)
    with torch.no_grad():  # running statistics that are not the initial ones
        parent(images, torch.rand(2, space.num_edges, space.num_operations).double())
    parent.train(training)
    for seed in range(2):
        choice = torch.randint(
            space.num_operations, (space.num_edges,), generator=stream(seed, "choice")
        )
        z = torch.nn.functional.one_hot(choice, space.num_operations).double()
        child = child_from_parent(parent, from_choices(space, z.tolist()))
        assert child.training is training
        expected = parent(images, z[None])[0]
        torch.testing.assert_close(child(images).logits, expected, rtol=0, atol=1e-11)


def test_a_child_inherits_copies_not_the_parents_own_tensors() -> None:
    space = residual_space()
    parent = ReferenceParent(space, stream(0, "init"))
    z = torch.eye(space.num_operations)[torch.full((space.num_edges,), 3)]
    child = child_from_parent(parent, from_choices(space, z.tolist()))
    with torch.no_grad():
        child.head.linear.weight.zero_()
    assert parent.head.linear.weight.abs().sum() > 0


def test_a_genotype_foreign_to_the_space_is_refused_with_the_place() -> None:
    parent = ReferenceParent(DartsCNN(cells=3, channels=4).build(3, 10, 8), stream(0, "init"))
    with pytest.raises(GenotypeError, match=r"cells\.normal\.edges\[\d+\]|concat"):
        child_from_parent(parent, zoo("amoebanet-a"))


def test_a_cell_with_more_inputs_than_the_network_has_layers_before_it_is_refused() -> None:
    cell = CellGenotype(3, 1, (Edge("skip_connect", 2, 3),), (3,))
    with pytest.raises(GenotypeError, match=r"cells\.normal has 3 inputs"):
        plan_child(Genotype({"normal": cell, "reduce": cell}), small())


def test_a_cell_that_is_not_the_spaces_is_refused_with_what_differs() -> None:
    space = residual_space()
    z = torch.eye(space.num_operations)[torch.full((space.num_edges,), 3)]
    good = from_choices(space, z.tolist()).cells["cell"]
    wrong = {
        "edges.6.: conv_3x3 .* a second time": replace(good, edges=(*good.edges, good.edges[0])),
        "has 1 inputs, 4 nodes and 1": replace(good, num_nodes=4),
        "is not in space 'residual'": replace(good, edges=(Edge("max_pool_3x3", 0, 1),)),
    }
    for message, cell in wrong.items():
        with pytest.raises(GenotypeError, match=message):
            plan_in_space(Genotype({"cell": cell}), space)


def test_partial_channel_parents_are_refused() -> None:
    space = DartsCNN(cells=3, channels=4).build(3, 10, 8)
    parent = ReferenceParent(space, stream(0, "init"), partial_channels=2)
    with pytest.raises(ConfigError, match="Partial-channel"):
        child_from_parent(parent, zoo("darts-v2"))
