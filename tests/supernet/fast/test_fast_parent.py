"""The fast parent equals the reference: logits, dL/dz, theta gradients, running statistics."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.kernels import select_backend
from nasbench_snas.kernels.cpu import build
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent

OTHER = (
    "none",
    "skip_connect",
    "sep_conv_7x7",
    "conv_1x1",
    "conv_3x3",
    "conv_7x1_1x7",
    "max_pool_3x3",
)
NARROW = ("none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3")


def backend(name):
    if name == "cpu" and build.missing_compiler():
        pytest.skip(f"compiled kernels: {build.missing_compiler()}")
    return select_backend(name)[0]


@pytest.fixture(params=["reference", "cpu"])
def kernels(request):
    return backend(request.param)


def darts(cells=3, channels=4, resolution=8, nodes=2, **changes):
    space = DartsCNN(cells=cells, channels=channels, nodes=nodes, stem_multiplier=2)
    return replace(space.build(3, 5, resolution), **changes)


def single_input(**changes):
    """A space like NAS-Bench-201's: one input node, no preprocessing, residual reductions."""
    layers = (Layer("cell", 4, 1, "cell"), Layer("residual", 8, 2), Layer("cell", 8, 1, "cell"))
    space = Space(
        "single", NARROW, (CellType.dense("cell", 1, 3, "last"),), layers, 4, preprocess=False,
        head="bn-relu-linear", pool_norm=False, num_classes=5, resolution=7,
    )  # fmt: skip
    return replace(space, **changes)


def weights(space, draws, one_hot=False, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, space.num_edges, space.num_operations, generator=generator)
    if one_hot:
        return functional.one_hot(noise.argmax(-1), space.num_operations).to(dtype)
    return noise.to(dtype).softmax(-1)


def parents(space, kernels, dtype=torch.float64, recompute=False):
    seeds = [torch.Generator().manual_seed(3) for _ in range(3)]
    reference = ReferenceParent(space, seeds[0])
    fast = FastParent(space, seeds[1], kernels=kernels, recompute=recompute)
    start = fast.canonical(fast.state_dict())
    assert all(torch.equal(tensor, start[name]) for name, tensor in reference.state_dict().items())
    with torch.no_grad():  # learnt norms start at one and zero, which hides what they do
        for parameter in reference.parameters():
            if parameter.dim() == 1:
                parameter += 0.5 * torch.randn(parameter.shape, generator=seeds[2])
    fast.load_state_dict(fast.from_canonical(reference.state_dict()))
    return reference.to(dtype), fast.to(dtype)


def run(net, images, z, labels, **options):
    """Return logits, dL/dz and canonical theta gradients (zeros for None)."""
    net.zero_grad()
    z = z.clone().requires_grad_()
    logits = net(images, z, **options)
    loss = (
        sum((i + 1) * functional.cross_entropy(draw, labels) for i, draw in enumerate(logits))
        + 1e-2 * (logits**2).sum()
    )
    loss.backward()
    grads = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in net.named_parameters()
    }
    return logits.detach(), z.grad, net.canonical(grads)


def assert_equal(space, kernels, batch=2, draws=1, one_hot=False, train=True, seed=0, masked=False,
                 recompute=False, **options):  # fmt: skip
    reference, fast = parents(space, kernels, recompute=recompute)
    generator = torch.Generator().manual_seed(seed)
    size = (batch, space.in_channels, space.resolution, space.resolution)
    images = torch.randn(size, generator=generator, dtype=torch.float64)
    labels = torch.randint(space.num_classes, (batch,), generator=generator)
    z = weights(space, draws, one_hot, seed)
    if masked:
        cells = sum(layer.kind == "cell" for layer in space.layers)
        mask = torch.rand(cells, space.num_edges, batch, generator=generator, dtype=torch.float64)
        options["edge_mask"] = (mask > 0.3) / 0.7
    if not train:
        reference(images, z)
        fast.load_state_dict(fast.from_canonical(reference.state_dict()))
        reference.eval(), fast.eval()
    expected = run(reference, images, z, labels, **options)
    got = run(fast, images, z, labels, **options)
    torch.testing.assert_close(got[0], expected[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(got[1], expected[1], rtol=1e-9, atol=1e-10)
    assert expected[2].keys() == got[2].keys()
    scale = max(float(g.abs().max()) for g in expected[2].values())
    for name, want in expected[2].items():
        torch.testing.assert_close(got[2][name], want, rtol=1e-9, atol=1e-9 * scale, msg=name)
    buffers = fast.canonical(dict(fast.named_buffers()))
    for name, want in reference.named_buffers():
        torch.testing.assert_close(buffers[name], want, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.equation(2, 27)
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("draws", [1, 3])
def test_the_darts_parent_equals_the_reference(kernels, draws, one_hot):
    assert_equal(darts(), kernels, draws=draws, one_hot=one_hot)


def test_operations_of_weight_zero_run_when_all_are_asked_for(kernels):
    assert_equal(darts(), kernels, draws=2, one_hot=True, all_operations=True)


def test_the_parent_equals_the_reference_in_evaluation_mode(kernels):
    assert_equal(darts(affine=True), kernels, draws=2, train=False)


def test_strided_edges_of_three_nodes_have_factorised_reductions_of_their_own(kernels):
    assert_equal(darts(cells=2, channels=2, nodes=3), kernels)


def test_recomputing_changes_neither_gradients_nor_running_statistics(kernels):
    assert_equal(darts(), kernels, draws=2, recompute=True)


def test_edge_masks_weigh_every_image(kernels):
    assert_equal(darts(affine=True), kernels, draws=2, masked=True)


def test_odd_sizes_odd_channels_and_batch_one_are_exact(kernels):
    assert_equal(darts(channels=3, resolution=9, affine=True), kernels, batch=1, draws=2)


def test_wide_convolutions_affine_norms_and_bare_poolings_are_exact(kernels):
    space = darts(operations=OTHER, affine=True, pool_norm=False, head="bn-relu-linear")
    assert_equal(space, kernels, draws=2)
    square = tuple(name for name in OTHER if name != "conv_7x1_1x7")
    assert_equal(replace(space, operations=square), kernels, draws=2)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_a_space_with_one_input_and_residual_blocks_is_exact(kernels, one_hot, train):
    assert_equal(single_input(), kernels, draws=3, one_hot=one_hot, train=train)


def test_an_edge_and_a_node_without_any_operation_are_zero(kernels):
    space = darts()
    reference, fast = parents(space, kernels)
    z = torch.zeros(2, space.num_edges, space.num_operations, dtype=torch.float64)
    z[0, ::2, 3] = 1.0
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(fast(images, z), reference(images, z), rtol=1e-9, atol=1e-10)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    draws=st.integers(1, 3), batch=st.integers(1, 3), channels=st.integers(1, 9),
    resolution=st.integers(5, 9), one_hot=st.booleans(), affine=st.booleans(),
    everything=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_random_parents_equal_the_reference(
    draws, batch, channels, resolution, one_hot, affine, everything, seed
):
    space = darts(2, channels, resolution, nodes=2, affine=affine)
    assert_equal(space, backend("cpu"), batch, draws, one_hot, seed=seed, all_operations=everything)


@pytest.mark.slow
@pytest.mark.parametrize("cells", [5, 8])
@pytest.mark.parametrize("one_hot", [False, True])
def test_five_and_eight_cells_of_full_width_equal_the_reference(cells, one_hot, kernels):
    space = DartsCNN(cells=cells, channels=8).build(3, 10, 12)
    assert_equal(space, kernels, 3, draws=2, one_hot=one_hot)


def test_single_precision_is_as_close_to_double_as_the_reference_is(kernels):
    space = darts(channels=8)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels, z = torch.tensor([0, 1, 2, 3]), weights(space, 1)
    exact = run(parents(space, kernels)[0], images.double(), z, labels)
    errors = []
    for net in parents(space, kernels, torch.float32):
        logits, dz, grads = run(net, images, z.float(), labels)
        theta = torch.cat([grads[n].flatten().double() for n in exact[2]])
        true = torch.cat([g.flatten() for g in exact[2].values()])
        pairs = [(logits.double(), exact[0]), (dz.double(), exact[1]), (theta, true)]
        errors.append([float((got - want).norm() / want.norm()) for got, want in pairs])
    for ours, theirs in zip(errors[1], errors[0], strict=True):
        assert ours <= 3 * theirs + 1e-7


def test_nan_in_an_image_reaches_every_logit(kernels):
    space = darts()
    _, fast = parents(space, kernels, torch.float32)
    images = torch.randn(2, 3, 8, 8)
    images[1, 0, 2, 2] = float("nan")
    assert torch.isnan(fast(images, weights(space, 1, dtype=torch.float32))).all()


def test_canonical_names_round_trip_bit_for_bit(kernels):
    space = darts(operations=OTHER, affine=True)
    reference, fast = parents(space, kernels, torch.float32)
    state = fast.state_dict()
    canonical = fast.canonical(state)
    assert canonical.keys() == reference.state_dict().keys()
    for name, tensor in reference.state_dict().items():
        assert torch.equal(canonical[name], tensor), name
    back = fast.from_canonical(canonical)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_momenta_of_operations_never_drawn_become_zero(kernels):
    space = darts()
    reference, fast = parents(space, kernels, torch.float32)
    momenta = {n: torch.ones_like(p) for n, p in reference.named_parameters() if ".edges.0." in n}
    packed = fast.from_canonical(momenta)
    restored = fast.canonical(packed)
    for name, tensor in restored.items():
        assert torch.equal(tensor, torch.full_like(tensor, 1.0 if name in momenta else 0.0)), name


def test_backward_twice_through_a_kept_graph_gives_the_same_gradients(kernels):
    space = darts()
    _, fast = parents(space, kernels)
    z = weights(space, 1).requires_grad_()
    loss = fast(torch.randn(2, 3, 8, 8, dtype=torch.float64), z).square().sum()
    first = torch.autograd.grad(loss, [z, *fast.parameters()], retain_graph=True, allow_unused=True)
    second = torch.autograd.grad(loss, [z, *fast.parameters()], allow_unused=True)
    for one, two in zip(first, second, strict=True):
        assert one is two is None or torch.equal(one, two)


@pytest.mark.parametrize("shape", [(14, 8), (1, 3, 8), (1, 10, 7)])
def test_weights_of_another_space_are_refused_with_the_shape_that_fits(kernels, shape):
    _, fast = parents(darts(), kernels)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(ConfigError, match="draws, edges, operations"):
        fast(images, torch.ones(shape, dtype=torch.float64))


def test_a_single_value_a_channel_cannot_be_normalised(kernels):
    space = darts(cells=3, resolution=4)
    _, fast = parents(space, kernels)
    images = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    with pytest.raises(ConfigError, match="single value"):
        fast(images, weights(space, 1))


def test_two_threads_give_the_results_of_one(kernels):
    space = darts()
    _, fast = parents(space, kernels)
    images, labels = torch.randn(5, 3, 8, 8, dtype=torch.float64), torch.arange(5)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(run(fast, images, weights(space, 2), labels))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-9, atol=1e-12)
    for name, want in results[0][2].items():
        torch.testing.assert_close(results[1][2][name], want, rtol=1e-9, atol=1e-11)


def test_copies_and_pickles_of_a_parent_compute_the_same(kernels):
    space = darts()
    _, fast = parents(space, kernels)
    images, z = torch.randn(2, 3, 8, 8, dtype=torch.float64), weights(space, 2)
    copies = copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))
    want = fast(images, z)
    assert all(torch.equal(net(images, z), want) for net in copies)
