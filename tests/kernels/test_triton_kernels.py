"""Triton kernels: interpreted against plain PyTorch, and compiled for four architectures.

Neither shows that they are right or fast on a GPU; the tests marked ``gpu`` would.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

CASES = Path(__file__).with_name("triton_cases.py")
ROOT = Path(__file__).parents[2]


def interpret(*arguments):
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(CASES), *arguments], env=environment, capture_output=True, text=True,
        timeout=1800, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_interpreted_kernels_and_a_whole_parent_equal_plain_pytorch():
    done = interpret("--all")
    assert done.returncode == 0 and "all equal" in done.stdout, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100, 120])
def test_compiled_ahead_of_time_no_kernel_spills(capability, record_property):
    from nasbench_snas.kernels import triton_aot

    assert capability in triton_aot.CAPABILITIES
    for channels, kind in ((16, "fp32"), (64, "bf16")):
        for kernel, constants in triton_aot.variants(channels):
            used = triton_aot.compile_kernel(kernel, constants, capability, kind)
            record_property(f"{used.kernel}-{channels}-{kind}", str(used))
            assert used.stack == 0 and used.local == 0, used
            assert 0 < used.registers <= 255 and used.shared <= 99 * 1024, used


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_triton_equals_the_reference_on_the_device(dtype):
    from nasbench_snas.kernels.reference import ReferenceKernels
    from nasbench_snas.kernels.triton_backend import TritonKernels
    from nasbench_snas.spaces.darts_cnn import DartsCNN
    from nasbench_snas.supernet.fast import FastParent

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
        results.append((logits.float(), z.grad.float()))
    tolerance = 1e-3 if dtype == torch.float32 else 0.2
    for got, want in zip(results[1], results[0], strict=True):
        assert (got - want).norm() <= tolerance * want.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_step_gives_the_gradients_of_an_eager_one():
    from torch.nn import functional

    from nasbench_snas.kernels.triton_backend import TritonKernels
    from nasbench_snas.spaces.darts_cnn import DartsCNN
    from nasbench_snas.supernet.fast import FastParent
    from nasbench_snas.supernet.fast_graph import GraphedStep

    space = DartsCNN(cells=3, channels=8).build(3, 10, 16)
    net = FastParent(space, torch.Generator().manual_seed(0), kernels=TritonKernels()).cuda()

    def step(images, labels, z):
        return functional.cross_entropy(net(images, z, all_operations=True)[0], labels)

    def batch(seed):
        torch.manual_seed(seed)
        z = torch.rand(1, space.num_edges, space.num_operations).softmax(-1)
        return torch.randn(4, 3, 16, 16).cuda(), torch.randint(10, (4,)).cuda(), z.cuda()

    graphed = GraphedStep(step, list(net.parameters()), batch(0))
    loss, z_grad = graphed(*batch(1)).clone(), graphed.z.grad.clone()
    images, labels, z = batch(1)
    z.requires_grad_()
    eager = step(images, labels, z)
    (want,) = torch.autograd.grad(eager, z)
    torch.testing.assert_close(loss, eager.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(z_grad, want, rtol=1e-3, atol=1e-5)
