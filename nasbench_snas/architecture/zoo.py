"""The genotype zoo: published cells as data files, each with its source and a note."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.errors import GenotypeError, suggest


@dataclass(frozen=True)
class ZooEntry:
    """One published architecture.

    Attributes:
        genotype: The cells.
        reference: Key of the publication in ``references.bib``.
        source: Where the cell was read.
        note: What one should know before using it.
    """

    genotype: Genotype
    reference: str
    source: str
    note: str


def zoo_names() -> tuple[str, ...]:
    """Return the names of all entries, in alphabetical order."""
    folder = files("nasbench_snas.architecture") / "cells"
    return tuple(
        sorted(f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json"))
    )


def zoo_key(text: str) -> str:
    """Return ``text`` as the zoo spells names: lower case, hyphens (``DARTS_V2``: ``darts-v2``)."""
    return text.strip().lower().replace("_", "-").replace(" ", "-")


@cache
def zoo_entry(name: str) -> ZooEntry:
    """Return the entry called ``name``; case, hyphens and underscores do not matter.

    Raises:
        GenotypeError: No such entry; the message suggests the nearest name.
    """
    key = zoo_key(name)
    if key not in zoo_names():
        raise GenotypeError(f"no genotype {name!r} in the zoo.", suggest(key, zoo_names()))
    text = (files("nasbench_snas.architecture") / "cells" / f"{key}.json").read_text(
        encoding="utf-8"
    )
    data = json.loads(text)
    return ZooEntry(Genotype.from_dict(data), data["reference"], data["source"], data["note"])


def zoo(name: str) -> Genotype:
    """Return the genotype called ``name``; see :func:`zoo_entry`."""
    return zoo_entry(name).genotype
