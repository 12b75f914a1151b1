"""Values as people print them: a small grammar, read once from left to right, never evaluated.

Strings in any quotes (also doubled for CSV, escaped for JSON and shells, typographic), numbers
also as ``np.int64(2)``, lists and tuples also as ``array([…])`` and ``range(2, 6, 1)``, and
dictionaries.
Line breaks may stand anywhere between tokens, and inside a token where a terminal wrapped it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_DEPTH = 60
"""Brackets inside one another at most."""
_RANGE = 1000
_QUOTE = (
    r"'\\''|'\"'\"'|\"\"|''|\\{1,3}[\"']|[\"'`]|[\u2018\u2019\u201c\u201d]|"
    r"&(?:quot|apos|#0?39|#x27);"
)
_WORD = re.compile(
    rf"[uUbB]?({_QUOTE})"
    rf"((?:\r?\n?[^\s\"'`()\[\]{{}},\\&\u2018\u2019\u201c\u201d]){{1,100}})"
    rf"\r?\n?({_QUOTE})"
)
_STRING = re.compile(r"[uUbB]?(\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')|\\\"\\\"|\\'\\'")
_NUMBER = re.compile(
    r"[-+]?(?:\d(?:\r?\n?\d){0,40}(?:\r?\n?\.(?:\r?\n?\d){0,40})?|\.\d{1,40})"
    r"(?:[eE][-+]?\d{1,4})?(?![\w.])"
)
_NAME = re.compile(r"[A-Za-z_](?:\r?\n?[\w.]){0,200}")
_GAP = r"\s|\\(?=\r?\n)|#[^\n]*|\x1b\[[0-9;]*m"
_LIVE = re.compile(rf"(?:{_GAP})*")
_MARKED = re.compile(rf"(?:\n[ \t]*(?:#|//|[>*+%;])+[ \t]?|{_GAP})*")
_SCALARS = re.compile(r"(?:u?int\d*|intp|long|float\d*|double|half|tensor|Tensor|str_|str)_?")
_KEYWORD = re.compile(r"(?:dtype|device)\s*=\s*[\w.:'\"]{1,40}")
_LISTS = ("array", "asarray", "list", "tuple", "tensor", "Tensor")
_RANGES = ("range", "xrange", "arange")
_WORDS: dict[str, Any] = {"None": None, "null": None, "NaN": float("nan"), "nan": float("nan")}
_WORDS |= {"True": True, "true": True, "False": False, "false": False}
_EXPECTED = "expected names, numbers, lists, tuples or range(a, b)"
_PAIRS = {"\u2018": "\u2019", "\u201c": "\u201d"}


class Broken(Exception):
    """The text is not what it began as.

    Attributes:
        position: Where, in characters from the start of the text.
        what: What was expected.
    """

    def __init__(self, position: int, what: str) -> None:
        super().__init__(what)
        self.position, self.what = position, what


@dataclass
class Place:
    """Where a value stands: its first character, and the places of its items."""

    start: int
    items: list[Place] = field(default_factory=list)


@dataclass
class Call:
    """A call ``name(value, field=value, …)``: fields in order, their places, and its end."""

    name: str
    positional: list[tuple[Any, Place]]
    named: dict[str, tuple[Any, Place]]
    end: int


class Reader:
    """Reads values from ``text``; ``marked``: lines may begin with the marks of a comment."""

    def __init__(self, text: str, *, marked: bool = False) -> None:
        self.text = text
        self._gap = _MARKED if marked else _LIVE

    def skip(self, at: int) -> int:
        """Return the position after blanks, comments and line marks from ``at``."""
        found = self._gap.match(self.text, at)
        return found.end() if found else at

    def call(self, name: str, at: int) -> Call:
        """Return the call whose opening bracket stands before ``at``.

        Raises:
            Broken: It is not a call of literals.
        """
        positional: list[tuple[Any, Place]] = []
        named: dict[str, tuple[Any, Place]] = {}
        at = self.skip(at)
        while self.text[at : at + 1] != ")":
            key = _NAME.match(self.text, at)
            after = self.skip(key.end()) if key else at
            if key is not None and self.text[after : after + 1] == "=":
                word = _joined(key[0])
                if word in named:
                    raise Broken(at, f"field {word!r} appears twice")
                start = self.skip(after + 1)
                value, place, at = self.value(start)
                named[word] = value, place
            else:
                if named:
                    raise Broken(at, _EXPECTED if key is None else "expected field=value")
                value, place, at = self.value(at)
                positional.append((value, place))
            at = self._comma(self.skip(at), ")")
        return Call(name, positional, named, at + 1)

    def value(self, at: int, depth: int = 0) -> tuple[Any, Place, int]:
        """Return the value at ``at``, its place, and the position after it.

        Raises:
            Broken: There is none.
        """
        if depth > _DEPTH:
            raise Broken(at, "nested too deeply to be a genotype")
        head = self.text[at : at + 1]
        if head in ("[", "("):
            return self._list(at, "]" if head == "[" else ")", depth)
        if head == "{":
            return self._dict(at, depth)
        if (number := _NUMBER.match(self.text, at)) is not None:
            digits = _joined(number[0])
            whole = re.fullmatch(r"[-+]?\d+", digits) is not None
            return (int(digits) if whole else float(digits)), Place(at), number.end()
        if (text := self._string(at)) is not None:
            return text[0], Place(at), text[1]
        if (name := _NAME.match(self.text, at)) is not None:
            return self._named(_joined(name[0]), at, name.end(), depth)
        raise Broken(at, _EXPECTED if head else "the text ends before its last bracket")

    def _string(self, at: int) -> tuple[str, int] | None:
        word = _WORD.match(self.text, at)
        if word is not None and word[3] == _PAIRS.get(word[1], word[1]):
            return _joined(word[2]), word.end()
        text = _STRING.match(self.text, at)
        if text is None:
            return None
        quoted = text[1] or '""'
        inner = quoted[1:-1]
        if quoted[0] == "'":
            inner = re.sub(r'\\.|"', lambda m: {"\\'": "'", '"': '\\"'}.get(m[0], m[0]), inner)
        try:
            return str(json.loads(f'"{inner}"', strict=False)), text.end()
        except ValueError:  # an escape that JSON does not know
            return inner, text.end()

    def _list(self, at: int, close: str, depth: int) -> tuple[Any, Place, int]:
        values: list[Any] = []
        place = Place(at)
        at, comma = self.skip(at + 1), False
        while self.text[at : at + 1] != close:
            value, inner, at = self.value(at, depth + 1)
            values.append(value)
            place.items.append(inner)
            at = self.skip(at)
            comma = self.text[at : at + 1] == ","
            at = self._comma(at, close)
        if close == ")" and len(values) == 1 and not comma:  # a value in brackets, not a tuple
            return values[0], place.items[0], at + 1
        return values, place, at + 1

    def _dict(self, at: int, depth: int) -> tuple[Any, Place, int]:
        values: dict[str, Any] = {}
        place = Place(at)
        at = self.skip(at + 1)
        while self.text[at : at + 1] != "}":
            key, _, after = self.value(at, depth + 1)
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise Broken(at, "expected a key")
            if str(key) in values:
                raise Broken(at, f"key {str(key)!r} appears twice")
            at = self.skip(after)
            if self.text[at : at + 1] != ":":
                raise Broken(at, "expected ':' after the key")
            value, inner, at = self.value(self.skip(at + 1), depth + 1)
            values[str(key)] = value
            place.items.append(inner)
            at = self._comma(self.skip(at), "}")
        return values, place, at + 1

    def _comma(self, at: int, close: str) -> int:
        """Return the position of the next item or of ``close``."""
        head = self.text[at : at + 1]
        if head == ",":
            return self.skip(at + 1)
        if head == close:
            return at
        what = f"expected ',' or {close!r}" if head else "the text ends before its last bracket"
        raise Broken(at, what)

    def _named(self, name: str, at: int, end: int, depth: int) -> tuple[Any, Place, int]:
        """Return the value of a word, or of a call that only prints a number, string or list."""
        if name in _WORDS:
            return _WORDS[name], Place(at), end
        last = name.rsplit(".", 1)[-1]
        scalar = _SCALARS.fullmatch(last) is not None
        known = scalar or last in _LISTS or last in _RANGES
        opened = self.skip(end)
        if not known or self.text[opened : opened + 1] != "(":
            raise Broken(at, _EXPECTED)
        values: list[Any] = []
        places: list[Place] = []
        after = self.skip(opened + 1)
        while self.text[after : after + 1] != ")":
            if (keyword := _KEYWORD.match(self.text, after)) is not None:
                after = keyword.end()
            else:
                value, place, after = self.value(after, depth + 1)
                values.append(value)
                places.append(place)
            after = self._comma(self.skip(after), ")")
        if len(values) == 1 and scalar and isinstance(values[0], (int, float, str)):
            return values[0], Place(at), after + 1
        if len(values) == 1 and last in _LISTS and isinstance(values[0], list):
            return values[0], places[0], after + 1
        if last in _RANGES and 1 <= len(values) <= 3 and all(type(v) is int for v in values):
            if all(0 <= value < _RANGE for value in values) and (len(values) < 3 or values[2] > 0):
                return list(range(*values)), Place(at), after + 1
        raise Broken(at, _EXPECTED)


def _joined(token: str) -> str:
    """Return a token without the line breaks of a terminal."""
    return token.replace("\r", "").replace("\n", "")
