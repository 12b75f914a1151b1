"""What ``nasbench cost`` reports: the cost of genotypes, spaces and published rows, as data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.space import Space
from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.cost.conventions import Tally, counter, tally
from nasbench_snas.cost.network import Part, network_parts, outside_parts, searched, total
from nasbench_snas.cost.published import (
    PublishedRow,
    Status,
    compare,
    find_published,
    published_rows,
)
from nasbench_snas.cost.settings import Convention
from nasbench_snas.cost.table import CRITERIA, Cost, cost_table, mean_cost
from nasbench_snas.supernet.child.plan import ChildPlan, ChildSettings, plan_child


@dataclass(frozen=True)
class Line:
    """Cost of one operation (or fixed part) over all cells of a type.

    Attributes:
        kind: Cell type, or ``stem``, ``head`` ….
        what: The operation, ``preprocess`` or ``fixed``.
        count: How often it occurs in the network.
        parameters: Trainable scalars.
        macs: Multiply-adds of convolutions and linear layers.
        pooling: Operations of pooling.
        access: Elements moved (eqs. 37, 40).
    """

    kind: str
    what: str
    count: int
    parameters: int
    macs: int
    pooling: int
    access: int


@dataclass(frozen=True)
class Report:
    """Cost of one network beside the published figure.

    Attributes:
        target: What was asked for.
        network: The network in words.
        parameters: Trainable scalars, those of an auxiliary head if the network has one; None
            without a genotype.
        macs: Multiply-adds of convolutions and linear layers.
        access: Elements moved.
        outside_parameters: The part that no choice changes: stem, preprocessing, head.
        outside_macs: Its multiply-adds.
        published_parameters: The printed figure, or None.
        published_macs: The printed figure, or None.
        source: Where it is printed.
        status: ``match``, ``near``, ``mismatch``, ``no genotype`` or ``unpublished``.
        note: A remark.
        lines: Cost per cell type and operation.
        tally: What public counters count of the network; None without a genotype.
    """

    target: str
    network: str
    parameters: int | None
    macs: int | None
    access: int | None
    outside_parameters: int | None
    outside_macs: int | None
    published_parameters: float | None
    published_macs: float | None
    source: str
    status: Status
    note: str
    lines: tuple[Line, ...]
    tally: Tally | None = None

    def counted(self, convention: str) -> int | None:
        """Return the figure of the public counter ``convention``; None without a genotype."""
        return None if self.tally is None else counter(convention).figure(self.tally)

    def as_dict(self) -> dict[str, Any]:
        """Return plain containers, differences included."""
        data = asdict(self)
        data["lines"] = [asdict(line) for line in self.lines]
        for field in ("parameters", "macs"):
            ours, theirs = data[field], data[f"published_{field}"]
            known = ours is not None and theirs is not None
            data[f"{field}_difference"] = ours - theirs if known else None
        return data


def genotype_reports(
    genotype: Genotype, target: str, settings: ChildSettings | None = None
) -> list[Report]:
    """Return the cost of ``genotype`` in the network of ``settings``.

    Without settings: in every network that a published table compares it with, or else in that
    of Table 2.
    """
    name = genotype.name
    known = name in _published_names() and genotype == zoo(name)
    if settings is None and known:
        rows = [row for row in _comparable() if row.genotype == name]
        return [_published_report(row, target) for row in rows]
    settings = settings or ChildSettings()
    row = find_published(name, settings) if known else None
    return [_report(plan_child(genotype, settings), target, describe(settings), row)]


def table_reports() -> list[Report]:
    """Return every row of Tables 2 and 3, those without a genotype included."""
    return list(_table_reports())


@cache
def _table_reports() -> tuple[Report, ...]:
    rows = [row for table in (2, 3) for row in published_rows(table)]
    return tuple(_published_report(row, row.architecture) for row in rows)


def plan_report(plan: ChildPlan, target: str, network: str) -> Report:
    """Return the cost of a ready plan, for example of a child inside its search space."""
    return _report(plan, target, network, None)


def describe(settings: ChildSettings) -> str:
    """Return the network of ``settings`` in words."""
    name = "ImageNet" if settings.recipe == "imagenet" else "CIFAR"
    text = f"{name} C{settings.channels} L{settings.layers}"
    usual = 224 if settings.recipe == "imagenet" else 32
    size = "" if settings.resolution == usual else f" {settings.resolution}x{settings.resolution}"
    text += size + (" +pool BN" if settings.pool_norm else "")
    return text + (" +auxiliary" if settings.auxiliary else "")


def space_lines(space: Space, convention: Convention = "sound") -> list[dict[str, Any]]:
    """Return what each operation costs on all edges of a cell type, over all its cells.

    Each entry has ``kind``, ``what`` and the criteria (``parameters``, ``flops``, ``access``);
    dividing by the number of edges gives a mean edge. The outside parts follow.
    """
    table = cost_table(space, convention)
    result: list[dict[str, Any]] = []
    for cell in space.cells:
        rows = space.rows[cell.name]
        for operation in space.operations:
            places = [(e, k) for e, k in space.places(operation) if rows.start <= e < rows.stop]
            if places:
                edges, columns = zip(*places, strict=True)
                sums = table[list(edges), list(columns)].sum(dim=0).tolist()
                result.append({"kind": cell.name, "what": operation, **_criteria(sums)})
    for name, cost in outside_parts(space).items():
        values = [float(getattr(cost, criterion)) for criterion in CRITERIA]
        result.append({"kind": "outside", "what": name, **_criteria(values)})
    return result


def space_summary(space: Space, convention: Convention = "sound") -> dict[str, dict[str, int]]:
    """Return cheapest, uniform (expected) and dearest searchable cost, and the outside parts.

    Cheapest and dearest are taken criterion by criterion.
    """
    table = cost_table(space, convention)
    absent = table.new_tensor(space.absent or [[False]]).bool()[..., None]
    outside = Cost()
    for cost in outside_parts(space).values():
        outside += cost
    rows = {
        "cheapest": table.masked_fill(absent, math.inf).amin(dim=1).sum(dim=0).tolist(),
        "uniform": mean_cost(space, table).sum(dim=0).tolist(),
        "dearest": table.amax(dim=1).sum(dim=0).tolist(),
        "all operations": table.sum(dim=(0, 1)).tolist(),
        "outside": [float(getattr(outside, criterion)) for criterion in CRITERIA],
    }
    return {name: _criteria(values) for name, values in rows.items()}


def _criteria(values: Iterable[float]) -> dict[str, int]:
    return {name: round(value) for name, value in zip(CRITERIA, values, strict=True)}


def _comparable() -> list[PublishedRow]:
    return [row for table in (2, 3) for row in published_rows(table) if row.genotype]


def _published_names() -> set[str]:
    return {row.genotype for row in _comparable()}


def _published_report(row: PublishedRow, target: str) -> Report:
    if row.settings is None:
        source = f"Table {row.table}"
        return Report(
            target,
            "",
            *(None,) * 5,
            row.parameters,
            row.macs,
            source,
            "no genotype",
            row.values.get("note", ""),
            (),
        )
    plan = plan_child(zoo(row.genotype), row.settings)
    return _report(plan, target, f"{row.genotype} {describe(row.settings)}", row)


def _report(plan: ChildPlan, target: str, network: str, row: PublishedRow | None) -> Report:
    parts = network_parts(plan)
    whole = total(parts, auxiliary=plan.auxiliary is not None)
    inside = searched(parts)
    published = row.parameters if row else None
    return Report(
        target=target,
        network=network,
        parameters=whole.parameters,
        macs=whole.macs,
        access=whole.access,
        outside_parameters=whole.parameters - inside.parameters,
        outside_macs=whole.macs - inside.macs,
        published_parameters=published,
        published_macs=row.macs if row else None,
        source=f"Table {row.table}" if row else "",
        status=compare(whole.parameters, published),
        note=row.values.get("note", "") if row else "",
        lines=tuple(_lines(parts)),
        tally=tally(plan),
    )


def _lines(parts: list[Part]) -> Iterator[Line]:
    grouped: dict[tuple[str, str], list[Cost]] = {}
    for part in parts:
        grouped.setdefault((part.kind, part.what), []).append(part.cost)
    for (kind, what), costs in grouped.items():
        cost = Cost()
        for one in costs:
            cost += one
        yield Line(kind, what, len(costs), *cost)
