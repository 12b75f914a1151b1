"""The cost of a derived network as public counters state it, to the last operation.

A paper's "multiply-adds" or "FLOPs" is the figure of some counter, and counters differ in what
they count: batch norms (0, 1, 2 or 4 operations an element), activations, poolings (by what they
write, by what they read, or only those written as a module), biases, and whether a multiply-add
is one operation or two. So a network is tallied once (:class:`Tally`, exact, from its plan: nothing
is built or run), and a counter is a linear rule on the tally (:data:`COUNTERS`)::

    figure = sum over parts of weight * tally

The tests compare every rule with the counter itself on whole networks, without tolerance. The rules
hold for networks as :class:`~nasbench_snas.supernet.child.network.ChildNetwork` writes them, in
evaluation mode, for one image: counters that hook modules do not see what is written as a function
(poolings, the activation of a factorised reduction, the mean of the head). What an operation of
one's own declares as multiply-adds stands among those of convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from operator import add, attrgetter

from nasbench_snas.architecture.operations import Operation, operation
from nasbench_snas.errors import ConfigError, suggest
from nasbench_snas.supernet.child.plan import BlockPlan, CellPlan, ChildPlan


@dataclass(frozen=True)
class Tally:
    """How much of everything a network does for one image; all entries count once.

    Attributes:
        convolution: Multiply-adds of convolutions.
        linear: Multiply-adds of linear layers.
        bias: Outputs of linear layers (each gets a bias).
        norm: Elements that a batch norm writes.
        norm_affine: Those of batch norms with a learnt scale and shift.
        norm_parameters: Learnt scales and shifts of batch norms.
        relu_module: Elements of activations written as modules.
        relu_function: Elements of activations written as functions.
        maximum: Elements that max pooling writes.
        average: Elements that average pooling writes.
        pooled: Elements that max and average pooling read.
        mean_read: Elements that the mean before the classifier reads.
        mean_written: Elements that it writes.
        addition: Additions of two feature maps, element by element.
    """

    convolution: int = 0
    linear: int = 0
    bias: int = 0
    norm: int = 0
    norm_affine: int = 0
    norm_parameters: int = 0
    relu_module: int = 0
    relu_function: int = 0
    maximum: int = 0
    average: int = 0
    pooled: int = 0
    mean_read: int = 0
    mean_written: int = 0
    addition: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Return the sum, entry by entry."""
        return Tally(*map(add, _entries(self), _entries(other)))


PARTS = tuple(field.name for field in fields(Tally))
_entries = attrgetter(*PARTS)


@dataclass(frozen=True)
class Counter:
    """What a public counter counts.

    Attributes:
        package: The package on the index, and the version that the rule was checked with.
        unit: What its figure is called there.
        weights: Operations for each unit of a part of the tally; parts that are absent are not
            counted.
        remark: The rule in words.
    """

    package: str
    unit: str
    weights: dict[str, int]
    remark: str

    def figure(self, counted: Tally) -> int:
        """Return what the counter says of a network with this tally, for one image."""
        return sum(weight * int(getattr(counted, part)) for part, weight in self.weights.items())


_PRODUCTS = {"convolution": 1, "linear": 1}
_TWICE = {"convolution": 2, "linear": 2}
_NORMS = {"norm": 1, "norm_affine": 1}
_POOLED = {"relu_module": 1, "relu_function": 1, "pooled": 1}

COUNTERS: dict[str, Counter] = {
    "torch": Counter(
        "torch 2.14.1 (torch.utils.flop_counter)",
        "FLOPs",
        _TWICE,
        "two operations a multiply-add of convolutions and linear layers, no bias",
    ),
    "nats": Counter(
        "NATS-Bench and NAS-Bench-201 (the figures stored in their files)",
        "FLOPs",
        {**_PRODUCTS, "bias": 1},
        "multiply-adds, and the bias of the classifier; no batch norm, no pooling",
    ),
    "ptflops-aten": Counter(
        "ptflops 0.7.5, backend aten",
        "MACs",
        {**_PRODUCTS, "bias": 1},
        "multiply-adds, and one for each output of a biased linear layer",
    ),
    "ptflops": Counter(
        "ptflops 0.7.5, backend pytorch",
        "MACs",
        {**_PRODUCTS, "bias": 1, **_NORMS, "relu_module": 2, "relu_function": 1, "pooled": 1},
        "batch norm 2 an element (1 without scale), activations as functions 1 and as modules 2 "
        "(hook and function both count), pooling by what it reads",
    ),
    "flops-compute": Counter(
        "flops-compute 0.6.2; flopth 0.1.6 says the same",
        "MACs",
        {**_PRODUCTS, **_NORMS, "relu_module": 1},
        "batch norm 2 an element (1 without scale), activations written as modules 1, no bias",
    ),
    "torch-pruning": Counter(
        "torch-pruning 1.6.1",
        "MACs",
        {**_PRODUCTS, "bias": 1, **_NORMS, "relu_module": 1},
        "as flops-compute, with the bias",
    ),
    "thop": Counter(
        "thop 0.1.1.post2209072238; ultralytics-thop 2.2.3 says the same",
        "MACs",
        {**_PRODUCTS, "norm": 2, "norm_affine": 2},
        "batch norm 4 an element (2 without scale), no activation, no pooling as a function",
    ),
    "fvcore": Counter(
        "fvcore 0.1.5.post20221221; mmengine 0.10.7 says the same",
        "FLOPs",
        {**_PRODUCTS, **_NORMS},
        "batch norm 2 an element (1 without scale), pooling and additions unsupported",
    ),
    "torchprofile": Counter(
        "torchprofile 0.1.0",
        "MACs",
        {**_PRODUCTS, "norm_affine": 1, "average": 1, "mean_written": 1},
        "batch norm 1 an element (0 without scale), averages by what they write, maxima nothing",
    ),
    "torchinfo": Counter(
        "torchinfo 1.8.0",
        "mult-adds",
        {**_PRODUCTS, "norm_parameters": 1, "bias": 1},
        "each learnt scalar once for each use: products by pixels, scales, shifts and biases once",
    ),
    "calflops": Counter(
        "calflops 0.3.2",
        "FLOPs",
        {**_TWICE, **_NORMS, **_POOLED},
        "two operations a multiply-add, batch norm 2 an element (1 without scale), activation 1, "
        "pooling by what it reads, no bias; its MACs are half of the torch figure",
    ),
}
"""Rule of each counter, by its name on the command line."""


def counter(name: str) -> Counter:
    """Return the rule of the counter called ``name``.

    Raises:
        ConfigError: No such counter.
    """
    if name not in COUNTERS:
        raise ConfigError(f"unknown counter {name!r}.", suggest(name, COUNTERS))
    return COUNTERS[name]


def tally(plan: ChildPlan) -> Tally:
    """Return what the network of ``plan`` does for one image, without its auxiliary head."""
    total = Tally()
    for part in _walk(plan):
        total += part
    return total


def _walk(plan: ChildPlan) -> Iterator[Tally]:
    yield from _stem(plan)
    for layer in plan.layers:
        if isinstance(layer, CellPlan):
            yield from _cell(layer, plan)
        else:
            yield from _block(layer)
    size = plan.layers[-1].output_resolution
    elements = plan.head_channels * size * size
    if plan.head == "bn-relu-linear":
        yield _norm(plan.head_channels, size, True) + Tally(relu_module=elements)
    yield Tally(mean_read=elements, mean_written=plan.head_channels)
    yield Tally(linear=plan.head_channels * plan.num_classes, bias=plan.num_classes)


def _conv(c_in: int, c_out: int, kernel: int, out: tuple[int, int], groups: int = 1) -> Tally:
    """Tally a convolution of ``kernel`` weights a pair of channels that writes ``out`` pixels."""
    return Tally(convolution=kernel * c_in * c_out // groups * out[0] * out[1])


def _norm(channels: int, size: int, affine: bool) -> Tally:
    return _norm_of(channels, channels * size * size, affine)


def _norm_of(channels: int, elements: int, affine: bool) -> Tally:
    learnt = 1 if affine else 0
    return Tally(
        norm=elements, norm_affine=learnt * elements, norm_parameters=learnt * 2 * channels
    )


def _stem(plan: ChildPlan) -> Iterator[Tally]:
    width, size = plan.stem_channels, plan.resolution
    if plan.stem == "conv3":
        yield _conv(plan.in_channels, width, 9, (size, size)) + _norm(width, size, True)
        return
    for c_in, c_out in ((plan.in_channels, width // 2), (width // 2, width), (width, width)):
        if c_in != plan.in_channels:  # an activation stands before each but the first
            yield Tally(relu_module=c_in * size * size)
        size = _half(size)
        yield _conv(c_in, c_out, 9, (size, size)) + _norm(c_out, size, True)


def _block(block: BlockPlan) -> Iterator[Tally]:
    c_in, c_out, size = block.c_in, block.channels, block.output_resolution
    before = c_in * block.resolution**2
    yield Tally(relu_module=before) + _conv(c_in, c_out, 9, (size, size))
    yield _norm(c_out, size, True) + Tally(relu_module=c_out * size * size)
    yield _conv(c_out, c_out, 9, (size, size)) + _norm(c_out, size, True)
    yield Tally(average=c_in * size * size, pooled=before) + _conv(c_in, c_out, 1, (size, size))
    yield Tally(addition=c_out * size * size)


def _cell(plan: CellPlan, network: ChildPlan) -> Iterator[Tally]:
    inputs = zip(plan.input_channels, plan.input_reduces, plan.preprocess, strict=True)
    for c_in, reduces, built in inputs:
        size = plan.resolution
        if built and reduces:
            yield _reduction(c_in, plan.channels, _before(network, plan), size, network.affine)
        elif built:
            yield Tally(relu_module=c_in * size * size)
            yield _conv(c_in, plan.channels, 1, (size, size))
            yield _norm(plan.channels, size, network.affine)
    out = plan.output_resolution
    for edge in plan.cell.edges:
        stride, size = plan.edge_stride(edge.source), plan.edge_resolution(edge.source)
        kind = operation(edge.operation)
        yield from _operation(kind, plan.channels, stride, size, network)
        if network.auxiliary_skip:
            yield from _operation(operation("skip_connect"), plan.channels, stride, size, network)
            yield Tally(addition=plan.channels * out * out)
    incoming = [edge.target for edge in plan.cell.edges]
    sums = len(incoming) - len(set(incoming))
    yield Tally(addition=sums * plan.channels * out * out)
    for _ in plan.reduced_outputs:
        yield _reduction(plan.channels, plan.channels, plan.resolution, out, network.affine)


def _before(network: ChildPlan, plan: CellPlan) -> int:
    """Return the resolution of the older input of ``plan`` where it must be reduced."""
    if plan.index > 1:
        return network.layers[plan.index - 2].output_resolution
    if plan.index == 1:  # the newer of the two stems is as large as the first cell's input
        return network.layers[0].resolution
    return _half(_half(network.resolution))


def _half(size: int) -> int:
    return -(-size // 2)


def _reduction(c_in: int, c_out: int, size: int, out: int, affine: bool) -> Tally:
    """Tally a factorised reduction: a functional activation, two strided 1x1 convolutions."""
    relu = Tally(relu_function=c_in * size * size)
    return relu + _conv(c_in, c_out, 1, (out, out)) + _norm(c_out, out, affine)


def _operation(
    kind: Operation, channels: int, stride: int, size: int, network: ChildPlan
) -> Iterator[Tally]:
    out = -(-size // stride)
    if kind.kind == "skip" and stride > 1:
        yield _reduction(channels, channels, size, out, network.affine)
    elif kind.kind == "pool":
        written = channels * out * out
        largest = kind.pool == "max"
        yield Tally(
            maximum=written if largest else 0,
            average=0 if largest else written,
            pooled=channels * size * size,
        )
        if network.pool_norm:
            yield _norm(channels, out, network.affine)
    elif kind.own is not None:
        yield Tally(convolution=kind.own.cost(channels, stride, size, network.affine).macs)
    elif kind.kind == "conv":
        yield from _units(kind, channels, stride, size, network.affine)


def _units(kind: Operation, channels: int, stride: int, size: int, affine: bool) -> Iterator[Tally]:
    high = wide = size
    for index, convs in enumerate(kind.units):
        yield Tally(relu_module=channels * high * wide)
        for conv in convs:
            steps = [stride if on and index == 0 else 1 for on in conv.strided]
            high, wide = -(-high // steps[0]), -(-wide // steps[1])
            groups = channels if conv.depthwise else 1
            weights = conv.kernel[0] * conv.kernel[1]
            yield _conv(channels, channels, weights, (high, wide), groups)
        yield _norm_of(channels, channels * high * wide, affine)
