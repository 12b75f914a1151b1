"""Which genotype of a text is meant: the only one, the one that is named, a log's last."""

from __future__ import annotations

import re
from dataclasses import replace

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.reading.scan import Found
from nasbench_snas.errors import GenotypeError, suggest

_LISTED = 20
_LOGS = re.compile(
    r"\.(?:log|out|err|jsonl|ndjson)(?:\.\w+)?$|\blog[^/]*\.txt$|nohup", re.IGNORECASE
)


def is_log(found: list[Found], file: str) -> bool:
    """Whether genotypes are the lines of a log: each stamped, or without names in a log's file."""
    if all(item.around.stamped for item in found):
        return True
    return _LOGS.search(file) is not None and not any(item.name for item in found)


def choose(found: list[Found], wanted: str, file: str, text: str = "") -> Genotype:
    """Return the genotype that is meant, with notes on what was chosen.

    Args:
        found: All of the text, at least one.
        wanted: A name or a line; empty if none is given.
        file: For messages and for telling a log; empty for a text by itself.
        text: The text, where names of names (``DARTS = DARTS_V2``) are looked up.

    Raises:
        GenotypeError: It is broken, there is none of that name, or several differ.
    """
    if wanted:
        return _named(found, wanted, file, text)
    if _alike(found):
        return _whole(found[-1] if found[0].genotype is None else found[0])
    if is_log(found, file):
        last = found[-1]
        genotype = _whole(last)
        note = f"line {last.line}: the last of {len(found)} genotypes of a log"
        return replace(genotype, notes=(note, *genotype.notes))
    raise _several(found, file)


def _alike(found: list[Found]) -> bool:
    """Whether there is one genotype, printed once or several times."""
    if len(found) == 1:
        return True
    first = found[0].genotype
    return first is not None and all(item.genotype == first for item in found)


def _whole(found: Found) -> Genotype:
    if found.genotype is None:
        raise found.error or GenotypeError("the genotype cannot be read.")
    return found.genotype


def _named(found: list[Found], wanted: str, file: str, text: str) -> Genotype:
    if wanted.isdigit():
        chosen = [item for item in found if item.line == int(wanted)]
        if not chosen:
            lines = ", ".join(str(item.line) for item in found[:_LISTED])
            raise GenotypeError(f"no genotype begins in line {wanted}.", f"They begin in: {lines}")
    else:
        chosen = [item for item in found if item.name == wanted]
        if not chosen and (other := _other_name(text, wanted)):
            chosen = [item for item in found if item.name == other]
        if not chosen:
            names = dict.fromkeys(item.name for item in found if item.name)
            raise GenotypeError(f"no genotype is called {wanted!r}.", suggest(wanted, names))
    if not _alike(chosen):
        live = [item for item in chosen if not item.around.commented]
        if not live or not _alike(live):
            raise _several(chosen, file)
        chosen = live
    return _whole(chosen[0])


def _other_name(text: str, wanted: str) -> str:
    """Return the name that the last line ``wanted = NAME`` gives, or nothing."""
    name = re.escape(wanted)
    found = re.findall(rf"^{name}[ \t]*=[ \t]*([A-Za-z_]\w*)[ \t]*(?:#.*)?$", text, re.MULTILINE)
    return found[-1] if found else ""


def _several(found: list[Found], file: str) -> GenotypeError:
    """Return the error that lists what there is and how to name one."""
    shown = [
        f"{item.name or '(no name)'} (line {item.line}"
        f"{', a comment' if item.around.commented else ''}"
        f"{', not readable' if item.genotype is None else ''})"
        for item in found[:_LISTED]
    ]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    good = next((item for item in reversed(found) if item.genotype is not None), found[-1])
    lines = [item.line for item in found]
    if lines.count(good.line) > 1 and good.name:
        example = good.name
    else:
        names = [item.name for item in found]
        example = good.name if names.count(good.name) == 1 and good.name else str(good.line)
    where = file or "FILE"
    return GenotypeError(
        f"{len(found)} genotypes, and they differ: {', '.join(shown)}{more}.",
        "None is chosen silently.",
        f"Name one, or its line: {where}:{example}",
    )
