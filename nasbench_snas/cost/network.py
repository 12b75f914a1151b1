"""Cost of whole networks: every part of a child, and the parts of a space outside the search.

The counts are exact: parameters agree with the built module to the last scalar, multiply-adds with
``torch.utils.flop_counter`` halved (convolutions and linear layers; one multiply-add is one
operation, pooling is listed apart).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nasbench_snas.architecture.operations import operation
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.table import (
    Cost,
    conv_cost,
    edge_cost,
    norm_parameters,
    reduction_cost,
)
from nasbench_snas.supernet.child.plan import CellPlan, ChildPlan
from nasbench_snas.supernet.skeleton import output_channels, positions


class Part(NamedTuple):
    """One counted part of a network.

    Attributes:
        place: ``stem``, ``head``, ``auxiliary``, ``cell 3`` or ``block 5``.
        kind: Cell type for cells (``normal`` …), otherwise the place without its number.
        what: ``preprocess``, an operation's name, ``reduction`` (of a concatenated input) or
            ``fixed``.
        cost: What it costs.
    """

    place: str
    kind: str
    what: str
    cost: Cost


def network_parts(plan: ChildPlan) -> list[Part]:
    """Return every part of the child network of ``plan``, from stem to head."""
    parts = [Part("stem", "stem", "fixed", _stem(plan))]
    for layer in plan.layers:
        if isinstance(layer, CellPlan):
            parts += _cell(layer, plan)
        else:
            cost = _block(layer.c_in, layer.channels, layer.stride, layer.resolution)
            parts.append(Part(f"block {layer.index}", "block", "fixed", cost))
    bn_head = plan.head == "bn-relu-linear"
    head = _head(plan.head_channels, plan.num_classes, bn_head)
    parts.append(Part("head", "head", "fixed", head))
    if plan.auxiliary is not None:
        parts.append(Part("auxiliary", "auxiliary", "fixed", _auxiliary(plan)))
    return parts


def total(parts: Iterable[Part], *, auxiliary: bool = False) -> Cost:
    """Return the sum over ``parts``, as published figures do without the auxiliary head."""
    cost = Cost()
    for part in parts:
        if auxiliary or part.kind != "auxiliary":
            cost += part.cost
    return cost


def searched(parts: Iterable[Part]) -> Cost:
    """Return the sum over the operations of edges, the part that the search decides."""
    cost = Cost()
    for part in parts:
        if part.place.startswith("cell") and part.what not in ("preprocess", "reduction"):
            cost += part.cost
    return cost


def outside_parts(space: Space) -> dict[str, Cost]:
    """Return what a space costs whatever is chosen: ``stem``, ``preprocess``, ``blocks``, ``head``.

    Together with the searched operations it is the whole network.
    """
    size = space.resolution
    stem = _conv_norm(space.in_channels, space.stem_channels, size, size, True)
    preprocess, blocks = Cost(), Cost()
    if space.preprocess:
        for place in positions(space):
            pairs = zip(place.input_channels, place.input_reduces, strict=True)
            for c_in, reduces in pairs:
                preprocess += _preprocess(
                    c_in, place.layer.channels, reduces, place.resolution, space.affine
                )
    width, resolution = space.stem_channels, space.resolution
    for layer in space.layers:
        if layer.kind == "residual":
            blocks += _block(width, layer.channels, layer.stride, resolution)
        width = layer.channels * (space.cell(layer.cell).width if layer.kind == "cell" else 1)
        resolution = -(-resolution // layer.stride)
    head = _head(output_channels(space), space.num_classes, space.head == "bn-relu-linear")
    return {"stem": stem, "preprocess": preprocess, "blocks": blocks, "head": head}


def _cell(plan: CellPlan, network: ChildPlan) -> Iterator[Part]:
    place, affine = f"cell {plan.index}", network.affine
    inputs = zip(plan.input_channels, plan.input_reduces, plan.preprocess, strict=True)
    for c_in, reduces, built in inputs:
        if built:
            cost = _preprocess(c_in, plan.channels, reduces, plan.resolution, affine)
            yield Part(place, plan.kind, "preprocess", cost)
    for edge in plan.cell.edges:
        cost = edge_cost(
            operation(edge.operation),
            plan.channels,
            plan.edge_stride(edge.source),
            plan.edge_resolution(edge.source),
            affine=affine,
            pool_norm=network.pool_norm,
            auxiliary_skip=network.auxiliary_skip,
        )
        yield Part(place, plan.kind, edge.operation, cost)
    for _ in plan.reduced_outputs:
        cost = reduction_cost(plan.channels, plan.channels, plan.resolution, affine)
        yield Part(place, plan.kind, "reduction", cost)


def _preprocess(c_in: int, c_out: int, reduces: bool, resolution: int, affine: bool) -> Cost:
    """Cost of adapting an input; ``resolution`` is that of the adapted map.

    A reducing input had twice that resolution (or one pixel less: the count of elements read is
    then an upper bound; parameters and multiply-adds are exact).
    """
    if reduces:
        return reduction_cost(c_in, c_out, 2 * resolution, affine)
    size = (resolution, resolution)
    return conv_cost(c_in, c_out, (1, 1), 1, size, size) + norm_parameters(c_out, affine)


def _conv_norm(c_in: int, c_out: int, size_in: int, size_out: int, affine: bool) -> Cost:
    cost = conv_cost(c_in, c_out, (3, 3), 1, (size_in,) * 2, (size_out,) * 2)
    return cost + norm_parameters(c_out, affine)


def _stem(plan: ChildPlan) -> Cost:
    width, size = plan.stem_channels, plan.resolution
    if plan.stem == "conv3":
        return _conv_norm(plan.in_channels, width, size, size, True)
    cost = Cost()
    for c_in, c_out in ((plan.in_channels, width // 2), (width // 2, width), (width, width)):
        half = -(-size // 2)
        cost, size = cost + _conv_norm(c_in, c_out, size, half, True), half
    return cost


def _block(c_in: int, channels: int, stride: int, resolution: int) -> Cost:
    out = -(-resolution // stride)
    first = _conv_norm(c_in, channels, resolution, out, True)
    second = _conv_norm(channels, channels, out, out, True)
    shortcut = conv_cost(c_in, channels, (1, 1), 1, (out, out), (out, out))
    pool = stride * stride * out * out * c_in
    return first + second + shortcut + Cost(0, 0, pool, (resolution**2 + out**2) * c_in)


def _head(channels: int, classes: int, norm: bool) -> Cost:
    weights = channels * classes
    linear = Cost(weights + classes, weights, 0, channels + classes + weights)
    return linear + norm_parameters(channels, norm)


def _auxiliary(plan: ChildPlan) -> Cost:
    """Cost of the auxiliary head (training only)."""
    if plan.auxiliary is None:
        return Cost()
    first = conv_cost(plan.auxiliary.channels, 128, (1, 1), 1, (2, 2), (2, 2))
    second = conv_cost(128, 768, (2, 2), 1, (2, 2), (1, 1))
    norms = norm_parameters(128, True) + norm_parameters(768, plan.auxiliary.norm)
    return first + second + norms + _head(768, plan.num_classes, False)
