"""The kinds of plug-in: their names, base classes, and what a listing shows of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

Kind = Literal[
    "estimator", "space", "operation", "dataset", "criterion", "rule", "transformer", "stop"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
BUILT_IN = "built-in"


@dataclass(frozen=True)
class KindInfo:
    """What is known of a kind of plug-in.

    Attributes:
        plural: As listings and groups of entry points call it (``nasbench_snas.<plural>``).
        bases: Names of the base classes in ``nasbench_snas.api``; the first is what is told.
        word: Part of a base class's name that tells the kind where the class itself is unknown.
        shown: Class attributes that listings show.
    """

    plural: str
    bases: tuple[str, ...]
    word: str
    shown: tuple[str, ...] = ("summary", "reference", "version")


INFO: Mapping[Kind, KindInfo] = MappingProxyType(
    {
        "estimator": KindInfo(
            "estimators",
            ("Estimator", "AnnealedPathwise", "Pathwise", "Score"),
            "Estimator",
            ("family", "reference", "evaluations", "bias", "n", "version"),
        ),
        "space": KindInfo("spaces", ("SpaceFamily",), "Space"),
        "operation": KindInfo("operations", ("CandidateOperation",), "Operation"),
        "dataset": KindInfo("datasets", ("ImageDataset",), "Dataset"),
        "criterion": KindInfo("criteria", ("CostCriterion",), "Criterion"),
        "rule": KindInfo("rules", ("DerivationRule",), "Rule"),
        "transformer": KindInfo("transformers", ("LossTransformer",), "Transformer"),
        "stop": KindInfo("stops", ("EarlyStop",), "Stop"),
    }
)
PLURALS: Mapping[str, Kind] = MappingProxyType({INFO[kind].plural: kind for kind in KINDS})
_BASES: dict[str, Kind] = {base: kind for kind in KINDS for base in INFO[kind].bases}


@dataclass(frozen=True)
class Entry:
    """One plug-in, or one thing built in, as a listing shows it.

    Attributes:
        kind: Its kind.
        name: Its key.
        origin: Where it was found, in words.
        module: Module to import, or None for a file.
        file: Source file, or None if it is not known.
        attributes: Literal class attributes; ``summary``: the first line of the docstring;
            ``settings``: literal defaults of the constructor.
        problem: Why it cannot be used, or empty.
        loaded: The class itself, where it was registered directly.
    """

    kind: Kind
    name: str
    origin: str
    module: str | None = None
    file: Path | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    loaded: type | None = None

    @property
    def is_class(self) -> bool:
        """Whether it is a class, not data or a name that is built in."""
        return bool(self.loaded or self.module or self.file)


def kind_of_bases(names: Sequence[str]) -> Kind | None:
    """Return the kind that the names of base classes tell, or None if they tell none."""
    for name in names:
        if name in _BASES:
            return _BASES[name]
    for name in names:
        for kind in KINDS:
            if INFO[kind].word in name:
                return kind
    return None


def is_of_kind(cls: type, kind: Kind) -> bool:
    """Whether ``cls`` is a subclass of a base class of this kind."""
    return any(base.__name__ in INFO[kind].bases for base in cls.__mro__[1:])
