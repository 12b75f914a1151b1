"""What another architecture costs on a GPU, shown without one: kernels, tables, reads, memory kept.

Launches go through Triton's own binder behind a driver that compiles and launches nothing.
"""

import copy
import weakref

import pytest
import torch
from torch.nn import functional

from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.kernels.accounting import counting_kernels
from nasbench_snas.kernels.folded import FoldedKernels
from nasbench_snas.kernels.reference import ReferenceKernels
from nasbench_snas.prove.hostcalls import host_calls
from nasbench_snas.supernet.fast.parent import FastParent

OPERATIONS = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3",
              "dil_conv_5x5")  # fmt: skip


def one_cell(stride=1):
    """A cell of two nodes with every kind of operation."""
    return Space(
        "one", OPERATIONS, (CellType.dense("cell", 2, 2),), (Layer("cell", 4, stride, "cell"),), 4,
        in_channels=2, num_classes=2, resolution=4,
    )  # fmt: skip


def parent(kernels, stride=1):
    return FastParent(one_cell(stride), torch.Generator().manual_seed(0), kernels=kernels)


def weights(space, hot, seed=0, draws=1):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, space.num_edges, space.num_operations, generator=generator)
    if hot:
        return functional.one_hot(noise.argmax(-1), space.num_operations).float().requires_grad_()
    return noise.softmax(-1).requires_grad_()


def step(net, z, everything=False, **options):
    net(torch.zeros(2, 2, 4, 4), z, all_operations=everything, **options).sum().backward()


def test_other_architectures_need_no_other_kernels():
    """Twelve one-hot patterns of four edges, two strides: not one kernel beyond the soft step's."""
    pytest.importorskip("triton")
    from nasbench_snas.kernels.triton.backend import TritonKernels
    from nasbench_snas.prove.binder import compilations

    for stride in (1, 2):
        net = parent(TritonKernels(), stride)
        with compilations() as found:
            step(net, weights(net.space, hot=False), everything=True)
            soft = set(found.keys)
            assert 10 < len(soft) < 60
            for seed in range(12):
                step(net, weights(net.space, hot=True, seed=seed))
            assert found.keys == soft
            step(net, weights(net.space, hot=True, draws=3))
            assert found.keys == soft
            for draws in (1, 3):  # chosen on the device
                step(net, weights(net.space, hot=True, draws=draws), single_path=True)
            assert found.keys == soft


def test_the_binder_tells_kernels_apart():
    """Another number of channels is another kernel: the count above could have failed."""
    pytest.importorskip("triton")
    from nasbench_snas.kernels.triton import norms
    from nasbench_snas.prove.binder import compilations

    with compilations() as found:
        for channels in (4, 8, 8):
            tables = torch.zeros(8, dtype=torch.int64)
            like, out = torch.zeros(1), torch.zeros(8)
            norms.gather_weights[1, 1](tables, like, tables, out, 8, CO=channels, BM=8)
        assert len(found.keys) == 2 and found.launches == 3


def test_all_tables_of_a_new_architecture_go_to_the_device_in_one_copy(monkeypatch):
    pytest.importorskip("triton")
    from nasbench_snas.kernels.triton import backend, planner

    copies = []

    def counted(values, where):
        copies.append(len(values))
        return torch.tensor(values or (0,), dtype=torch.int64)

    for module in (backend, planner):
        monkeypatch.setattr(module, "upload", counted)
    net = parent(counting_kernels())
    step(net, weights(net.space, hot=True))
    first = len(copies)
    assert first == 3  # tables, addresses, offsets
    for seed in (1, 2, 3):
        step(net, weights(net.space, hot=True, seed=seed))
    assert len(copies) == first + 3
    step(net, weights(net.space, hot=True, seed=3))
    assert len(copies) == first + 3


def test_a_choice_on_the_device_plans_once_and_launches_the_same_whatever_is_drawn(monkeypatch):
    """Nothing is copied or read back after the first step; only the number of draws counts."""
    pytest.importorskip("triton")
    kernels, made = counting_kernels(), []
    net = parent(kernels, stride=2)
    kernels.launch.observer = lambda one: made.append((one.kernel.__name__, one.grid))
    step(net, weights(net.space, hot=True), single_path=True)
    assert net.chooses and len(net._chosen) == 1 and not net._plans
    first, nothing = list(made), torch.zeros(1, 5, len(OPERATIONS), requires_grad=True)
    assert len(first) > 50
    for z in (weights(net.space, hot=True, seed=1), weights(net.space, hot=True, seed=2), nothing):
        made.clear()
        with host_calls() as found:
            step(net, z, single_path=True)
        assert found.total == 0, found.found
        assert made == first and not net._plans and len(net._chosen) == 1
    step(net, weights(net.space, hot=True, draws=2), single_path=True)
    assert len(net._chosen) == 2


def test_two_operations_on_an_edge_are_no_choice():
    """The first one would run alone: logits are NaN instead, which a search finds."""
    pytest.importorskip("triton")
    net = parent(counting_kernels())
    z = weights(net.space, hot=True).detach()
    net._head = lambda x, draws: torch.zeros(draws, 2, 2)
    assert net(torch.zeros(2, 2, 4, 4), z, single_path=True).isfinite().all()
    z[0, 3] = 0.5
    assert net(torch.zeros(2, 2, 4, 4), z, single_path=True).isnan().all()


def test_copies_of_a_parent_choose_for_themselves():
    pytest.importorskip("triton")
    net = parent(counting_kernels())
    step(net, weights(net.space, hot=True), single_path=True)
    assert net._chosen and not copy.deepcopy(net)._chosen


def test_plain_kernels_take_one_operation_an_edge_as_any_weights():
    net, z = parent(FoldedKernels()), weights(one_cell(), hot=True, draws=2)
    images = torch.randn(2, 2, 4, 4)
    assert not net.chooses
    assert torch.equal(net(images, z, single_path=True), net(images, z))


def test_a_captured_step_keeps_everything_that_it_will_read_again(monkeypatch):
    """Plans are forgotten after a while; what a graph reads at every replay is not."""
    pytest.importorskip("triton")
    kernels = counting_kernels()
    net = parent(kernels)
    soft = weights(net.space, hot=False)
    step(net, soft, everything=True)
    (plan,) = net._plans.values()
    ones = [weakref.ref(part.ones) for part in plan.inputs]
    assert len(ones) == 2
    del plan
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        step(net, soft, everything=True)
    for seed in range(20):
        step(net, weights(net.space, hot=True, seed=seed))
    assert len(net._plans) == 8 and all(one() is not None for one in ones)
    kernels._captured.clear()
    assert all(one() is None for one in ones)


@pytest.mark.parametrize("kernels", [FoldedKernels, ReferenceKernels])
def test_plain_kernels_read_nothing_back_once_a_plan_is_known(kernels):
    net = parent(kernels(), stride=2)
    z = weights(net.space, hot=False, draws=2)
    step(net, z, everything=True)
    with host_calls() as found:
        step(net, z, everything=True)
    assert found.total == 0, found.found


def test_reads_are_seen_and_tensors_of_the_host_are_not():
    device, steps = torch.ones(3), torch.tensor(4.0)
    with host_calls(host=[steps]) as found:
        float(steps + 1)
        assert found.total == 0
        torch.tensor([1.0, 2.0]).sum().item()
        assert found.total == 0
        device.sum().item()
        bool((device > 0).all())
        torch.tensor([1.0]).to("cpu")
        torch.tensor([1.0], device="cpu")
        (device > 0).nonzero()
    assert found.total == 5, found.found


def test_a_paper_size_parent_is_tuned_in_at_most_300_compilations():
    """Distinct choices times configurations: numbers of images and pixels are no part of them."""
    pytest.importorskip("triton")
    from nasbench_snas.kernels.triton import launch
    from nasbench_snas.spaces.darts_cnn import DartsCNN

    assert len(launch.configurations()) == 4
    space = DartsCNN(cells=3, channels=16).build(3, 10, 8)
    kernels, seen = counting_kernels(), set()

    def note(made):
        chosen = {k: v for k, v in made.constants.items() if k in launch.SHAPES}
        if made.kernel.__name__ not in launch.UNTUNED:
            seen.add((made.kernel.__name__, *sorted(chosen.items())))

    kernels.launch.observer = note
    net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels)
    z = weights(space, hot=False)
    net(torch.zeros(1, 3, 8, 8), z, all_operations=True).sum().backward()
    assert 20 < len(seen) <= 75, len(seen)


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float16])
def test_activations_are_stored_in_16_bits_and_nothing_else_is(storage):
    pytest.importorskip("triton")
    kernels, seen = counting_kernels(), {}

    def note(made):
        seen.setdefault(made.kernel.__name__, []).append(made)

    kernels.launch.observer = note
    space = one_cell()
    net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels, storage=storage)
    z = weights(space, hot=False)
    logits = net(torch.zeros(2, 2, 4, 4), z, all_operations=True)
    logits.sum().backward()
    assert logits.dtype == z.grad.dtype == torch.float32
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in net.parameters())
    for name, count in (("depthwise_forward", 1), ("mix_forward", 2), ("norm_upstream", 2)):
        for made in seen[name]:
            kinds = [a.dtype for a in made.arguments if torch.is_tensor(a)]
            assert kinds.count(storage) >= count and torch.float32 in kinds, (name, kinds)
    for made in seen["finish_moments"]:
        assert storage not in [a.dtype for a in made.arguments if torch.is_tensor(a)]


def test_only_kernels_that_can_store_in_16_bits_do():
    from nasbench_snas.errors import ConfigError

    with pytest.raises(ConfigError, match="cannot store"):
        FastParent(one_cell(), torch.Generator(), kernels=FoldedKernels(), storage=torch.bfloat16)
