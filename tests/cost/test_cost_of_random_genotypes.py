"""Any genotype: its counted cost is that of the built network, and the network trains."""

from __future__ import annotations

import random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.architecture.operations import OPERATIONS
from nasbench_snas.cost.network import network_parts, total
from nasbench_snas.seeding import stream
from nasbench_snas.supernet.child.network import ChildNetwork
from nasbench_snas.supernet.child.plan import ChildSettings, plan_child
from nasbench_snas.supernet.skeleton import parameter_count

KEPT = [name for name, spec in OPERATIONS.items() if spec.kind not in ("zero", "noise")]


def random_cell(rng: random.Random) -> CellGenotype:
    """Any in-degree from none to four, doubled edges, inputs in the concatenation."""
    inputs, nodes = rng.randint(1, 2), rng.randint(1, 5)
    edges = [
        Edge(rng.choice(KEPT), rng.randrange(target), target)
        for target in range(inputs, inputs + nodes)
        for _ in range(rng.randint(0, 4))
    ]
    concat = rng.sample(range(inputs + nodes), rng.randint(1, inputs + nodes))
    return CellGenotype(inputs, nodes, tuple(edges), tuple(concat))


def random_network(seed: int) -> tuple[Genotype, ChildSettings]:
    rng = random.Random(seed)
    genotype = Genotype({"normal": random_cell(rng), "reduce": random_cell(rng)})
    settings = ChildSettings(
        recipe=rng.choice(["cifar", "imagenet"]),  # type: ignore[arg-type]
        channels=2 * rng.randint(1, 4),
        layers=rng.randint(1, 6),
        num_classes=rng.randint(2, 12),
        in_channels=rng.choice([1, 3]),
        resolution=rng.randint(33, 50),
        auxiliary=rng.random() < 0.5,
        auxiliary_norm=rng.random() < 0.5,
        affine=rng.random() < 0.8,
        pool_norm=rng.random() < 0.5,
    )
    fed = all(set(c.concat) - set(c.dropped_nodes) for c in genotype.cells.values())
    if fed and rng.random() < 0.5:
        settings = ChildSettings(**{**vars(settings), "dropped_nodes": "remove"})
    return genotype, settings


@pytest.mark.parametrize("seed", range(24))
def test_the_cost_of_a_random_genotype_is_that_of_the_built_network_exactly(seed: int) -> None:
    genotype, settings = random_network(seed)
    parts = network_parts(plan_child(genotype, settings))
    with torch.device("meta"), torch.no_grad():
        network = ChildNetwork(genotype, settings, torch.Generator())
        assert total(parts, auxiliary=True).parameters == parameter_count(network)
        image = torch.zeros(1, settings.in_channels, settings.resolution, settings.resolution)
        with FlopCounterMode(display=False) as counter:
            network.eval()(image)
    assert 2 * total(parts).macs == counter.get_total_flops()


@pytest.mark.parametrize("seed", range(6))
def test_a_child_of_a_random_genotype_trains(seed: int) -> None:
    genotype, settings = random_network(100 + seed)
    network = ChildNetwork(genotype, settings, stream(seed, "init"))
    images = torch.randn(
        4, settings.in_channels, settings.resolution, settings.resolution, generator=stream(0, "x")
    )
    output = network(images, drop_path=0.2, generator=stream(1, "drop"))
    assert output.logits.shape == (4, settings.num_classes)
    assert (output.auxiliary is not None) == settings.auxiliary
    loss = output.logits.logsumexp(dim=1).mean()
    if output.auxiliary is not None:
        loss = loss + output.auxiliary.logsumexp(dim=1).mean()
    loss.backward()
    found = [p.grad for p in network.parameters() if p.grad is not None]
    assert found and all(torch.isfinite(gradient).all() for gradient in found)
