"""Triton kernels: which are compiled, tuned and launched; on a GPU, against plain PyTorch.

Interpreted and compiled they are tested in the files beside this one. None of it shows that they
are right or fast on a GPU; the tests marked ``gpu`` would.
"""

import pytest
import torch

pytest.importorskip("triton")


@pytest.fixture(scope="module")
def variants():
    """The kernels as a narrow parent launches them."""
    from nasbench_snas.prove import ahead

    return ahead.variants(8)


def test_every_kernel_is_among_those_compiled_ahead_of_time(variants):
    from triton.runtime.jit import JITFunction

    from nasbench_snas.kernels.triton import depthwise as triton_kernels
    from nasbench_snas.kernels.triton import mix as triton_mix
    from nasbench_snas.kernels.triton import norms as triton_norms

    declared = {
        name
        for module in (triton_kernels, triton_mix, triton_norms)
        for name, value in vars(module).items()
        if isinstance(value, JITFunction)
    }
    called = {"relu", "window", "readers_of", "pooled", "tap_sums", "merged", "norm_of"}
    compiled = {variant.kernel.__name__ for variant in variants}
    assert declared - called == compiled


def test_autotuning_puts_back_what_a_kernel_adds_to(variants):
    from nasbench_snas.kernels.triton import launch as triton_launch

    accumulating = set()
    for variant in variants:
        name, arguments = variant.kernel.__name__, variant.kernel.arg_names
        restored = triton_launch.ACCUMULATED.get(name, [])
        assert set(restored) <= set(arguments)
        if variant.constants.get("ADD"):
            accumulating.add(name)
    assert accumulating == set(triton_launch.ACCUMULATED)


def test_a_tuned_kernel_is_made_once_and_kernels_that_write_by_address_are_not_tuned(monkeypatch):
    from nasbench_snas.kernels.triton import launch as triton_launch
    from nasbench_snas.kernels.triton import norms as triton_norms
    from nasbench_snas.kernels.triton.mix import mix_forward

    made = []

    def autotune(configurations, key, restore_value):
        made.append((key, restore_value))
        return lambda kernel: Fake(kernel.__name__)

    class Fake:
        def __init__(self, name):
            self.__name__, self.calls = name, []

        def __getitem__(self, grid):
            return lambda *arguments, **constants: self.calls.append((grid, constants))

    monkeypatch.setattr(triton_launch.triton, "autotune", autotune)
    launch = triton_launch.Launcher()
    launch.tune = True
    for _ in range(2):
        launch(mix_forward, (1, 1), torch.ones(1), C=4)
    assert len(made) == 1 and made[0][1] == ["out_ptr"] and "C" in made[0][0]
    plain = Fake(triton_norms.finish_moments.__name__)
    launch(plain, (2,), torch.ones(1), C=4)
    assert plain.calls == [((2,), {"C": 4, "maxnreg": triton_launch.REGISTERS})]
    assert len(made) == 1


def test_what_a_warm_up_changes_is_put_back():
    from nasbench_snas.spaces.darts_cnn import DartsCNN
    from nasbench_snas.supernet.fast.graph import unchanged
    from nasbench_snas.supernet.reference import ReferenceParent

    space = DartsCNN(cells=2, channels=2, nodes=1).build(3, 3, 8)
    net = ReferenceParent(space, torch.Generator().manual_seed(0))
    images, z = torch.randn(2, 3, 8, 8), torch.rand(1, space.num_edges, space.num_operations)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    with unchanged(list(net.buffers())):
        net(images, z)
        assert any(not torch.equal(b, before[name]) for name, b in net.named_buffers())
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, before[name]), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_triton_equals_the_reference_on_the_device(dtype, tuned, monkeypatch):
    from nasbench_snas.kernels.reference import ReferenceKernels
    from nasbench_snas.kernels.triton.backend import TritonKernels
    from nasbench_snas.spaces.darts_cnn import DartsCNN
    from nasbench_snas.supernet.fast.parent import FastParent

    if tuned:
        monkeypatch.setenv("NASBENCH_AUTOTUNE", "1")
    space = DartsCNN(cells=3, channels=8).build(3, 10, 16)
    images = torch.randn(4, 3, 16, 16, device="cuda", dtype=dtype)
    results = []
    for kernels in (ReferenceKernels(), TritonKernels()):
        net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels)
        net = net.to("cuda", dtype)
        torch.manual_seed(1)
        z = torch.rand(2, space.num_edges, space.num_operations, device="cuda", dtype=dtype)
        z.requires_grad_()
        logits = net(images, z, all_operations=True)
        logits.float().square().sum().backward()
        results.append([logits.float(), z.grad.float(), *(b.float() for b in net.buffers())])
    tolerance = 1e-3 if dtype == torch.float32 else 0.2
    for got, want in zip(results[1], results[0], strict=True):
        assert (got - want).norm() <= tolerance * want.norm()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_kernels_run_on_the_device_of_their_tensors():
    from nasbench_snas.kernels.triton.backend import TritonKernels
    from nasbench_snas.spaces.darts_cnn import DartsCNN
    from nasbench_snas.supernet.fast.parent import FastParent

    space, results = DartsCNN(cells=3, channels=8).build(3, 10, 16), []
    for device in ("cuda:0", "cuda:1"):
        net = FastParent(space, torch.Generator().manual_seed(0), kernels=TritonKernels())
        torch.manual_seed(1)
        images = torch.randn(4, 3, 16, 16).to(device)
        z = torch.rand(1, space.num_edges, space.num_operations).to(device)
        results.append(net.to(device)(images, z).cpu())
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_captured_steps_give_gradients_and_running_statistics_of_eager_ones():
    from torch.nn import functional

    from nasbench_snas.kernels.triton.backend import TritonKernels
    from nasbench_snas.spaces.darts_cnn import DartsCNN
    from nasbench_snas.supernet.fast.graph import GraphedStep
    from nasbench_snas.supernet.fast.parent import FastParent

    space = DartsCNN(cells=3, channels=8).build(3, 10, 16)
    nets = [
        FastParent(space, torch.Generator().manual_seed(0), kernels=TritonKernels()).cuda()
        for _ in range(2)
    ]

    def step_of(net):
        def step(images, labels, z):
            logits = net(images, z, all_operations=True)[0]
            return (functional.cross_entropy(logits, labels),)

        return step

    def batch(seed):
        torch.manual_seed(seed)
        z = torch.rand(1, space.num_edges, space.num_operations).softmax(-1)
        return torch.randn(4, 3, 16, 16).cuda(), torch.randint(10, (4,)).cuda(), z.cuda()

    parameters = list(nets[0].parameters())
    graphed = GraphedStep(step_of(nets[0]), parameters, batch(0), list(nets[0].buffers()))
    for seed in (1, 2):
        (loss,) = graphed(*batch(seed))
        images, labels, z = batch(seed)
        z.requires_grad_()
        (eager,) = step_of(nets[1])(images, labels, z)
        wanted = torch.autograd.grad(eager, [z, *nets[1].parameters()])
        torch.testing.assert_close(loss, eager.detach(), rtol=1e-4, atol=1e-5)
        *own, dz = graphed.gradients
        for got, want in zip([dz, *own], wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5)
    for got, want in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
