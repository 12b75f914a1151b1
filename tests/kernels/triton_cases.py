"""Triton kernels against plain PyTorch; run in a process of its own with TRITON_INTERPRET=1.

Whole networks of one small cell, so that every grouped launch serves several operations, edges and
draws at once; the expected values are those of the plain backend in float64.
"""

import sys
import time
from contextlib import contextmanager

import torch
from triton.runtime import interpreter

from nasbench_snas.api import CandidateOperation, OperationCost
from nasbench_snas.architecture.candidates import declared
from nasbench_snas.architecture.operations import offer
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.kernels.accounting import count_step
from nasbench_snas.kernels.reference import ReferenceKernels
from nasbench_snas.kernels.triton import launch as triton_launch
from nasbench_snas.kernels.triton import norms as triton_norms
from nasbench_snas.kernels.triton import source as triton_source
from nasbench_snas.kernels.triton.backend import TritonKernels
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.supernet.fast.parent import FastParent

REFERENCE, TRITON = ReferenceKernels(), TritonKernels()
ALL = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
       "dil_conv_3x3", "dil_conv_5x5")  # fmt: skip
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-4, torch.bfloat16: 0.1,
             torch.float16: 0.05}  # fmt: skip


def cell_space(operations, channels=3, stride=1, nodes=2, resolution=4, inputs=1, **changes):
    """One cell, without preprocessing."""
    return Space(
        "one", operations, (CellType.dense("cell", inputs, nodes),),
        (Layer("cell", channels, stride, "cell"),), channels, preprocess=False, in_channels=2,
        num_classes=2, resolution=resolution, **changes,
    )  # fmt: skip


def weights(space, draws, chosen, dtype):
    """Random weights; ``chosen``: of one operation (or none) on every edge."""
    z = torch.randn(draws, space.num_edges, space.num_operations, dtype=torch.float64)
    if chosen:
        hot = torch.nn.functional.one_hot(z.argmax(-1), space.num_operations)
        z = z * hot * (torch.arange(space.num_edges) % 4 != 1)[:, None]
    return z.to(dtype)


def outcome(net, images, z, mask, everything, single=False):
    """Return by name the logits, all gradients and all buffers."""
    z = z.clone().requires_grad_()
    logits = net(images, z, all_operations=everything, edge_mask=mask, single_path=single)
    assert bool(net._chosen) is (single and net.chooses)
    scale = torch.arange(1, logits.numel() + 1, device=logits.device).view(logits.shape)
    (logits * scale.to(logits.dtype) + logits.square()).sum().backward()
    result = {"logits": logits.detach(), "z": z.grad}
    result |= {n: p.grad for n, p in net.named_parameters()}
    return result | dict(net.named_buffers())


def compare(name, space, dtype=torch.float64, draws=1, chosen=False, masked=False, train=True,
            recompute=False, batch=2, frozen=False, storage=None, single=False):  # fmt: skip
    """Assert that a step, and another one on the same plan, equals the plain one."""
    start = time.process_time()
    torch.manual_seed(0)
    z = weights(space, draws, chosen, dtype)
    images = torch.randn(batch, space.in_channels, space.resolution, space.resolution).to(dtype)
    cells = sum(layer.kind == "cell" for layer in space.layers)
    mask = torch.rand(cells, space.num_edges, batch).to(dtype) if masked else None
    results = []
    for kernels, kind in ((REFERENCE, torch.float64), (TRITON, dtype)):
        stored = storage if kernels is TRITON else None
        net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels,
                         recompute=recompute, storage=stored).to(dtype).to(kind)  # fmt: skip
        for index, tensor in enumerate(net.buffers()):
            if tensor.is_floating_point():  # for evaluation: not zero and one
                wave = torch.arange(tensor.numel()).view(tensor.shape) * 0.7 + index
                tensor.copy_((1.5 + torch.sin(wave)).to(dtype))
        net.train(train)
        for parameter in net.cells.parameters():
            parameter.requires_grad_(not frozen)
        wide = None if mask is None else mask.to(kind)
        results.append(outcome(net, images.to(kind), z.to(kind), wide, not chosen, single))
    for key, want in results[0].items():
        got = results[1][key]
        if want is None and got is not None:  # of an operation that nobody wanted
            want = torch.zeros_like(got)
        if want is None or got is None:
            assert got is want, (name, key)
        else:
            error = (got.double() - want.double()).norm()
            size = want.double().norm() + 0.01 * want.numel() ** 0.5
            limit = TOLERANCE[storage or dtype] * size
            assert error <= limit, (name, key, float(error), float(limit))
    sys.stdout.write(f"{name}: {time.process_time() - start:.0f} s\n")


@contextmanager
def small_blocks():
    """Make every loop over blocks, parts and lines go round more than once."""
    names = ("PART", "LINES", "BLOCK", "INPUT", "PIXELS", "blocks", "strip")
    before = {name: getattr(triton_source, name) for name in names}
    triton_source.PART, triton_source.LINES, triton_source.BLOCK = 7, 3, 8
    triton_source.PIXELS = 1
    triton_source.blocks = lambda channels, size=0: (2, 4)
    triton_source.strip = lambda channels, width, size=0: (2, 4)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(triton_source, name, value)


def not_a_number():
    """A maximum, an average, a convolution and an identity hand NaN and infinity on."""
    space = cell_space(("max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "skip_connect"), 2, nodes=1)
    for operation in range(4):
        outputs = []
        for kernels in (REFERENCE, TRITON):
            net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels).eval()
            features = torch.randn(1, 1, 4, 4, 2, generator=torch.Generator().manual_seed(0))
            features[0, 0, 0, 3, 0], features[0, 0, 3, 0, 1] = float("nan"), float("inf")
            net._stem = lambda images, draws, features=features: features
            net._head = lambda x, draws: x
            z = torch.zeros(1, 1, 4)
            z[0, 0, operation] = 1.0
            outputs.append(net(torch.zeros(1, 2, 4, 4), z).detach())
        assert torch.isnan(outputs[0]).any() and not torch.isnan(outputs[0]).all()
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5, equal_nan=True)


def ties():
    """Of equal pixels, the first one gets the gradient of the maximum."""
    space, results = cell_space(("max_pool_3x3",), 2, nodes=1, pool_norm=False), []
    for kernels in (REFERENCE, TRITON):
        net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels)
        features = torch.randint(2, (1, 1, 4, 4, 2), generator=torch.Generator().manual_seed(0))
        features = features.float().requires_grad_()
        net._stem = lambda images, draws, features=features: features
        net._head = lambda x, draws: x
        out = net(torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 1))
        (out * torch.arange(out.numel()).view(out.shape)).sum().backward()
        results.append(features.grad)
    assert torch.equal(*results)


def concrete(dtype):
    logits, noise = torch.randn(5, 3, dtype=dtype), torch.randn(2, 4, 5, 3, dtype=dtype)
    permuted = noise.permute(2, 1, 0, 3).contiguous().permute(2, 1, 0, 3)
    pairs = [
        (
            kernels.concrete_forward(logits, permuted, 0.5),
            kernels.concrete_backward(noise, permuted, 2),
        )
        for kernels in (TRITON, REFERENCE)
    ]
    for got, want in zip(*pairs, strict=True):
        torch.testing.assert_close(got, want, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


def large_means():
    """Moments merged from parts do not cancel."""
    y = torch.randn(2, 50, 3) + 1000
    parts = torch.empty(2, 4, 2, 3)
    TRITON.launch(triton_norms.part_moments, (8, 1), y, parts, 50, 16, C=3,
                  ACC=triton_launch.accumulator(y), BN=8, BC=4)  # fmt: skip
    mean, squares = parts[:, :, 0].double(), parts[:, :, 1].double()
    sizes = torch.tensor([16.0, 16, 16, 2]).double()[:, None]
    total = (mean * sizes).sum(1) / 50
    var = (squares.sum(1) + (sizes * (mean - total[:, None]) ** 2).sum(1)) / 50
    torch.testing.assert_close(var, y.double().var(1, correction=0), rtol=1e-3, atol=0)


def launches():
    """As many kernels run as are counted, and a dry step has as many as a real one."""
    ran = []
    call = interpreter.GridExecutor.__call__

    def counted(self, *arguments, **options):
        ran.append(self.fn.__name__)
        return call(self, *arguments, **options)

    space = cell_space(("max_pool_3x3", "skip_connect", "sep_conv_3x3"), 2, nodes=1, resolution=2)
    kernels, counts = TritonKernels(), []
    net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels)
    z = torch.rand(1, 1, 3, requires_grad=True)
    interpreter.GridExecutor.__call__ = counted
    try:
        for dry in (True, False):
            kernels.launch.dry = dry
            images = torch.randn(2, 2, 2, 2)
            counts.append(
                count_step(
                    lambda images=images: net(images, z, all_operations=True).sum().backward(),
                    kernels,
                ).by_name
            )
            assert bool(ran) is not dry
    finally:
        interpreter.GridExecutor.__call__ = call
    noted = [{name: n for name, n in count.items() if "." not in name} for count in counts]
    assert noted[0] == noted[1] == {name: ran.count(name) for name in set(ran)}, (noted, ran)


class Gate(torch.nn.Module):
    """A module of one's own: channels weighted by their means, a norm behind it."""

    def __init__(self, channels, stride, affine):
        super().__init__()
        self.pool = torch.nn.AvgPool2d(stride, ceil_mode=True)
        self.weigh = torch.nn.Conv2d(channels, channels, 1)
        self.norm = torch.nn.BatchNorm2d(channels, affine=affine)

    def forward(self, x):
        x = self.pool(x)
        return self.norm(x * self.weigh(x.mean(dim=(2, 3), keepdim=True)).sigmoid())


class GateOperation(CandidateOperation):
    """The gate as a candidate."""

    name = "gate"
    summary = "gate"

    def build(self, channels, stride, affine):
        return Gate(channels, stride, affine)

    def cost(self, channels, stride, resolution, affine):
        return OperationCost(channels**2 + channels, channels**2, 1)


def own_modules():
    """Operations that are modules run beside whole sources, and alone."""
    offer("gate", lambda: declared(GateOperation))
    mixed = ("none", "skip_connect", "gate", "conv_1x1")
    compare("a module of one's own, two draws", cell_space(mixed, 2, 2, 2, 3, affine=True), draws=2,
            masked=True)  # fmt: skip
    compare("a module of one's own, one operation an edge", cell_space(mixed, 2, nodes=2),
            draws=2, chosen=True)  # fmt: skip
    compare("modules of one's own alone, recomputed", cell_space(("none", "gate"), 2),
            recompute=True)  # fmt: skip
    compare("a module of one's own, stored in 16 bits", cell_space(mixed, 4, nodes=1),
            torch.float32, storage=torch.bfloat16)  # fmt: skip


def main():
    own_modules()
    compare("strided, odd, affine, masked, two draws", cell_space(ALL, 3, 2, 1, 5, affine=True),
            draws=2, masked=True)  # fmt: skip
    compare("one operation an edge, some none, two draws",
            cell_space(ALL, 2, nodes=2, inputs=2, resolution=3), draws=2, chosen=True)  # fmt: skip
    compare("one operation an edge, chosen on the device, some none, three draws, masked",
            cell_space(ALL, 2, 2, nodes=2, inputs=2, resolution=3, affine=True), draws=3,
            chosen=True, masked=True, single=True)  # fmt: skip
    compare("chosen on the device, evaluation", cell_space(ALL[1:5], 2, nodes=1), draws=2,
            chosen=True, train=False, single=True)  # fmt: skip
    compare("chosen on the device, bare poolings, 1x1, 7x7, recomputed",
            cell_space(("max_pool_3x3", "conv_1x1", "sep_conv_7x7"), 2, resolution=3,
                       pool_norm=False), chosen=True, single=True, recompute=True)  # fmt: skip
    with small_blocks():
        compare("many blocks", cell_space(ALL, 3, 2, 1, 6, affine=True), batch=1)
    compare("evaluation", cell_space(ALL, 2, nodes=1, affine=True), train=False, draws=2)
    other = ("max_pool_3x3", "conv_1x1", "sep_conv_7x7", "conv_3x3", "conv_7x1_1x7")
    compare("1x1, 7x7, dense, bare poolings",
            cell_space(other, 2, 2, resolution=3, pool_norm=False), draws=2)  # fmt: skip
    compare("single precision, recomputed", cell_space(ALL[1:5], 4, nodes=1), torch.float32,
            recompute=True)  # fmt: skip
    compare("bfloat16", cell_space(ALL[1:5], 8, nodes=1), torch.bfloat16)
    for kind in (torch.bfloat16, torch.float16):
        compare(f"float32, activations in {kind}", cell_space(ALL[1:5], 4, nodes=1), torch.float32,
                storage=kind)  # fmt: skip
    compare("weights without gradients", cell_space(ALL[2:5], 2, nodes=1), frozen=True)
    wide = cell_space(("avg_pool_3x3", "skip_connect"), 70, 2, 1, 3, affine=True)
    compare("70 channels", wide, batch=1, draws=2)
    for dtype in (torch.float64, torch.float32):
        concrete(dtype)
    large_means(), not_a_number(), ties(), launches()
    if "--all" in sys.argv:
        darts = DartsCNN(cells=2, channels=2, nodes=1, stem_multiplier=1).build(3, 3, 4)
        compare("DARTS", darts, draws=2)
        darts = DartsCNN(cells=3, channels=2, nodes=2, stem_multiplier=1).build(3, 3, 4)
        compare("DARTS, one operation an edge", darts, chosen=True)
    sys.stdout.write("all equal\n")


if __name__ == "__main__":
    main()
