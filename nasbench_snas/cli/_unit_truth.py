"""What our own table of ``snas-unit`` says of architectures, for ``nasbench truth``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.errors import ConfigError, GenotypeError
from nasbench_snas.truth.unit import OPERATIONS, key_of, unit_table

_TARGETS = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_CELL = "unit"


def show_unit(keys: Sequence[str], best: int, ranks: Sequence[int], *, as_json: bool) -> None:
    """Print records of architectures, of the ``best`` ones and of ``ranks``.

    Raises:
        ConfigError: Nothing is asked for, or a rank is beyond the last.
        GenotypeError: A key is none.
    """
    table = unit_table()
    ranked = table.ranked()
    if not keys and not best and not ranks:
        raise ConfigError(
            "which architecture?", fix="Example: nasbench truth --space snas-unit --best 5"
        )
    for rank in ranks:
        if rank > len(ranked):
            raise ConfigError(f"there is no rank {rank}.", f"snas-unit has {len(ranked)}.")
    chosen = [*keys, *ranked[:best], *(ranked[rank - 1] for rank in ranks)]
    records = [table.record(key) for key in chosen]
    for record in records:
        click.echo(json.dumps(record) if as_json else _text(record))


def _text(record: dict[str, Any]) -> str:
    seeds = ", ".join(f"{value:.2f}" for value in record["accuracies"])
    among = "among" if record["among_best"] else "not among"
    return "\n".join(
        [
            f"{record['key']}  {' '.join(record['operations'])}",
            f"  {record['dataset']}, {record['images']} held-out images, {record['epochs']} "
            f"epochs: {record['accuracy']:.3f} % (n = {len(record['accuracies'])}: {seeds}; "
            f"standard error {record['error']:.2f})",
            f"  rank {record['rank']} · percentile {record['percentile']:.2f} · regret "
            f"{record['regret']:.3f} points · {among} the best that the table cannot tell apart "
            f"(within {record['margin']:.2f} points)",
            f"  same function as {record['same_function']}",
        ]
    )


def is_unit(genotype: Genotype) -> bool:
    """Whether a genotype has the cell of ``snas-unit``."""
    return set(genotype.cells) == {_CELL}


def unit_key(genotype: Genotype) -> str:
    """Return the key of a genotype of ``snas-unit``.

    Raises:
        GenotypeError: It is not one.
    """
    cell = genotype.cells.get(_CELL)
    chosen = {(e.source, e.target): e.operation for e in cell.edges} if cell else {}
    if (
        cell is None
        or not set(chosen) <= set(_TARGETS)
        or not set(chosen.values()) <= set(OPERATIONS)
    ):
        raise GenotypeError(
            "the genotype is not one of snas-unit.",
            f"Expected one cell named {_CELL!r} with operations {', '.join(OPERATIONS)}.",
        )
    digits = [OPERATIONS.index(chosen.get(edge, "none")) for edge in _TARGETS]
    return key_of(int("".join(map(str, digits)), len(OPERATIONS)))
