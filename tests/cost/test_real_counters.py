"""Public counters against the rules of :mod:`nasbench_snas.cost.conventions`, without tolerance.

Runs where a counter is installed (``pip install nasbench-snas[counters]``). If one fails after an
update, the counter counts by another rule now: correct the rule and its version together.
"""

import contextlib
import copy
import io
import logging
import warnings
from importlib.metadata import version

import pytest
import torch
from counted_networks import counted_networks, small_networks
from torch import nn

from nasbench_snas.cost.conventions import counter, tally
from nasbench_snas.supernet.child.network import ChildNetwork

pytestmark = pytest.mark.tools

NETWORKS = {f"small {name}": network for name, network in small_networks().items()}
LARGE = counted_networks()
"""The networks of docs/counters.md; slow, but one that every counter reads each time."""
DISTRIBUTIONS = {
    "calflops": "calflops",
    "flopth": "flops-compute",
    "fvcore": "fvcore",
    "mmengine": "fvcore",
    "ptflops": "ptflops",
    "ptflops aten": "ptflops-aten",
    "thop": "thop",
    "torch": "torch",
    "torch-pruning": "torch-pruning",
    "torchinfo": "torchinfo",
    "torchprofile": "torchprofile",
}
"""Package that is run, to the name of the rule it is held to."""


class Logits(nn.Module):
    """The network with its logits as the only output, as counters want it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images).logits


def built(name):
    genotype, plan = {**NETWORKS, **LARGE}[name]
    network = ChildNetwork(genotype, plan, torch.Generator().manual_seed(0))
    images = torch.zeros(1, plan.in_channels, plan.resolution, plan.resolution)
    return Logits(network), images, plan


def counted(package, network, images):
    """Return what ``package`` says of ``network``; skips where it is not installed."""
    module = pytest.importorskip(package.split()[0].replace("-", "_"))
    shape = tuple(images.shape[1:])
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("fvcore").setLevel(logging.ERROR)
        if package == "torch":
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as flops:
                network(images)
            return flops.get_total_flops()
        if package in ("fvcore", "mmengine"):
            nested = "fvcore.nn" if package == "fvcore" else "mmengine.analysis"
            name = "FlopCountAnalysis" if package == "fvcore" else "FlopAnalyzer"
            analysis = getattr(pytest.importorskip(nested), name)(network, (images,))
            return analysis.unsupported_ops_warnings(False).total()
        if package == "thop":
            return module.profile(network, (images,), verbose=False)[0]
        if package.startswith("ptflops"):
            backend = "aten" if package.endswith("aten") else "pytorch"
            options = {"as_strings": False, "print_per_layer_stat": False, "backend": backend}
            return module.get_model_complexity_info(network, shape, **options)[0]
        if package == "torchinfo":
            return module.summary(network, input_data=images, verbose=0).total_mult_adds
        if package == "torchprofile":
            return module.profile_macs(network, images)
        if package == "torch-pruning":
            return module.utils.count_ops_and_params(network, images)[0]
        if package == "calflops":
            options = {"print_results": False, "output_as_string": False}
            return module.calculate_flops(network, args=[images], **options)[0]
        return module.flopth(network, inputs=(images,), bare_number=True)[0]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LARGE if name != "darts-v2"]


@pytest.mark.parametrize("name", [*NETWORKS, "darts-v2", *SLOW])
@pytest.mark.parametrize("package", DISTRIBUTIONS)
def test_a_counter_says_what_its_rule_says_to_the_last_operation(package, name):
    network, images, plan = built(name)
    said = counted(package, network.eval(), images)
    rule = counter(DISTRIBUTIONS[package])
    figure = rule.figure(tally(plan))
    found = f"{package.split()[0]} {version(package.split()[0])}"
    assert said == figure, (
        f"{found} says {said:,} of {name}, the rule says {figure:,}. "
        f"Relied on: {rule.remark} (checked with {rule.package})."
    )


LEAVES = {
    "torch": {"statistics"},
    "fvcore": {"statistics"},
    "torchprofile": {"statistics"},
    "thop": {"keys"},
    "ptflops": {"mode"},
    "calflops": {"mode"},
    "torchinfo": set(),
    "torch-pruning": set(),
}
"""What a counter leaves behind in a network that it found in training mode (docs/counters.md)."""


@pytest.mark.parametrize("package", LEAVES)
def test_what_a_counter_leaves_behind_in_a_network_is_what_the_page_says(package):
    network, images, _ = built("small nas-bench-201")
    network.train()
    images = images.repeat(2, 1, 1, 1)
    before = copy.deepcopy(network.state_dict())
    flags = [module.training for module in network.modules()]
    counted(package, network, images)
    after, left = network.state_dict(), set()
    if set(after) != set(before):
        left.add("keys")
    if any(not torch.equal(after[name], before[name]) for name in before):
        left.add("statistics")
    if [module.training for module in network.modules()] != flags:
        left.add("mode")
    assert left == LEAVES[package], (
        f"{package} {version(package)} leaves {sorted(left) or 'nothing'} changed; relied on "
        f"{sorted(LEAVES[package]) or 'nothing'}."
    )
