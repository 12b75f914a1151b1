"""What a derived child network consists of, as data: shared by the network and by its cost.

A plan lists the stem, every cell with its channels, stride and inputs, and the head. Two recipes
follow the published evaluation networks (DARTS, arXiv:1806.09055, whose code SNAS reuses for
sections 3.2 and 3.3 of arXiv:1812.09926):

``cifar``: 3x3 convolution to ``stem_multiplier * channels``, cells, reductions at 1/3 and 2/3 of
the depth. ``imagenet``: three 3x3 convolutions of stride 2; the first cell receives the second and
the third of them, so that its older input is reduced.

A third plan is read off a search space (:func:`plan_in_space`): the child inside the parent.

Deviations: an input node of a reduction cell that stands in the concatenation passes a factorised
reduction (NASNet's rule; the DARTS code would fail).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from nasbench_snas.architecture.genotype import CellGenotype, Genotype
from nasbench_snas.architecture.operations import operation as operation_called
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.errors import ConfigError, GenotypeError, suggest


@dataclass(frozen=True, kw_only=True)
class ChildSettings:
    """How a child network is built from a genotype; the defaults are Table 2's network.

    Attributes:
        recipe: ``cifar`` or ``imagenet``; see the module's docstring.
        channels: Channels of the first cell's nodes; each reduction doubles them.
        layers: Cells.
        num_classes: Classes.
        in_channels: Channels of the images.
        resolution: Height and width of the images in pixels.
        stem_multiplier: Channels of the CIFAR stem in multiples of ``channels``.
        auxiliary: Whether an auxiliary classifier stands behind the second reduction.
        auxiliary_norm: Whether the last convolution of the ImageNet auxiliary head is followed by
            a batch norm (the SNAS code; DARTS left it out). CIFAR's always is.
        affine: Whether batch norms have a learnt scale and shift.
        pool_norm: Whether pooling is followed by a batch norm (the SNAS code; DARTS's child has
            bare pools).
        dropped_nodes: Nodes without input are kept as zero maps in the concatenation (``keep``,
            the SNAS code) or removed together with everything only they feed (``remove``).
        auxiliary_skip: Whether every kept edge has an auxiliary skip connection beside it, as in
            parents of spaces that have them.
    """

    recipe: Literal["cifar", "imagenet"] = "cifar"
    channels: int = 36
    layers: int = 20
    num_classes: int = 10
    in_channels: int = 3
    resolution: int = 32
    stem_multiplier: int = 3
    auxiliary: bool = False
    auxiliary_norm: bool = True
    affine: bool = True
    pool_norm: bool = False
    dropped_nodes: Literal["keep", "remove"] = "keep"
    auxiliary_skip: bool = False

    def __post_init__(self) -> None:
        """Check the settings by themselves."""
        sizes = ("channels", "layers", "num_classes", "in_channels", "resolution")
        for field in (*sizes, "stem_multiplier"):
            if getattr(self, field) < 1:
                raise ConfigError(f"child.{field} must be at least 1, got {getattr(self, field)}.")
        if self.recipe not in ("cifar", "imagenet"):
            raise ConfigError(
                f"unknown child recipe {self.recipe!r}.",
                suggest(str(self.recipe), ("cifar", "imagenet")),
            )

    @classmethod
    def imagenet(cls, channels: int = 48, layers: int = 14) -> ChildSettings:
        """Return the settings of Table 3: 224x224 images, 1,000 classes."""
        return cls(
            recipe="imagenet", channels=channels, layers=layers, num_classes=1000, resolution=224
        )


@dataclass(frozen=True)
class CellPlan:
    """One cell of the child.

    Attributes:
        index: Position in the network.
        kind: Cell type in the genotype, for example ``normal``.
        cell: Its graph.
        channels: Channels of every node.
        stride: Stride of the edges that leave the input nodes.
        input_channels: Channels of each input, oldest first.
        input_reduces: For each input, whether it has twice the resolution of the input nodes.
        resolution: Height and width of the input nodes in pixels.
        preprocess: For each input, whether it is adapted to ``channels`` by a module; False in
            spaces without preprocessing and for inputs that a pruned cell does not use.
    """

    index: int
    kind: str
    cell: CellGenotype
    channels: int
    stride: int
    input_channels: tuple[int, ...]
    input_reduces: tuple[bool, ...]
    resolution: int
    preprocess: tuple[bool, ...]

    @property
    def output_resolution(self) -> int:
        """Height and width of the intermediate nodes in pixels."""
        return -(-self.resolution // self.stride)

    @property
    def output_channels(self) -> int:
        """Channels of the concatenation."""
        return self.channels * len(self.cell.concat)

    @property
    def reduced_outputs(self) -> tuple[int, ...]:
        """Input nodes in the concatenation that must be reduced to the output's resolution."""
        if self.stride == 1:
            return ()
        return tuple(node for node in self.cell.concat if node < self.cell.num_inputs)

    def edge_stride(self, source: int) -> int:
        """Stride of the edges that leave node ``source``."""
        return self.stride if source < self.cell.num_inputs else 1

    def edge_resolution(self, source: int) -> int:
        """Height and width of node ``source`` in pixels."""
        return self.resolution if source < self.cell.num_inputs else self.output_resolution


@dataclass(frozen=True)
class BlockPlan:
    """A fixed residual block (NAS-Bench-201's reduction) between cells."""

    index: int
    c_in: int
    channels: int
    stride: int
    resolution: int

    @property
    def output_resolution(self) -> int:
        """Height and width of the block's output in pixels."""
        return -(-self.resolution // self.stride)


@dataclass(frozen=True)
class AuxiliaryPlan:
    """The auxiliary classifier: after which layer, on what."""

    after: int
    channels: int
    resolution: int
    norm: bool


@dataclass(frozen=True)
class ChildPlan:
    """A whole child network as data; see the module's docstring."""

    stem: Literal["conv3", "imagenet"]
    stem_channels: int
    layers: tuple[CellPlan | BlockPlan, ...]
    head: Literal["linear", "bn-relu-linear"]
    head_channels: int
    in_channels: int
    num_classes: int
    resolution: int
    affine: bool
    pool_norm: bool
    auxiliary: AuxiliaryPlan | None = None
    auxiliary_skip: bool = False

    @property
    def cells(self) -> tuple[CellPlan, ...]:
        """The searched cells, from stem to head."""
        return tuple(layer for layer in self.layers if isinstance(layer, CellPlan))

    @property
    def num_edges(self) -> int:
        """Edges over all cells of the network."""
        return sum(len(plan.cell.edges) for plan in self.cells)


def darts_layers(channels: int, layers: int) -> tuple[Layer, ...]:
    """Return ``layers`` cells with reductions (double channels) at 1/3 and 2/3 of the depth."""
    result, reductions = [], (layers // 3, 2 * layers // 3)
    for index in range(layers):
        reduces = index in reductions
        channels *= 2 if reduces else 1
        kind = "reduce" if reduces else "normal"
        result.append(Layer("cell", channels, 2 if reduces else 1, kind))
    return tuple(result)


def plan_child(genotype: Genotype, settings: ChildSettings) -> ChildPlan:
    """Return the published evaluation network of ``genotype``.

    Raises:
        GenotypeError: A cell type that the network needs is missing.
    """
    layers = darts_layers(settings.channels, settings.layers)
    if settings.recipe == "imagenet":
        stem_channels, size = settings.channels, settings.resolution
        for _ in range(2):
            size = -(-size // 2)
        history = [(stem_channels, size), (stem_channels, -(-size // 2))]
    else:
        stem_channels = settings.stem_multiplier * settings.channels
        history = [(stem_channels, settings.resolution)] * 2
    if settings.dropped_nodes == "remove":
        cells = {name: without_dropped(cell) for name, cell in genotype.cells.items()}
        genotype = replace(genotype, cells=cells)
    prune = settings.dropped_nodes == "remove"
    plans = tuple(_plan_layers(genotype, layers, history, preprocess=True, prune=prune))
    last = plans[-1]
    auxiliary = None
    if settings.auxiliary:
        at = plans[2 * settings.layers // 3]
        norm = settings.recipe == "cifar" or settings.auxiliary_norm
        width = _width(at)
        auxiliary = AuxiliaryPlan(at.index, width, at.output_resolution, norm)
    return ChildPlan(
        stem="imagenet" if settings.recipe == "imagenet" else "conv3",
        stem_channels=stem_channels,
        layers=plans,
        head="linear",
        head_channels=_width(last),
        in_channels=settings.in_channels,
        num_classes=settings.num_classes,
        resolution=settings.resolution,
        affine=settings.affine,
        pool_norm=settings.pool_norm,
        auxiliary=auxiliary,
        auxiliary_skip=settings.auxiliary_skip,
    )


def plan_in_space(genotype: Genotype, space: Space) -> ChildPlan:
    """Return the child of ``genotype`` inside the parent of ``space``: same skeleton and sizes.

    Raises:
        GenotypeError: The genotype's cells do not fit the space's.
    """
    for cell in space.cells:
        found = genotype.cells.get(cell.name)
        if found is None:
            raise _missing(genotype, cell.name)
        _check_fits(found, cell, space)
    history = [(space.stem_channels, space.resolution)] * 2
    plans = tuple(_plan_layers(genotype, space.layers, history, preprocess=space.preprocess))
    return ChildPlan(
        stem="conv3",
        stem_channels=space.stem_channels,
        layers=plans,
        head=space.head,
        head_channels=_width(plans[-1]),
        in_channels=space.in_channels,
        num_classes=space.num_classes,
        resolution=space.resolution,
        affine=space.affine,
        pool_norm=space.pool_norm,
        auxiliary_skip=space.auxiliary_skip,
    )


def _check_fits(found: CellGenotype, cell: CellType, space: Space) -> None:
    """Refuse a cell that is none of the space's."""
    sizes = (found.num_inputs, found.num_nodes, len(found.concat))
    if sizes != (cell.num_inputs, cell.num_nodes, cell.width):
        raise GenotypeError(
            f"cells.{cell.name} has {sizes[0]} inputs, {sizes[1]} nodes and {sizes[2]} in its "
            f"concat; space {space.name!r} has {cell.num_inputs}, {cell.num_nodes} and "
            f"{cell.width}."
        )
    seen: set[tuple[int, int]] = set()
    own = dict(zip(cell.edges, space.candidates[space.rows[cell.name]], strict=True))
    for position, edge in enumerate(found.edges):
        pair = (edge.source, edge.target)
        if edge.operation not in own.get(pair, ()) or pair in seen:
            again = " a second time" if pair in seen else ""
            raise GenotypeError(
                f"cells.{cell.name}.edges[{position}]: {edge.operation} "
                f"{edge.source} -> {edge.target}{again} is not in space {space.name!r}.",
                f"Operations: {', '.join(own.get(pair, space.operations))}",
            )
        seen.add(pair)


def without_dropped(cell: CellGenotype) -> CellGenotype:
    """Return ``cell`` without its dropped nodes, and without the edges that leave them.

    Edges whose removal drops further nodes are followed to the end. Nodes keep their numbers.

    Raises:
        GenotypeError: Nothing would be left in the concatenation.
    """
    while set(cell.dropped_nodes) & {edge.source for edge in cell.edges}:
        dropped = set(cell.dropped_nodes)
        cell = replace(cell, edges=tuple(e for e in cell.edges if e.source not in dropped))
    concat = tuple(node for node in cell.concat if node not in cell.dropped_nodes)
    if not concat:
        raise GenotypeError(
            "every node of the concatenation is dropped: the cell has no output.",
            fix="Use dropped_nodes='keep': the zero maps stay.",
        )
    return replace(cell, concat=concat)


def _plan_layers(
    genotype: Genotype,
    layers: tuple[Layer, ...],
    history: list[tuple[int, int]],
    *,
    preprocess: bool,
    prune: bool = False,
) -> Iterator[CellPlan | BlockPlan]:
    for index, layer in enumerate(layers):
        resolution = history[-1][1]
        plan: CellPlan | BlockPlan
        if layer.kind == "cell":
            if layer.cell not in genotype.cells:
                raise _missing(genotype, layer.cell)
            cell = genotype.cells[layer.cell]
            if cell.num_inputs > len(history):
                raise GenotypeError(
                    f"cells.{layer.cell} has {cell.num_inputs} inputs.",
                    f"A cell of this network sees the {len(history)} layers before it.",
                )
            used = {edge.source for edge in cell.edges} | set(cell.concat)
            inputs = history[-cell.num_inputs :]
            plan = CellPlan(
                index,
                layer.cell,
                cell,
                layer.channels,
                layer.stride,
                tuple(channels for channels, _ in inputs),
                tuple(size != resolution for _, size in inputs),
                resolution,
                tuple(preprocess and (i in used or not prune) for i in range(cell.num_inputs)),
            )
        else:
            plan = BlockPlan(index, history[-1][0], layer.channels, layer.stride, resolution)
        yield plan
        history = [history[-1], (_width(plan), plan.output_resolution)]


def _width(plan: CellPlan | BlockPlan) -> int:
    return plan.output_channels if isinstance(plan, CellPlan) else plan.channels


def _missing(genotype: Genotype, name: str) -> GenotypeError:
    return GenotypeError(
        f"the network needs a cell {name!r}; genotype {genotype.name!r} has none.",
        f"It has: {', '.join(genotype.cells) or '(none)'}",
    )


def keeps_identity(operation: str, stride: int) -> bool:
    """Whether ``operation`` is the identity, which path dropout spares (DARTS)."""
    return operation_called(operation).kind == "skip" and stride == 1
