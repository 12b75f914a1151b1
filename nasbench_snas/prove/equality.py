"""Fused kernels against plain PyTorch in float64: cells of every kind, gradients, statistics, NaN.

The limit of a tensor ``t`` is ``tolerance * (|t| + 0.01 sqrt(numel))`` in the Euclidean norm, the
tolerance by the type in memory (:data:`TOLERANCE`); sums are in float32 or better for all types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.kernels.protocol import Kernels
from nasbench_snas.kernels.reference import ReferenceKernels
from nasbench_snas.prove.context import Context, Finding
from nasbench_snas.prove.record import Row
from nasbench_snas.supernet.fast.parent import FastParent

CHECK = "equality with plain PyTorch"

Around = Callable[[FastParent], AbstractContextManager[Any]]

ALL = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
       "dil_conv_3x3", "dil_conv_5x5")  # fmt: skip

TOLERANCE = {
    torch.float64: 1e-10, torch.float32: 2e-4, torch.bfloat16: 0.1, torch.float16: 0.05,
}  # fmt: skip
"""Largest relative error by the type in memory."""


@dataclass(frozen=True)
class Case:
    """A cell (or a whole parent) and what is asked of it.

    Attributes:
        name: What the row is called.
        operations: Candidates.
        dtype: Type in memory.
        shape: Channels, stride, nodes, resolution, inputs, images.
        draws: Architectures in one pass.
        hot: Whether weights are of one operation an edge (some edges have none).
        masked: Whether edges are masked.
        train: Whether norms use the statistics of the batch.
        options: Further settings of the space.
        cells: Cells of a whole parent of ``darts-cnn`` instead of one cell; 0: one cell.
        long: Whether it is left out of the short form (as whole parents are).
        interpreted: Whether it is small enough for the interpreter.
    """

    name: str
    operations: tuple[str, ...] = ALL
    dtype: torch.dtype = torch.float64
    shape: tuple[int, int, int, int, int, int] = (3, 1, 2, 4, 1, 2)
    draws: int = 1
    hot: bool = False
    masked: bool = False
    train: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    cells: int = 0
    long: bool = False
    interpreted: bool = False


_F32, _BF16, _F16 = torch.float32, torch.bfloat16, torch.float16

CASES = (
    Case("whole parent, float32", dtype=_F32, cells=3, shape=(8, 1, 2, 16, 2, 4)),
    Case("one operation an edge, float32", dtype=_F32, cells=3, shape=(8, 1, 2, 16, 2, 4),
         hot=True),
    Case("strided, odd sides, affine, masked, two draws, float64", shape=(3, 2, 1, 5, 1, 2),
         draws=2, masked=True, options={"affine": True}),
    Case("one operation an edge, some none, two draws, float64", shape=(2, 1, 2, 3, 2, 2),
         draws=2, hot=True),
    Case("poolings, identity, both kinds of convolution, float64", ALL[1:5] + ALL[7:],
         shape=(2, 1, 1, 3, 1, 1), interpreted=True),
    Case("strided, one operation an edge, float32", ALL[1:5], _F32, shape=(4, 2, 1, 5, 1, 2),
         hot=True, interpreted=True),
    Case("evaluation, affine, two draws, float64", shape=(2, 1, 1, 4, 1, 2), draws=2, train=False,
         options={"affine": True}),
    Case("1x1, 7x7, dense, bare poolings, float64",
         ("max_pool_3x3", "conv_1x1", "sep_conv_7x7", "conv_3x3", "conv_7x1_1x7"),
         shape=(2, 2, 2, 3, 1, 2), draws=2, options={"pool_norm": False}),
    Case("70 channels, float64", ("avg_pool_3x3", "skip_connect"), shape=(70, 2, 1, 3, 1, 1),
         draws=2, options={"affine": True}),
    Case("many images and lines, float32", dtype=_F32, shape=(16, 1, 2, 33, 2, 9), long=True),
    Case("bfloat16", ALL[1:5], _BF16, shape=(8, 1, 1, 4, 1, 2), interpreted=True),
    Case("float16", ALL[1:5], _F16, shape=(8, 1, 1, 4, 1, 2)),
    Case("whole parent, bfloat16", dtype=_BF16, cells=3, shape=(8, 1, 2, 16, 2, 8)),
    Case("four draws of a whole parent, float32", dtype=_F32, cells=3, shape=(8, 1, 2, 16, 2, 4),
         draws=4),
)  # fmt: skip


def space_of(case: Case, context: Context) -> Space:
    """Return the space of a case."""
    channels, stride, nodes, resolution, inputs, _ = case.shape
    if case.cells:
        return context.parent_space(case.cells, channels, nodes, resolution)
    return Space(
        "one", case.operations, (CellType.dense("cell", inputs, nodes),),
        (Layer("cell", channels, stride, "cell"),), channels, preprocess=False, in_channels=2,
        num_classes=2, resolution=resolution, **case.options,
    )  # fmt: skip


def weights(space: Space, draws: int, hot: bool, seed: int = 0) -> Tensor:
    """Return weights on the host, shape ``(draws, E, K)``, float64; ``hot``: some edges have none.

    Soft ones sum to one, as those of a search do.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (draws, space.num_edges, space.num_operations)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    if not hot:
        return noise.softmax(-1)
    chosen = functional.one_hot(noise.argmax(-1), space.num_operations)
    return chosen * (torch.arange(space.num_edges) % 4 != 1)[:, None].double()


def outcome(
    net: FastParent, images: Tensor, z: Tensor, mask: Tensor | None, everything: bool
) -> dict[str, Tensor]:
    """Return by name the logits, all gradients and all buffers after a step."""
    leaf = z.clone().requires_grad_()
    logits = net(images, leaf, all_operations=everything, edge_mask=mask)
    scale = torch.arange(1, logits.numel() + 1, device=logits.device).view(logits.shape)
    ((logits.float() if logits.dtype != torch.float64 else logits) * scale).mean().backward()
    found = {"logits": logits.detach(), "z": leaf.grad}
    found |= {name: parameter.grad for name, parameter in net.named_parameters()}
    found |= dict(net.named_buffers())
    return {name: value for name, value in found.items() if value is not None}


def parent_of(
    space: Space, kernels: Kernels, kind: torch.dtype, stored: torch.dtype, device: str
) -> FastParent:
    """Return a parent whose numbers are those of type ``stored``, computing in ``kind``.

    Of 16 bits, activations alone; weights and statistics are in float32.
    """
    if kind in (torch.bfloat16, torch.float16):
        net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels, storage=kind)
        return net.to(device)
    stored = torch.float32 if stored in (torch.bfloat16, torch.float16) else stored
    net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels)
    return net.to(stored).to(kind).to(device)


def compared(case: Case, context: Context, around: Around = nullcontext) -> Finding:
    """Return whether a step equals the plain one in float64, and by how much.

    In single precision a value next to zero may fall on the other side of a ReLU, or another pixel
    win a maximum; in a whole parent that alone is an error of a thousandth. What such a case says
    is then asked again with two other batches: kernels that are wrong are wrong there, too.

    Args:
        case: The case.
        context: Device and kernels.
        around: Makes what the steps of a parent run in.
    """
    holds, values = _compared(case, context, around, 1)
    if not holds and case.cells and case.dtype == torch.float32:
        others = [_compared(case, context, around, seed) for seed in (2, 3)]
        values["with other images"] = max(one["worst relative error"] for _, one in others)
        holds = all(held for held, _ in others)
    return holds, values


def _compared(case: Case, context: Context, around: Around, seed: int) -> Finding:
    """Compare with the images of a seed."""
    space, (*_, batch) = space_of(case, context), case.shape
    generator = torch.Generator().manual_seed(seed)
    size = (batch, space.in_channels, space.resolution, space.resolution)
    images = torch.randn(size, generator=generator).to(case.dtype)
    z = weights(space, case.draws, case.hot).to(case.dtype)
    cells = sum(layer.kind == "cell" for layer in space.layers)
    mask = None
    if case.masked:
        mask = torch.rand(cells, space.num_edges, batch, generator=generator).to(case.dtype)

    def result(kernels: Kernels, kind: torch.dtype) -> dict[str, Tensor]:
        net = parent_of(space, kernels, kind, case.dtype, context.device).train(case.train)
        wide = torch.float32 if kind in (torch.bfloat16, torch.float16) else kind
        x, weight = (tensor.to(context.device, wide) for tensor in (images, z))
        factors = None if mask is None else mask.to(context.device, wide)
        with around(net):
            return outcome(net, x, weight, factors, not case.hot)

    want = result(ReferenceKernels(), torch.float64)
    return judged(want, result(context.kernels(case.dtype), case.dtype), TOLERANCE[case.dtype])


def judged(want: dict[str, Tensor], got: dict[str, Tensor], tolerance: float) -> Finding:
    """Return whether all tensors agree, and the worst one; a missing gradient is zero."""
    worst, where = 0.0, ""
    for name in want.keys() | got.keys():
        one = want[name] if name in want else torch.zeros_like(got[name])
        other = got[name] if name in got else torch.zeros_like(one)
        one, other = one.double(), other.double()
        size = float(one.norm()) + 0.01 * one.numel() ** 0.5
        error = float((one - other).norm()) / size
        if error > worst or math.isnan(error):
            worst, where = error, name
        if math.isnan(worst):  # the worst; nothing compares with it
            break
    values = {"worst relative error": worst, "limit": tolerance, "of": where, "tensors": len(want)}
    return worst <= tolerance, values


def not_a_number(context: Context) -> Finding:
    """Return whether a maximum, an average, a convolution and an identity hand NaN on."""
    operations = ("max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "skip_connect")
    space = space_of(Case("", operations, shape=(2, 1, 1, 4, 1, 1)), context)
    kept = []
    for operation in range(len(operations)):
        outputs = []
        for kernels in (ReferenceKernels(), context.kernels()):
            net = parent_of(space, kernels, torch.float32, torch.float32, context.device).eval()
            images = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
            images[0, 0, 3, 3] = float("nan")
            z = torch.zeros(1, 1, len(operations), device=context.device)
            z[0, 0, operation] = 1.0
            outputs.append(net(images.to(context.device), z).detach().isnan())
        kept.append(bool(outputs[0].any()) and torch.equal(*outputs))
    return all(kept), {"operations": len(kept), "handed on": sum(kept)}


def check(context: Context) -> Iterator[Row]:
    """Compare all cases; see the module's docstring."""
    from nasbench_snas.kernels.triton.support import DTYPES

    known = DTYPES if context.cuda or context.interpreted else (torch.float32, torch.float64)
    for case in CASES:
        if context.interpreted and not case.interpreted:
            continue
        if context.short and (case.cells or case.long):
            continue
        if case.dtype not in known:
            yield context.skipped(CHECK, case.name, f"no fused kernels for {case.dtype} here")
            continue
        if context.left < 0:
            yield context.skipped(CHECK, case.name, "no time left")
            continue
        yield context.row(CHECK, case.name, lambda case=case: compared(case, context))  # type: ignore[misc]
    if not context.interpreted:
        yield context.row(CHECK, "NaN is handed on", lambda: not_a_number(context))
        if context.cuda and torch.cuda.device_count() > 1:
            index = 1 if context.device.endswith(":0") else 0
            other = Context(f"cuda:{index}", context.folder, context.registry)
            yield other.row(CHECK, "on a second device", lambda: compared(CASES[0], other))
