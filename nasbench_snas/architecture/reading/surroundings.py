"""What stands around a genotype on its line: a name, the stamp of a logger, a comment mark."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BEFORE = 300
"""Characters before a genotype that are looked at."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_KEY = re.compile(r"(?:^|\n)[\s>*#-]*$|[{,(\[]\s*[\"']$|[\"']$")
_TYPE = re.compile(r"[\w.]{0,40}[Gg]enotype$")
_STAMP = re.compile(
    r"\d{1,2}:\d{2}|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\b(?:INFO|DEBUG|WARNING|WARN|ERROR|root)\b"
    r"|\b(?i:epoch|step|iter(?:ation)?)\b\W{0,3}\d"
)
_COMMENT = re.compile(r"[ \t]*(?:#|//|>|%|;|\*[ \t]|\+)")
_GENERAL = frozenset(
    "genotype genotypes geno arch architecture architectures archs best best_genotype model cell "
    "cells searched_genotype final_genotype derived info debug warning warn error root log "
    "result value data main train search genotype_arch gene".split()
)


@dataclass(frozen=True)
class Surroundings:
    """What is known of the text before a genotype.

    Attributes:
        name: What it is called there; empty if nothing but a general word.
        stamped: Whether its line begins like a logger's.
        commented: Whether its line is a comment or a quotation.
    """

    name: str = ""
    stamped: bool = False
    commented: bool = False


def is_commented(text: str, start: int) -> bool:
    """Whether the line of position ``start`` is a comment or a quotation."""
    return _COMMENT.match(_line(text, start)) is not None


def look(text: str, start: int) -> Surroundings:
    """Return what stands before position ``start`` of ``text``."""
    line = _line(text, start)
    stamped = _STAMP.search(line) is not None
    before = text[max(0, start - _BEFORE) : start]
    return Surroundings(_name(before), stamped, _COMMENT.match(line) is not None)


def _line(text: str, start: int) -> str:
    """Return what stands before ``start`` in its line, the last characters of it at most."""
    low = max(0, start - _BEFORE)
    return text[max(low, text.rfind("\n", low, start) + 1) : start]


def _name(before: str) -> str:
    """Return the name that is assigned, the leftmost of ``A = b = …`` that says something."""
    names = []
    before = _COLOUR.sub("", before)
    before = before.rstrip(" \t\r\n(\\\"'`")
    if before[-1:] == "," and before[-2:-1] in ("'", '"'):  # ("NAME", Genotype(…))
        before = before[:-1] + ":"
    while before[-1:] in ("=", ":"):
        before, sign = before[:-1].rstrip(" \t\"'"), before[-1]
        word = _word(before)
        if not word:
            break
        rest = before[: -len(word)].rstrip(" \t")
        if sign == ":" and not _KEY.search(rest):  # a sentence, not a key
            break
        if sign == "=" and rest[-1:] == ":" and _TYPE.fullmatch(word):  # NAME: Genotype = …
            before = rest
            continue
        names.append(word)
        before = rest
    for name in reversed(names):
        last = name.rsplit(".", 1)[-1].strip("-")
        if last and last.lower() not in _GENERAL:
            return last
    return ""


def _word(before: str) -> str:
    """Return the name at the end of ``before``, or nothing."""
    end = len(before)
    start = end
    while (
        start and end - start < 80 and (before[start - 1].isalnum() or before[start - 1] in "_.-")
    ):
        start -= 1
    return before[start:].lstrip("0123456789.-")
