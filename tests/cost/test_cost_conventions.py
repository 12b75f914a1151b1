"""The tally behind the public counters' figures, and ``nasbench cost --convention COUNTER``."""

import json
from collections import Counter

import pytest
import torch
from click.testing import CliRunner
from counted_networks import counted_networks, in_201
from torch.utils._python_dispatch import TorchDispatchMode

from nasbench_snas.cli.main import nasbench
from nasbench_snas.cost.conventions import COUNTERS, counter, tally
from nasbench_snas.cost.network import network_parts, total
from nasbench_snas.errors import ConfigError
from nasbench_snas.supernet.child.network import ChildNetwork

NETWORKS = counted_networks()


class Observed(TorchDispatchMode):
    """Counts what really runs, operator by operator."""

    def __init__(self):
        super().__init__()
        self.parts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function._overloadpacket.__name__
        written = (out[0] if isinstance(out, tuple) else out).numel()
        if name == "convolution":
            self.parts["convolution"] += written * args[1][0].numel()
        elif name == "addmm":
            self.parts["linear"] += written * args[1].shape[1]
            self.parts["bias"] += written
        elif "batch_norm" in name:
            self.parts["norm"] += written
            self.parts["norm_affine"] += written if args[1] is not None else 0
        elif name == "relu":
            self.parts["relu"] += written
        elif name.startswith(("max_pool2d", "avg_pool2d")):
            self.parts["maximum" if name.startswith("max") else "average"] += written
            self.parts["pooled"] += args[0].numel()
        elif name == "mean":
            self.parts["mean_read"] += args[0].numel()
            self.parts["mean_written"] += written
        elif name == "add":
            self.parts["addition"] += written
        return out


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tally_is_what_runs_to_the_last_operation(name):
    genotype, plan = NETWORKS[name]
    network = ChildNetwork(genotype, plan, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad(), Observed() as observed:
        network(torch.zeros(1, plan.in_channels, plan.resolution, plan.resolution))
    counted = tally(plan)
    expected = dict(observed.parts)
    assert expected.pop("relu") == counted.relu_module + counted.relu_function
    assert {part: getattr(counted, part) for part in expected} == expected
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert counted.norm_parameters == sum(p.numel() for m in norms for p in m.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_products_are_those_of_the_cost_report(name):
    plan = NETWORKS[name][1]
    counted = tally(plan)
    assert counted.convolution + counted.linear == total(network_parts(plan)).macs


@pytest.mark.parametrize(
    ("cell", "flops", "parameters"),
    [
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|"
         "nor_conv_3x3~2|", 220.11969, 1.531546),
        ("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|"
         "skip_connect~2|", 15.64737, 0.129306),
        ("|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|"
         "skip_connect~2|", 7.78305, 0.073306),
    ],
)  # fmt: skip
def test_nats_is_the_figure_stored_in_the_benchmark(cell, flops, parameters):
    _, plan = in_201(cell, affine=True)
    assert counter("nats").figure(tally(plan)) == round(flops * 1e6)
    assert total(network_parts(plan)).parameters == round(parameters * 1e6)


def test_counting_changes_nothing_of_a_network():
    genotype, plan = NETWORKS["nas-bench-201"]
    network = ChildNetwork(genotype, plan, torch.Generator().manual_seed(0)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flags = [module.training for module in network.modules()]
    attributes = [set(vars(module)) for module in network.modules()]
    for rule in COUNTERS.values():
        rule.figure(tally(network.plan))
    network_parts(network.plan)
    assert [module.training for module in network.modules()] == flags
    assert [set(vars(module)) for module in network.modules()] == attributes
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_an_unknown_counter_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="thop"):
        counter("thopp")


def test_the_command_prints_the_figure_of_a_counter():
    result = CliRunner().invoke(nasbench, ["cost", "darts-v2", "--convention", "thop", "--json"])
    (found,) = json.loads(result.output)["genotypes"]
    assert found["counters"] == {"thop": 549_813_888}  # printed by thop 0.1.1.post2209072238


def test_all_counters_are_printed_side_by_side():
    result = CliRunner().invoke(
        nasbench, ["cost", "snas-moderate", "--convention", "all", "--format", "md"]
    )
    assert result.exit_code == 0
    rows = [line.split("|") for line in result.output.splitlines() if "CIFAR C36" in line]
    assert [row[3].strip() for row in rows] == list(COUNTERS)


def test_a_counter_is_refused_for_a_space():
    result = CliRunner().invoke(nasbench, ["cost", "darts-cnn", "--convention", "fvcore"])
    assert result.exit_code != 0
    assert "counts networks" in str(result.output) + str(result.exception)
